"""What the doctor runs to see whether the packages work."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.doctor import DIGITS, Graphics, devices, missing_for_gpu, problem_of


def test_python_files_of_the_current_folder_do_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("numpy", "sklearn", "json"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path)
    assert problem_of(DIGITS, ()) is None
    assert not (tmp_path / "ran").exists()


ALL_THERE = Graphics(gpus=(), has_cuda=True, has_card=True, has_driver=True, has_libraries=True, hidden=False)


@pytest.mark.parametrize(
    ("lacking", "why", "fix"),
    [
        ({"gpus": ("NVIDIA H100",)}, "", ""),
        ({"hidden": True}, "CUDA_VISIBLE_DEVICES", "Unset"),
        ({"has_cuda": False}, "built without CUDA", ""),
        ({"has_card": False, "has_driver": False, "has_libraries": False}, "no NVIDIA card", ""),
        ({"has_driver": False}, "its driver is not", "driver"),
        ({"has_libraries": False}, "libraries are not", "tensorflow[and-cuda]=="),
        ({}, "are here", "TF_CPP_MIN_LOG_LEVEL=0"),
    ],
)
def test_what_a_gpu_lacks_is_named(lacking: dict[str, Any], why: str, fix: str):
    found, advice = missing_for_gpu(dataclasses.replace(ALL_THERE, **lacking))
    assert why in found
    assert fix in advice
    assert bool(advice) is bool(fix)


def test_the_devices_are_those_that_tensorflow_sees(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")  # as on a machine without a GPU
    found = devices()
    assert found.works
    assert re.fullmatch(r"CPU \(\d+ cores?\), no GPU: CUDA_VISIBLE_DEVICES hides them", found.detail)
