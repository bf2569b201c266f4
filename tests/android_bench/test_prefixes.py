"""A log in every format that logcat, Android Studio, grep, mail and shells give its lines."""

import re
import time

import pytest
from captured_logs import EXPECTED, LOGS, captured, figures_of, needs_logs

from android_bench.printed.lines import read_lines
from android_bench.printed.pasted import parse_log

CASES = LOGS.parents[1] / "cases"
PID = 22838
APP = "org.tensorflow.lite.benchmark"
TAG = "tflite                 "
DAY = "2024-07-19 14:10:10.844"
FORMATS = {
    "brief": "I/tflite  (22838): {}",
    "brief, uid": "I/tflite  (shell:22838): {}",
    "process": "I(22838) {}  (tflite)",
    "process, uid": "I(shell:22838) {}  (tflite)",
    "tag": "I/tflite  : {}",
    "thread": "I(22838:22901) {}",
    "thread, uid": "I(10123:22838:22901) {}",
    "time": "07-14 13:14:52.097 I/tflite  (22838): {}",
    "time, zone": "07-14 13:14:52.097 +0200 I/tflite  (22838): {}",
    "threadtime": "07-14 13:14:52.097 22838 22901 I tflite  : {}",
    "threadtime, year": "2026-07-14 13:14:52.097 22838 22901 I tflite  : {}",
    "threadtime, zone": "07-14 13:14:52.097 -0700 22838 22901 I tflite  : {}",
    "threadtime, uid": "07-14 13:14:52.097 shell 22838 22901 I tflite  : {}",
    "threadtime, uid number": "07-14 13:14:52.097 10123 22838 22901 I tflite  : {}",
    "threadtime, epoch": "         1721398210.844 22838 22901 I tflite  : {}",
    "threadtime, monotonic": "  8123.844 22838 22901 I tflite  : {}",
    "threadtime, usec": "07-14 13:14:52.097123 22838 22901 I tflite  : {}",
    "threadtime, colour": "\x1b[38;5;40m07-14 13:14:52.097 22838 22901 I tflite  : {}\x1b[0m",
    "threadtime, tag with spaces": "07-14 13:14:52.097 22838 22901 I my tag: {}",
    "long": "[ 07-14 13:14:52.097 22838:22901 I/tflite   ]\n{}\n",
    "long, uid, epoch": "[         1721398210.844 shell:22838:22901 I/tflite   ]\n{}\n",
    "Studio": f"{DAY} 22838-22901 {TAG} {APP}        I  {{}}",
    "Studio, tag repeated": f"{DAY} 22838-22901                         pid-22838      I  {{}}",
    "Studio, process alone": f"{DAY} 22838 tflite_Ben...elActivity {APP}  I  {{}}",
    "Studio, time alone": f"14:10:10.844 22838-22901 {TAG} {APP}        I  {{}}",
    "Studio, no process": f"{DAY} {TAG} {APP}        I  {{}}",
    "Studio, no time": f"22838-22901 {TAG} {APP}        I  {{}}",
    "Studio, tag and package": f"{TAG} {APP}        I  {{}}",
    "Studio, compact": "14:10:10.844  I  {}",
    "Studio, spaces lost": f"{DAY} 22838-22901 tflite {APP} I {{}}",
    "Studio before 2022": "2021-05-05 12:00:00.123 22838-22901/org.tensorflow.lite.benchmark I/tflite: {}",
    "Studio before 2022, unknown": "2021-05-05 12:00:00.123 22838-22901/? I/tflite: {}",
    "Studio before 2022, no time": "22838-22901/org.tensorflow.lite.benchmark I/tflite: {}",
    "Studio before 2022, package": "org.tensorflow.lite.benchmark I/tflite: {}",
    "Studio before 2022, time": "12:00:00.123 I/tflite: {}",
    "Eclipse": "07-08 15:33:58.993: I/tflite(22838): {}",
    "quoted": "> {}",
    "quoted twice": ">> {}",
    "quoted logcat": "> > 07-14 13:14:52.097 22838 22901 I tflite  : {}",
    "grep": "phone-2.log:{}",
    "grep, numbers": "17:{}",
    "grep, both": "logs/phone-2.log:17:{}",
    "grep, context": "logs/phone-2.log-17-{}",
    "grep, Windows": r"C:\logs\pixel 8.txt:17:{}",
    "grep, colour": "\x1b[35mphone.log\x1b[m\x1b[36m:\x1b[m{}",
    "grep of logcat": "phone.log:17:07-14 13:14:52.097 22838 22901 I tflite  : {}",
    "grep of Studio": "17:2024-07-19 14:10:10.844 22838-22901 tflite   org.tensorflow.lite.benchmark   I  {}",
    "quoted grep": "> phone.log:{}",
    "CI": "2024-05-01T10:00:00.1234567Z {}",
    "log with a time": "[2024-05-01 10:00:00,123] {}",
    "ts": "Jul 19 14:10:10 {}",
    "indented": "    {}",
    "colour": "\x1b[32m{}\x1b[0m\x1b[K",
    "Windows": "{}\r",
}  # fmt: skip


def wrapped(text, formats):
    """The lines, each in one of the formats, in turns."""
    lines = [line for line in text.splitlines() if line.strip()]
    return "".join(formats[at % len(formats)].format(line) + "\n" for at, line in enumerate(lines))


def outcome(text):
    log = parse_log(text)
    return [figures_of(run) for run in log.runs], [failure.reason for failure in log.failures]


@needs_logs
@pytest.mark.parametrize("name", FORMATS)
def test_a_captured_log_is_the_same_in_every_format(name):
    for parameter in EXPECTED:
        file = parameter.values[0]["file"]
        text, _ = captured(file)
        if not file.startswith(("05", "06", "19")):  # logcats already
            assert outcome(wrapped(text, [FORMATS[name]])) == outcome(text.rstrip() + "\n"), file


@needs_logs
def test_a_log_whose_lines_are_in_different_formats_is_the_same():
    forms = [form for name, form in FORMATS.items() if "thread, uid" not in name]
    for parameter in EXPECTED:
        file = parameter.values[0]["file"]
        text, _ = captured(file)
        if not file.startswith(("05", "06", "19")):
            assert outcome(wrapped(text, forms)) == outcome(text.rstrip() + "\n"), file


@needs_logs
def test_logcats_in_grep_and_quotes_are_the_same():
    for form in ("> {}", "phone.log:{}", "12:{}", "\x1b[31m{}\x1b[0m"):
        for start in ("05", "06", "19"):
            file = next(
                each.values[0]["file"] for each in EXPECTED if each.values[0]["file"].startswith(start)
            )
            text, _ = captured(file)
            assert outcome(wrapped(text, [form])) == outcome(text.rstrip() + "\n")


@pytest.mark.parametrize("name", FORMATS)
def test_every_line_keeps_its_words_and_its_level(name):
    words = [
        "STARTING!",
        "INFO: Num threads: [4]",
        "count=25 first=7001 curr=7202 min=6903 max=7999 avg=7105.25 std=101",
        "ERROR: Could not open 'x.tflite'.",
        "hexagon_nn_config failed. Error: -1",
    ]
    lines = read_lines(wrapped("\n".join(words), [FORMATS[name]]))
    assert [line.text for line in lines] == [re.sub("^[A-Z]+: ", "", word) for word in words]
    assert [line.marked_error for line in lines] == [False, False, False, True, False]
    assert {line.pid for line in lines} == ({PID} if str(PID) in FORMATS[name] else {None})


@pytest.mark.parametrize("form", [form.replace("I", "E", 1) for name, form in FORMATS.items() if "I" in form])
def test_an_error_is_marked_by_the_level_of_its_prefix(form):
    (line,) = read_lines(form.format("STARTING!") + "\n")
    assert line.marked_error


@pytest.mark.skipif(not (CASES / "l1_studio_new.txt").is_file(), reason=f"the cases are not at {CASES}")
def test_a_log_copied_from_android_studio_is_its_run():
    log = parse_log((CASES / "l1_studio_new.txt").read_text())
    assert log.failures == ()
    assert [figures_of(run) for run in log.runs] == [("-", "4.1502", "yes")]


def test_what_logcat_studio_and_markdown_add_is_no_line():
    added = """\
```text
--------- beginning of main
--------- switch to system
---------------------------- PROCESS STARTED (18088) for package org.tensorflow.lite.benchmark ----------
--
```
"""
    assert read_lines(added) == []


@pytest.mark.parametrize(
    "text",
    [
        "phone:/data/local/tmp $ ./benchmark_model --graph=x.tflite",
        "sh: ./benchmark_model: not found",
        "Timings (microseconds): count=1 curr=11409",
        "hexagon_nn_config failed. Error: -1",
        "I/O error: x",
        "Caused by: I am it",
        "CONV_2D  0.010  1.2%  I",
    ],
)
def test_what_looks_a_little_like_a_prefix_stays(text):
    (line,) = read_lines(text + "\n")
    assert line.text == text


@pytest.mark.parametrize("start", ["", "07-14 13:14:52.097 ", "1-1 ", "I(", "I/x(", "> ", "12:", "x.log:"])
@pytest.mark.parametrize("filling", [" ", "a ", "  (", "07-14 ", "-:", "I  "])
def test_a_line_of_any_length_is_read_in_no_time(start, filling):
    start_secs = time.monotonic()
    read_lines(f"{start}{filling * 20_000}x\n")
    assert time.monotonic() - start_secs < 2  # it takes 0.02
