"""The engine of one machine, with work of a millisecond."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.progress import Doing
from pipeline.store.store import open_store
from pipeline.trials.local import Machine, run_tasks
from pipeline.trials.tasks import Heard, Outcome, Said, Started

WORK = "pipeline_trials_fake_work:do"


@pytest.fixture(autouse=True)
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    module = tmp_path / "code" / "pipeline_trials_fake_work.py"
    module.parent.mkdir()
    module.write_text(Path(__file__).with_name("fake_work.py").read_text())
    monkeypatch.setenv("PYTHONPATH", str(module.parent))


def run(tasks: list[dict[str, Any]], folder: Path, *, at_once: int = 2, work: str = WORK) -> list[Heard]:
    return list(run_tasks(tasks, work, folder=folder, machine=Machine(at_once=at_once)))


def outcomes(heard: list[Heard]) -> list[Outcome]:
    return sorted((each for each in heard if isinstance(each, Outcome)), key=lambda each: each.index)


def test_every_task_has_one_outcome_and_processes_carry_out_many(tmp_path: Path):
    heard = run([{"number": number} for number in range(20)], tmp_path)
    found = outcomes(heard)
    assert [each.reply["square"] for each in found] == [number**2 for number in range(20)]
    assert len({each.reply["process"] for each in found}) <= 2
    assert sum(isinstance(each, Started) for each in heard) == 20
    assert Said(index=3, event=Doing("training", "", 1, 2)) in heard


def test_failures_are_told_with_their_reason_and_others_go_on(tmp_path: Path):
    tasks: list[dict[str, Any]] = [{"number": number} for number in range(4)]
    tasks[1]["refuses"] = "the loss became nan. Try less."
    tasks[2]["breaks"] = "by nothing"
    found = outcomes(run(tasks, tmp_path))
    assert [each.failure for each in found] == [
        "",
        "the loss became nan. Try less.",
        "ZeroDivisionError: by nothing",
        "",
    ]
    assert found[1].details == ""
    assert "Traceback" in found[2].details


def test_task_whose_process_is_killed_is_begun_again_once(tmp_path: Path):
    tasks = [{"number": 0}, {"number": 1, "dies": 1}, {"number": 2, "dies": 2}, {"number": 3}]
    found = outcomes(run(tasks, tmp_path))
    assert [bool(each.failure) for each in found] == [False, False, True, False]
    assert "SIGKILL" in found[2].failure
    assert (tmp_path / "tried-2").read_text() == "xx"


def test_processes_end_when_the_caller_stops_asking(tmp_path: Path):
    tasks = [{"number": number, "seconds": 60} for number in range(4)]
    heard = run_tasks(tasks, WORK, folder=tmp_path, machine=Machine(at_once=2))
    assert isinstance(next(heard), Started)
    begun = time.monotonic()
    heard.close()
    assert time.monotonic() - begun < 8
    assert not (tmp_path / "tried-3").exists()


def test_sixteen_processes_that_write_to_one_store_lose_nothing(tmp_path: Path):
    tasks = [{"number": number} for number in range(200)]
    found = outcomes(run(tasks, tmp_path, at_once=16, work="pipeline_trials_fake_work:store"))
    assert [each.reply for each in found] == list(range(200)), [each.failure for each in found]
    with open_store(tmp_path) as store:
        assert sorted(store.rounds("written")) == list(range(200))
