"""However many files are measured, a few processes at most are alive."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipeline.bench.child import ChildFailedError
from pipeline.bench.children import LEAST, Children, most_children
from pipeline.bench.host import run_rounds

REQUEST = {"warmup_runs": 1, "warmup_min_secs": 0, "num_runs": 2, "min_secs": 0, "max_secs": 5}


@pytest.fixture
def copies(files, tmp_path):
    """Six copies of one file."""
    paths = [tmp_path / f"copy{number}.tflite" for number in range(6)]
    for path in paths:
        path.write_bytes(files["one"].read_bytes())
    return paths


def test_no_more_children_than_allowed_are_alive_and_each_file_still_runs(copies, workers):
    with Children(runtime="litert", patience_secs=60, most=2) as children:
        for turn in [*enumerate(copies), *reversed(list(enumerate(copies)))]:
            reply = children.ready(turn, num_threads=1).run_round(REQUEST, busy_secs=5)
            assert len(reply["samples_ns"]) == 2
            assert sum(len(workers(path)) for path in copies) <= 2
        assert [len(workers(path)) for path in copies] == [1, 1, 0, 0, 0, 0]  # those that ran last
    assert [workers(path) for path in copies] == [[]] * 6


def test_a_child_that_is_alive_is_not_started_again(copies, workers):
    with Children(runtime="litert", patience_secs=60, most=2) as children:
        first = children.ready((0, copies[0]), num_threads=1)
        children.ready((1, copies[1]), num_threads=1)
        assert children.ready((0, copies[0]), num_threads=1) is first
        children.ready((2, copies[2]), num_threads=1)  # the one that ran longest ago goes
        assert workers(copies[1]) == []
        assert workers(copies[0]) == [first.process.pid]


def test_nothing_is_started_before_its_turn(copies, quick, workers):
    alive = []
    settings = dataclasses.replace(quick, num_runs=2, min_secs=0)
    run_rounds(
        copies[:3], settings, progress=lambda *_: alive.append(sum(len(workers(path)) for path in copies))
    )
    assert alive[:3] == [0, 1, 2]


def test_the_bound_is_a_tenth_of_the_free_memory():
    assert LEAST <= most_children("tensorflow") <= most_children("litert")
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    assert most_children("litert") <= max(LEAST, 1.1 * 0.1 * free * 1024 / 90e6)


def test_a_child_that_ended_is_an_error_and_can_be_ended(copies, kill_worker):
    with Children(runtime="litert", patience_secs=60) as children:
        child = children.ready((0, copies[0]), num_threads=1)
        kill_worker(copies[0])
        with pytest.raises(ChildFailedError, match="SIGKILL"):
            child.run_round(REQUEST, busy_secs=5)
        children.end((0, copies[0]))
        again = children.ready((0, copies[0]), num_threads=1)
        assert len(again.run_round(REQUEST, busy_secs=5)["samples_ns"]) == 2
