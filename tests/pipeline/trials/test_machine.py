"""How many trials run at once here, and what each process is given."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.trials.local import Machine
from pipeline.trials.machine import found_gpus, machine_for

LISTED = "GPU 0: NVIDIA H100 (UUID: GPU-1)\\nGPU 1: NVIDIA H100 (UUID: GPU-2)\\n"


@pytest.mark.parametrize(
    ("visible", "gpus"), [("0,2", ("0", "2")), ("", ()), ("-1", ()), ("GPU-1", ("GPU-1",))]
)
def test_gpus_are_those_that_the_environment_allows(
    visible: str, gpus: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert found_gpus() == gpus
    if gpus:
        assert machine_for().at_once == len(gpus)


def test_gpus_are_those_that_the_driver_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf '{LISTED}'\n")
    program.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert found_gpus() == ("0", "1")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert found_gpus() == ()


def test_processes_take_gpus_in_turns_and_have_the_threads_of_a_trial():
    machine = Machine(at_once=3, threads=2, gpus=("0", "3"))
    assert [machine.environment(slot)["CUDA_VISIBLE_DEVICES"] for slot in range(3)] == ["0", "3", "0"]
    assert machine.environment(0)["TF_NUM_INTRAOP_THREADS"] == "2"


def test_trials_at_once_fit_the_cores(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert 1 <= machine_for().at_once <= (os.cpu_count() or 1)
    assert machine_for(threads=1000).at_once == 1
    assert machine_for(at_once=7).at_once == 7
