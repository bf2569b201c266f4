"""What the doctor runs to see whether the packages work."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.doctor import DIGITS, problem_of


def test_python_files_of_the_current_folder_do_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("numpy", "sklearn", "json"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path)
    assert problem_of(DIGITS, ()) is None
    assert not (tmp_path / "ran").exists()
