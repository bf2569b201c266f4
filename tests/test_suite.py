"""The suite itself: it ends, and it runs with the signals of a terminal however it is started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
CHILD = """if True:
    import signal
    print(*(repr(signal.getsignal(each)) for each in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)))
"""
IGNORING = """if True:
    import os, signal, subprocess, sys
    for each in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    os.execv(sys.executable, [sys.executable, "-P", "-c", sys.argv[1], *sys.argv[2:]])
"""
HEEDING = """if True:
    import os, signal, subprocess, sys
    sys.path.append(sys.argv[1])
    import conftest
    subprocess.run([sys.executable, "-P", "-c", sys.argv[2]], check=True)
    os.kill(os.getpid(), signal.SIGHUP)
    try:
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()
    except KeyboardInterrupt:
        print("interrupted")
"""


def test_signals_that_were_ignored_at_the_start_reach_tests_and_their_children():
    words = [sys.executable, "-P", "-c", IGNORING, HEEDING, str(TESTS), CHILD]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    heeded, interrupted = done.stdout.splitlines()
    assert heeded.count("default_int_handler") == 1
    assert heeded.count("SIG_DFL") == 2
    assert interrupted == "interrupted"


def test_every_test_has_a_time_limit(request: pytest.FixtureRequest):
    if not request.config.pluginmanager.hasplugin("timeout"):
        pytest.skip("pytest-timeout is not installed here")
    assert all(item.get_closest_marker("timeout") for item in request.session.items)
