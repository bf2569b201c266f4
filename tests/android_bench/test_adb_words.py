"""What adb's client prints when it fails, found in a log."""

import pytest

from android_bench.adb_words import explained
from android_bench.printed.pasted import parse_log

SUMMARY = (
    "INFO: Inference timings in us: Init: 12345, First inference: 9001, Warmup (avg): 8501, "
    "Inference (avg): 7105\n"
)
NO_FILE = "remote couldn't create file"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("error: device 'R58M' not found", "phone R58M is not connected (adb says: device 'R58M' not found)"),
        ("adb: device 'R58M' not found", "phone R58M is not connected"),
        ("adb.exe: no devices/emulators found", "the phone is not connected (adb says: no devices/emulators"),
        ("adb: error: failed to get feature set: no devices/emulators found", "the phone is not connected"),
        ("adb: device unauthorized.", 'the phone is not ready (adb says "unauthorized"). Accept the prompt'),
        ("error: device offline", 'the phone is not ready (adb says "offline"). Unplug it'),
        ("error: device still authorizing", 'the phone is not ready (adb says "authorizing")'),
        ("adb: more than one device/emulator", "several phones are connected"),
        ("error: insufficient permissions for device: user in plugdev group", "Add a udev rule"),
        ("error: protocol fault (couldn't read status): Success", "cannot be used: adb says: protocol fault"),
        ("error: protocol fault (no status)", "Reconnect it and try again"),
        ("error: closed", "the phone cannot be used: adb says: closed"),
        ("* failed to start daemon", "cannot be used: adb says: failed to start daemon"),
        ("/system/bin/sh: taskset: inaccessible or not found", "the phone cannot pin a process to cores"),
        ("sh: taskset: not found", "cannot pin a process to cores: sh: taskset: not found"),
        (
            f"adb: error: failed to copy 'm.tflite' to '/tmp/m.tflite': {NO_FILE}: No space left on device",
            "/tmp/m.tflite on the phone: couldn't create file: No space left on device. The phone's storage",
        ),
        (
            f"adb: error: failed to copy 'm' to '/system/m': {NO_FILE}: Read-only file system",
            "Check the storage of the phone",
        ),
        (
            "/system/bin/sh: can't create /data/local/tmp/log.txt: No space left on device",
            "cannot write /data/local/tmp/log.txt on the phone: No space left on device. The phone's storage",
        ),
        ("adb: error: cannot stat 'm.tflite': No such file or directory", "adb cannot read m.tflite on this"),
    ],
)
@pytest.mark.parametrize(
    "form", ["{}\n", "> {}\r\n", "\x1b[31m{}\x1b[0m\n", "run.log:7:{}\nrun.log:8:STARTING!\n"]
)
def test_a_failure_of_adb_has_its_sentence(line, sentence, form):
    failure = parse_log(form.format(line)).failures[0]
    assert sentence in failure.reason
    assert failure.line == 1
    log = parse_log(form.format(line) * 2 + SUMMARY)
    assert len([each for each in log.failures if sentence in each.reason]) == 1
    assert len(log.runs) == 1


def test_a_failure_in_the_middle_of_a_run_is_told_beside_it():
    log = parse_log("STARTING!\nGraph: [x.tflite]\nerror: device offline\n")
    assert [each.line for each in log.failures] == [2, 3]


@pytest.mark.parametrize(
    "line",
    ["ERROR: Could not open 'x'", "error: something of another program", "* daemon started successfully"],
)
def test_what_adb_did_not_fail_at_is_none_of_its_failures(line):
    assert parse_log(line + "\n").failures == ()


def test_the_sentence_is_that_of_a_live_phone():
    words = "device 'R58M' not found"
    (failure,) = parse_log(f"error: {words}\n").failures
    assert failure.reason == str(explained("phone R58M", words))
