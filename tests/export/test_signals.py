"""How a child process ended, in words."""

import subprocess
import sys

from export.signals import signal_words


def test_a_process_killed_for_memory_says_the_likely_cause():
    killed = subprocess.run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], check=False)
    assert signal_words(-killed.returncode) == "SIGKILL: most likely the memory was used up"


def test_a_signal_without_a_usual_cause_has_its_name_alone():
    assert signal_words(11) == "SIGSEGV"
    assert signal_words(64) in ("SIGRTMAX", "signal 64")
