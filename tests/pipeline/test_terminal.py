"""No control character of others reaches the terminal, whichever command prints it."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.table import Table

from pipeline.console import GuardedConsole
from pipeline.terminal import printable

HOSTILE = "a\x1b]0;owned\x07\x1b[5mb\x9b31mc\u202ed"
"""Sets the title, blinks, is red by a control sequence of one byte, and goes on from right to left."""
DRAWN = re.compile(rb"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[[0-9]*[AK]")
"""Colours, the cursor hidden and shown, the cursor up a line, a line erased: rich's, at a terminal."""
BLINK = b"\x1b[5m"
TRAIN = ["--data", HOSTILE, "--image-size", "32", "--epochs", "1", "--alpha", "0.25", "--shallow"]
COMMANDS = {
    "data": [HOSTILE],
    "models": [HOSTILE],
    "train": [HOSTILE],
    "compress": ["--prune", HOSTILE],
    "export": [f"{HOSTILE}.keras"],
    "verify": [f"{HOSTILE}.tflite"],
    "bench": [HOSTILE],
    "explain": [f"{HOSTILE}.tflite"],
    "devices": ["--adb-server", HOSTILE],
    "report": ["--format", HOSTILE],
    "runs": [HOSTILE],
    "doctor": [HOSTILE],
    "demo": [HOSTILE],
    HOSTILE: [],
}
JOURNEY = """
import sys
from pipeline.cli import guard_output, quiet_native_logs, run
quiet_native_logs()
guard_output()
for line in sys.stdin.read().split("\\0\\0"):
    status = run(line.split("\\0"))
    print("STATUS", status)
"""
STEPS = (
    ("data", HOSTILE),
    ("train", "mobilenet", *TRAIN),
    ("runs",),
    ("export", "--int8"),
    ("verify",),
    ("bench", "--num-runs", "2", "--min-secs", "0", "--warmup-min-secs", "0", "--max-wait", "1"),
    ("explain", "RUN"),
    ("report",),
    ("report", "--format", "md"),
    ("report", "--format", "csv"),
    ("runs", "RUN"),
)


def test_letters_and_emoji_of_every_script_stay():
    text = "Füße, собака, 犬, क्षि, می‌خواهم, 👩‍🌾\tone\n"
    assert printable(text) == text


def test_every_control_character_and_every_override_of_direction_is_replaced():
    wanted = {"Cc", "Cs", "Zl", "Zp"}
    every = [chr(number) for number in range(sys.maxunicode + 1)]
    bad = [each for each in every if unicodedata.category(each) in wanted and each not in "\t\n"]
    bad += [each for each in every if unicodedata.bidirectional(each) in {"LRE", "RLE", "LRO", "RLO", "PDF"}]
    bad += [each for each in every if unicodedata.bidirectional(each) in {"LRI", "RLI", "FSI", "PDI"}]
    assert not [each for each in bad if printable(each) == each]


def test_table_of_hostile_cells_keeps_its_colour_and_no_other_escape_sequence():
    buffer = StringIO()
    table = Table(title=HOSTILE)
    table.add_column(HOSTILE, style="red")
    table.add_row(f"[link=file:///etc]{HOSTILE}[/link]")
    GuardedConsole(file=buffer, force_terminal=True, color_system="standard", width=80).print(table)
    assert "\x1b[31m" in buffer.getvalue()
    assert not _strange(buffer.getvalue().encode(), drawn=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_hostile_argument_reaches_the_terminal_without_control_characters(command: str, tmp_path: Path):
    program = "import sys; from pipeline.cli import main; sys.argv[0] = 'pipeline'; main()"
    words = [sys.executable, "-P", "-c", program, command, *COMMANDS[command]]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, env=_environment(tmp_path), check=False)
    printed = done.stdout + done.stderr
    assert b"owned" in printed
    assert not _strange(printed)
    assert b"Traceback" not in printed


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[bytes]]:
    """What a terminal gets of STEPS on a folder, classes and files with hostile names, and the statuses."""
    folder = tmp_path_factory.mktemp("hostile")
    random = np.random.default_rng(0)
    for name in ("one", "two"):
        (folder / HOSTILE / f"{HOSTILE}{name}").mkdir(parents=True)
        for number in range(24):
            pixels = random.integers(0, 255, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(folder / HOSTILE / f"{HOSTILE}{name}" / f"{HOSTILE}{number}.png")
    (folder / HOSTILE / f"{HOSTILE}one" / f"{HOSTILE}.png").write_bytes(b"no picture")
    steps = [[_run_name() if word == "RUN" else word for word in step] for step in STEPS]
    printed = _at_a_terminal("\0\0".join("\0".join(step) for step in steps), folder)
    return printed, re.findall(rb"STATUS (\d+)", printed)


def test_every_step_on_hostile_names_works(shown: tuple[bytes, list[bytes]]):
    printed, statuses = shown
    assert b"Traceback" not in printed
    assert statuses == [b"0"] * len(STEPS), printed[-3000:]


def test_no_step_draws_what_hostile_names_ask_for(shown: tuple[bytes, list[bytes]]):
    printed, _ = shown
    assert b"owned" in printed
    assert not _strange(printed, drawn=True)


def _strange(printed: bytes, *, drawn: bool = False) -> list[str]:
    """The control characters, other than rich's own, with what stands before them."""
    if drawn:
        assert BLINK not in printed
        printed = DRAWN.sub(b"", printed).replace(b"\r", b"")
    text = printed.decode()
    return [
        text[max(0, place - 40) : place + 10]
        for place, each in enumerate(text)
        if each not in "\n\t" and (unicodedata.category(each) == "Cc" or each == "\u202e")
    ]


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    return {**kept, "PIPELINE_RUNS": str(folder / "runs"), "TERM": "xterm", "COLUMNS": "200"}


def _run_name() -> str:
    return f"mobilenet_alpha0.25_shallow_32-{HOSTILE}-1"


def _at_a_terminal(typed: str, folder: Path) -> bytes:
    """What a program at a terminal prints."""
    terminal, other_end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", JOURNEY],
        cwd=folder,
        env=_environment(folder),
        stdin=subprocess.PIPE,
        stdout=other_end,
        stderr=other_end,
    )
    os.close(other_end)
    assert process.stdin is not None
    process.stdin.write(typed.encode(errors="surrogateescape"))
    process.stdin.close()
    printed = b"".join(_read(terminal))
    process.wait()
    return printed


def _read(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            found = os.read(terminal, 1 << 16)
        except OSError:  # the other end is closed
            break
        if not found:
            break
        yield found
    os.close(terminal)


def test_no_module_makes_a_console_that_is_not_guarded():
    root = Path(__file__).parents[2]
    makers = [
        path
        for package in ("pipeline", "export", "android_bench", "models")
        for path in (root / package).rglob("*.py")
        if re.search(r"\bConsole\(|rich\.print|get_console", path.read_text())
    ]
    assert not makers
