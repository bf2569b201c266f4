"""A log in JSON, HTML, tables, behind numbers, services and times is read as it was printed."""

import json
import re
import time
from functools import cache

import pytest
from captured_logs import EXPECTED, captured, needs_logs, outcome
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from printed_logs import BLOCKS, FAILED, GOOD, LITERT, OLD
from wrapped_logs import LINES, WRAPPERS, content, with_commas

from android_bench.errors import LogError
from android_bench.printed.encoding import log_text
from android_bench.printed.pasted import parse_log

FILES = [each.values[0]["file"] for each in EXPECTED]


@cache
def of_the_capture(file):
    text = captured(file)[0].rstrip() + "\n"
    return text, outcome(text)


def read(name, text):
    return outcome(log_text(content(WRAPPERS[name](text))))


@needs_logs
@pytest.mark.parametrize("name", WRAPPERS)
def test_every_captured_log_survives_it(name):
    for file in FILES:
        text, expected = of_the_capture(file)
        assert read(name, text) == expected, file


@needs_logs
def test_a_captured_log_is_left_as_it_is():
    for file in FILES:
        text, _ = of_the_capture(file)
        assert log_text(text.encode()) == text, file


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(list(WRAPPERS)),
    text=st.sampled_from([GOOD, OLD, LITERT, BLOCKS + LITERT, FAILED + GOOD + OLD]),
    share=st.floats(0, 1),
)
def test_a_cut_log_is_no_row_in_any_wrapper_that_is_none_without(name, text, share):
    cut = text[: int(len(text) * share)].rstrip() + "\n"
    rows, _ = outcome(cut)
    try:
        found, _ = read(name, cut)
    except LogError:
        return
    assert [row for row in found if row not in rows] == []


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(list(WRAPPERS)), share=st.floats(0, 1))
def test_a_wrapper_cut_anywhere_makes_no_figure_up(name, share):
    whole = content(WRAPPERS[name](GOOD))
    try:
        log = parse_log(log_text(whole[: int(len(whole) * share)]))
    except LogError:
        return
    assert all(run.timed.avg_ms in (7.10525, 8.50133) for run in log.runs)
    assert all(run.reasons for run in log.runs if run.timed.avg_ms != 7.10525)


def test_two_services_are_kept_apart():
    other = GOOD.replace("7105.25", "7200.5").replace("net.tflite", "other.tflite")
    lines = zip(GOOD.splitlines(), other.splitlines(), strict=True)
    mixed = "".join(f"bench-1  | {ours}\nbench-2  | {theirs}\n" for ours, theirs in lines)
    log = parse_log(log_text(mixed.encode()))
    assert [(run.timed.avg_ms, run.graph) for run in log.runs] == [
        (7.10525, "/data/local/tmp/net.tflite"),
        (7.2005, "/data/local/tmp/other.tflite"),
    ]


def test_whole_logs_in_fields_of_their_own_are_runs_after_one_another():
    text = json.dumps({"pixel": {"log": GOOD}, "galaxy": {"log": OLD, "note": "slow"}})
    assert [run.timed.avg_ms for run in parse_log(log_text(text.encode())).runs] == [7.10525, 747.733]


def test_standard_error_beside_the_output_says_why_it_failed():
    stderr = "ERROR: Could not open 'x.tflite'.\nFailed to mmap model x.tflite\nBenchmarking failed.\n"
    text = json.dumps({"stdout": "STARTING!\nGraph: [x.tflite]\n", "stderr": stderr, "returncode": 1})
    (failure,) = parse_log(log_text(text.encode())).failures
    assert failure.reason == "Could not open 'x.tflite' (Failed to mmap model x.tflite)"


LINE = next(line for line in GOOD.splitlines() if "count=25" in line)
REFUSED = {
    "JSON that is cut": (
        json.dumps({"log": GOOD + OLD})[:-300],
        "it begins like JSON, but is cut or damaged: .* Give the whole file",
    ),
    "several fields": (
        "".join(
            json.dumps({"a": one, "b": {"c": other}}) + "\n"
            for one, other in zip(GOOD.splitlines(), GOOD.replace("7", "8").splitlines(), strict=True)
        ),
        r"its log stands in several fields \(\.a, \.b\.c\), which differ. Give one of them",
    ),
    "two runs at once": (
        "".join(
            json.dumps({"pod": pod, "log": f"{line}\n"}) + "\n"
            for line in GOOD.splitlines()
            for pod in (1, 2)
        ),
        "lines of two runs stand between one another",
    ),
    "two columns": (
        "".join(f"| {line} | {line} |\n" for line in GOOD.splitlines()),
        "a log stands in each of several columns of its table. Give each log in its own file",
    ),
    "thousands apart": (
        GOOD.replace("first=7001", "first=7,001").replace("7105.25", "7,105.25"),
        r"its figures have their thousands apart \(first=7,001\)",
    ),
    "thousands apart, German": (
        GOOD.replace("max=7999", "max=7.999"),
        r"its figures have their thousands apart \(max=7\.999\)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_be_two_things_is_refused_with_its_cause(name):
    text, message = REFUSED[name]
    with pytest.raises(LogError, match=message):
        log_text(text.encode())


def test_figures_that_a_sentence_repeats_are_no_row_but_named():
    told = f"I ran it twice and saw {LINE.removeprefix('INFO: ')} the first time, which is odd.\n"
    log = parse_log(log_text(f"Hello,\n{told}".encode()))
    assert log.runs == ()
    assert log.failures[0].line == 2
    assert log.failures[0].reason.startswith("the tool's figures stand inside a longer line: 'I ran it twice")


def test_decimal_commas_leave_what_is_no_figure():
    text = GOOD.replace("net.tflite", "net,1,5.tflite") + "INFO: Input shapes: [1,224,224,3]\n"
    read_back = log_text(with_commas(text).encode())
    assert read_back == text
    assert with_commas(text) != text


@pytest.mark.parametrize(
    "filling", ["<", "<a ", '<a "', "<!--", "<![CDATA[", "&", '{"', "[", "| ", "> ", "1 ", "count=", "\\"]
)
def test_a_text_of_any_size_is_read_in_no_time(filling):
    start_secs = time.monotonic()
    for text in (
        filling * 30_000,
        f"{filling}\n" * 5_000,
        GOOD + filling * 30_000,
        f"{filling}{LINE}\n" * 300,
    ):
        try:
            log_text(text.encode())
        except LogError:
            continue
    assert time.monotonic() - start_secs < 10


@pytest.mark.parametrize("name", LINES)
def test_the_tool_s_level_stays(name):
    lines = log_text(content(LINES[name](FAILED))).splitlines()
    assert re.search("ERROR: Could not open 'x.tflite'.$", lines[2])
