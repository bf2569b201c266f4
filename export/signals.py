"""How a child process ended, in words. Standard library only."""

from __future__ import annotations

import signal

_WHY = {
    "SIGKILL": "most likely the memory was used up",
    "SIGBUS": "often a full disk or too little shared memory",
    "SIGILL": "this processor lacks an instruction that it uses",
    "SIGTERM": "another program ended it",
    "SIGXCPU": "the limit of CPU time was reached (ulimit -t)",
}


def signal_words(number: int) -> str:
    """The signal's name, and why it comes: 'SIGKILL: most likely the memory was used up'."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"{name}: {_WHY[name]}" if name in _WHY else name
