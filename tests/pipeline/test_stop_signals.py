"""A closed terminal and a polite kill end a command as Ctrl-C does; nohup still protects from the first."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time

import pytest

WAITS = """
import sys, time
from pipeline.stop_signals import StopSignals, outlive_terminal

outlive_terminal()
stop = StopSignals()
status = 0
try:
    print("waits", flush=True)
    until = time.monotonic() + float(sys.argv[1])
    while time.monotonic() < until:
        time.sleep(0.01)
        print("goes on", file=sys.stderr, flush=True)
except KeyboardInterrupt:
    status = 130
    try:
        print("tidies up", flush=True)
        time.sleep(float(sys.argv[2]))
    except KeyboardInterrupt:
        status = 99
print("tidy", flush=True)
open(sys.argv[3], "w").write("tidy")
sys.exit(stop.exit_status(status))
"""


def waiting(tmp_path, *, secs=30.0, tidy_secs=0.0, before="", stderr=subprocess.DEVNULL, **streams):
    command = [sys.executable, "-c", before + WAITS, str(secs), str(tidy_secs), str(tmp_path / "said")]
    return subprocess.Popen(command, stderr=stderr, **streams)


def on_terminal(tmp_path, **options):
    """A command on a terminal, and our end of it."""
    ours, theirs = pty.openpty()
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    process = waiting(tmp_path, **options, **streams, start_new_session=True)
    os.close(theirs)
    assert os.read(ours, 5) == b"waits"
    return process, ours


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_command_as_ctrl_c_does_with_its_own_status(tmp_path, number, status):
    with waiting(tmp_path, tidy_secs=0.2, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "waits\n"
        process.send_signal(number)
        assert process.stdout.readline() == "tidies up\n"
        process.send_signal(signal.SIGHUP)  # as a shell that ends sends it to its jobs again
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=20)[0] == "tidy\n"
    assert process.returncode == status


def test_a_hangup_that_nohup_ignores_stays_ignored(tmp_path):
    ignored = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    with waiting(tmp_path, secs=0.3, before=ignored, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "waits\n"
        process.send_signal(signal.SIGHUP)
        assert process.communicate(timeout=20)[0] == "tidy\n"
    assert process.returncode == 0


def test_a_command_whose_terminal_is_closed_still_tidies_up(tmp_path):
    process, ours = on_terminal(tmp_path)
    os.close(ours)  # each write to the terminal fails from now on
    time.sleep(0.1)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=20) == 129
    assert (tmp_path / "said").read_text() == "tidy"


def test_a_command_that_no_hangup_reaches_goes_on_without_its_terminal(tmp_path):
    process, ours = on_terminal(tmp_path, secs=0.5)
    os.close(ours)
    assert process.wait(timeout=20) == 0
    assert (tmp_path / "said").read_text() == "tidy"
