"""A proposed command, pasted into a shell, means what was proposed, whatever the names in it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.cli import COMMANDS, run
from pipeline.shell import quoted, quoted_value
from pipeline.terminal import printable

ROOT = Path(__file__).parents[2]
NAMES = (
    "$(touch x)",
    "`touch x`",
    "two words",
    "it's",
    '"both"',
    "a;touch x",
    "a\nb",
    "a\x1b]0;title\x07",
    "back\\slash",
    "~x",
    "*",
    "#",
    "!!",
    "\u202eabc",
    "ü",
)


def read_by_bash(words: str, folder: Path) -> list[bytes]:
    """The words that bash makes of a text."""
    script = f"printf '%s\\0' {words}"
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, check=True)
    return done.stdout.split(b"\0")[:-1]


@given(st.lists(st.text(st.characters(exclude_characters="\0")), min_size=1, max_size=20))
def test_bash_reads_back_any_word(words: list[str]):
    words = [word.encode(errors="replace").decode() for word in words]
    found = read_by_bash(" ".join(map(quoted, words)), Path("/"))
    wanted = [f"./{word}" if word.startswith("-") else word for word in words]
    assert found == [word.encode() for word in wanted]


@given(st.text(st.characters(exclude_characters="\0"), min_size=1))
def test_bash_reads_back_an_options_value_unchanged(word: str):
    word = word.encode(errors="replace").decode()
    assert read_by_bash(f"--keep-float {quoted_value(word)}", Path("/")) == [b"--keep-float", word.encode()]


def test_bytes_that_are_no_text_come_back():
    assert read_by_bash(quoted(os.fsdecode(b"a\xff\xfe")), Path("/")) == [b"a\xff\xfe"]


def test_quoted_word_is_printable():
    assert all(printable(quoted(name)) == quoted(name) and "\n" not in quoted(name) for name in NAMES)


@pytest.mark.parametrize("name", [*NAMES, "-dash"])
def test_next_command_names_the_folder_and_runs_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for label in ("one", "two"):
        (tmp_path / name / label).mkdir(parents=True)
        for number in range(12):
            colour = (number * 20, 100 * (label == "one"), 7)
            Image.new("RGB", (16, 16), colour).save(tmp_path / name / label / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    assert run(["data", f"./{name}" if name.startswith("-") else name]) == 0
    words = capsys.readouterr().err.rpartition("Next: ")[2].strip()
    found = read_by_bash(words, tmp_path)
    assert found[:4] == [b"pipeline", b"train", b"mobilenet", b"--data"]
    assert Path(os.fsdecode(found[4])).resolve() == (tmp_path / name).resolve()
    assert [path.name for path in tmp_path.iterdir()] == [name]


PROPOSED = re.compile(rf"\bpipeline (?:{'|'.join(COMMANDS)})\b[^.]*$")
SAFE = re.compile(
    r"quoted(?:_value)?\(|how_to_resume\(|' '\.join\(\[\*map\(quoted"
    r"|what_to_verify\(|_settings\(|_parent\(|'compress' if |words$|verified$|chosen$|at$"  # of quoted words
    r"|max_drop$|family_of\(|figures\.family$|FAMILY$|ALPHA$|DATA$|EPOCHS$|record\.run$"  # numbers, ours
)
"""What may stand in a proposed command."""


def test_every_word_in_a_proposed_command_is_quoted():
    bare = []
    for path in (ROOT / "pipeline").rglob("*.py"):
        for text in ast.walk(ast.parse(path.read_text())):
            if not isinstance(text, ast.JoinedStr):
                continue
            before = ""
            for part in text.values:
                if isinstance(part, ast.Constant):
                    before += part.value
                elif isinstance(part, ast.FormattedValue):
                    source = ast.unparse(part.value)
                    if PROPOSED.search(before) and not SAFE.match(source):
                        bare.append(f"{path.name}:{text.lineno}: {source}")
                    before += "x"
    assert not bare


def test_no_other_module_quotes():
    others = [path for path in (ROOT / "pipeline").rglob("*.py") if "shlex" in path.read_text()]
    assert [path.name for path in others] == ["shell.py"]
