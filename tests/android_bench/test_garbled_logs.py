"""Logs that are cut anywhere or garbled: nothing is made up and nothing raises."""

import re
from contextlib import suppress
from dataclasses import astuple, replace

from captured_logs import EXPECTED, LOGS, captured
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from printed_logs import BLOCKS, FAILED, GOOD, LITERT, OLD, completed

from android_bench.errors import LogError
from android_bench.printed.pasted import parse_log
from android_bench.printed.run import parse_run


def real_texts():
    return [captured(parameter.values[0]["file"])[0] for parameter in EXPECTED] if LOGS.is_dir() else []


TEXTS = [GOOD, OLD, LITERT, BLOCKS + LITERT, FAILED + GOOD + OLD, *real_texts()]


FUZZ = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def timed(report):
    return report.timed, report.warmup, report.init_ms, report.first_ms


def test_cut_at_any_byte_a_run_is_whole_or_none():
    for text in (GOOD, OLD, LITERT, FAILED + OLD):
        content, whole = text.encode(), [timed(run) for run in completed(text)]
        for end in range(len(content)):
            found = [timed(run) for run in completed(content[:end].decode(errors="replace"))]
            assert found == whole[: len(found)]


@FUZZ
@given(text=st.sampled_from(TEXTS), share=st.floats(0, 1))
def test_of_a_log_cut_anywhere_every_run_is_one_of_the_whole(text, share):
    cut = text.encode()[: int(len(text.encode()) * share)].decode(errors="replace")
    whole, found = completed(text), completed(cut)
    assert [timed(run) for run in found] == [timed(run) for run in whole[: len(found)]]
    for run in found:
        assert_figures_stand_in(run.timed, cut)
    try:
        report = parse_run(cut)
    except LogError:
        return
    assert timed(report) in [timed(run) for run in whole]


GPU = re.sub("(first|curr|min|p5|median|p95)=[67]", r"\1=3", GOOD).replace("7105.25", "3105.25")
GPU = GPU.replace("TfLiteXNNPackDelegate", "TfLiteGpuDelegateV2").replace("net.tflite", "gpu.tflite")


@FUZZ
@given(turns=st.lists(st.booleans(), min_size=60, max_size=60))
def test_two_runs_line_by_line_are_never_one_s_figures_under_the_other_s_name(turns):
    left = {True: GOOD.splitlines(), False: GPU.splitlines()}
    mixed = [left[turn if left[turn] else not turn].pop(0) for turn in turns if any(left.values())]
    for run in parse_log("\n".join(mixed) + "\n").runs:
        if not run.reasons:
            whole = GOOD if run.timed.avg_ms == 7.10525 else GPU
            assert (run.graph, run.delegations) == (parse_run(whole).graph, parse_run(whole).delegations)


@st.composite
def garbled(draw):
    """A log with bytes flipped, numbers changed, and lines swapped, dropped and doubled."""
    lines = draw(st.sampled_from(TEXTS)).encode().split(b"\n")
    for _ in range(draw(st.integers(1, 4))):
        first, second = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        match draw(st.sampled_from(["swap", "drop", "double", "flip", "number", "join"])):
            case "swap":
                lines[first], lines[second] = lines[second], lines[first]
            case "drop" if len(lines) > 1:
                del lines[first]
            case "double":
                lines.insert(second, lines[first])
            case "join" if first + 1 < len(lines):
                lines[first : first + 2] = [lines[first] + lines[first + 1]]
            case "number":
                number = draw(st.sampled_from([b"0", b"-1", b"nan", b"1e99", b"9" * 30, b"7.5", b""]))
                lines[first] = re.sub(rb"\d+(?:\.\d+)?", number, lines[first], count=draw(st.integers(1, 3)))
            case "flip" if lines[first]:
                index = draw(st.integers(0, len(lines[first]) - 1))
                changed = bytearray(lines[first])
                changed[index] ^= 1 << draw(st.integers(0, 7))
                lines[first] = bytes(changed)
    return b"\n".join(lines).decode(errors="replace")


@FUZZ
@given(text=garbled(), status=st.sampled_from([None, 0, 1, 139]))
def test_a_garbled_log_raises_nothing_and_makes_no_number_up(text, status):
    log = parse_log(text)
    for run in log.runs:
        assert_figures_stand_in(run.timed, text)
        assert run.timed.count != 0
        assert run.timed.avg_ms is not None
    try:
        report = parse_run(text, status=status)
    except LogError:
        return
    assert status in (None, 0)
    assert_figures_stand_in(report.timed, text)


@FUZZ
@given(
    text=st.text(max_size=200)
    | st.lists(st.sampled_from(GOOD.splitlines() + LITERT.splitlines())).map("\n".join)
)
def test_any_text_is_read_without_an_error(text):
    for run in parse_log(text).runs:
        assert_figures_stand_in(run.timed, text)
    with suppress(LogError):
        parse_run(text)


def assert_figures_stand_in(stats, text):
    """Every figure is a whole number of the text, in µs or in ms."""
    numbers = {round(float(number), 9) for number in NUMBER.findall(text)}
    figures = astuple(replace(stats, count=None, std_ms=None if stats.std_ms == 0 else stats.std_ms))
    for figure in (figure for figure in figures if figure is not None):
        assert round(figure * 1000, 6) in numbers or figure in numbers
