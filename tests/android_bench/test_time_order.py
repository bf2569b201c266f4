"""A log whose newest line is first, as log collectors and some exports show it, is read as it was printed."""

import json
import random

import pytest
from captured_logs import EXPECTED, captured, needs_logs, outcome
from printed_logs import FAILED, GOOD, LITERT, OLD

from android_bench.printed.encoding import log_text
from android_bench.printed.time_order import oldest_first


def clock(number):
    """A tenth of a second for each line."""
    return f"10:{number // 600:02d}:{number // 10 % 60:02d}.{number % 10}00"


def stamped(form):
    return lambda text: [form.format(line, t=clock(n)) for n, line in enumerate(text.splitlines(), start=1)]


LINES = {
    "threadtime": stamped("07-14 {t}  812  812 I tflite  : {}"),
    "time": stamped("07-14 {t} I/tflite  (  812): {}"),
    "studio": stamped("2026-07-14 {t}   812-812   tflite    com.bench    I  {}"),
    "studio before 2022": stamped("2020-07-14 {t} 812-812/? I/tflite: {}"),
    "collector": stamped("2024-05-01T{t}Z {}"),
    "collector, nanoseconds cut": stamped("2024-05-01T{t}12Z {}"),
    "syslog": stamped("Jul 19 {t} build-7 bench[812]: {}"),
    "comma": stamped("2024-05-01 {t} - bench - INFO - {}"),
}
RECORDS = {
    "loki": lambda line, n: {"ts": f"2024-05-01T{clock(n)}Z", "labels": {"app": "bench"}, "line": line},
    "cloud": lambda line, n: {"insertId": "a", "textPayload": line, "timestamp": f"2024-05-01T{clock(n)}Z"},
    "cloudwatch": lambda line, n: {"timestamp": 1721390000000 + n, "message": line, "ingestionTime": 2},
}
TEXTS = {"one": GOOD, "old": OLD, "litert": LITERT, "several": FAILED + GOOD + OLD}


def records(name, text):
    return [RECORDS[name](line, n) for n, line in enumerate(text.splitlines(), start=1)]


def read(lines):
    return outcome(log_text("".join(f"{line}\n" for line in lines).encode()))


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("name", LINES)
def test_lines_in_reverse_are_turned_round(name, text):
    lines = LINES[name](text)
    assert read(lines[::-1]) == read(lines)
    assert read(lines)[0] or read(lines)[1]


@pytest.mark.parametrize("name", RECORDS)
def test_records_in_reverse_are_turned_round(name):
    expected = read(GOOD.splitlines())
    for made in (records(name, GOOD), records(name, GOOD)[::-1]):
        assert outcome(log_text(json.dumps({"events": made}, indent=2).encode())) == expected
        assert read([json.dumps(each) for each in made]) == expected


def test_an_export_of_android_studio_in_reverse_is_turned_round():
    def exported(messages):
        return outcome(log_text(json.dumps({"metadata": {}, "logcatMessages": messages}, indent=2).encode()))

    messages = [
        {
            "header": {
                "logLevel": "INFO", "pid": 812, "tid": 812, "applicationId": "x", "tag": "tflite",
                "timestamp": {"seconds": 1721390000 + n // 10, "nanos": n % 10 * 100_000_000},
            },
            "message": line,
        }
        for n, line in enumerate(GOOD.splitlines())
    ]  # fmt: skip
    assert exported(messages)[0]
    assert exported(messages[::-1]) == exported(messages)


@needs_logs
def test_every_captured_log_is_read_from_its_end():
    for each in EXPECTED:
        text = captured(each.values[0]["file"])[0].rstrip() + "\n"
        lines = LINES["collector"](text)
        assert read(lines[::-1]) == read(lines), each.values[0]["file"]


def test_lines_without_a_time_stay_below_theirs():
    header = "[ 07-14 10:00:0{}.000  812: 812 I/tflite ]\n{}\nsecond line of {}\n\n"
    text = "".join(header.format(n, f"entry {n}", n) for n in (3, 2, 1))
    assert oldest_first(f"title\n{text}") == "title\n" + "".join(
        header.format(n, f"entry {n}", n) for n in (1, 2, 3)
    )


@pytest.mark.parametrize("name", LINES)
def test_a_log_in_order_stays(name):
    text = "".join(f"{line}\n" for line in LINES[name](TEXTS["several"]))
    assert oldest_first(text) == text


def test_files_of_runs_below_one_another_stay_though_the_newest_is_first():
    """Each run's lines came at once, as from a pipe, so that only the times between the runs differ."""
    text = "".join(
        f"2024-05-01T10:0{minute}:00Z {line}\n" for minute in (3, 2, 1) for line in GOOD.splitlines()
    )
    assert oldest_first(text) == text


def test_without_times_nothing_is_turned():
    lines = GOOD.splitlines()[::-1]
    assert oldest_first("\n".join(lines)) == "\n".join(lines)


def test_a_reversed_document_of_json_keeps_its_lines():
    text = json.dumps([{"t": f"2024-05-01T10:00:0{n}Z", "note": "x"} for n in (3, 2, 1)], indent=1)
    assert oldest_first(text) == text


def test_lines_in_any_order_raise_nothing():
    lines = LINES["threadtime"](TEXTS["several"])
    for seed in range(20):
        read(random.Random(seed).sample(lines, len(lines)))
