"""Tasks on a Ray cluster of several nodes on this machine; skipped where Ray is not installed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import UsageError
from pipeline.trials.on_ray import Cluster, node_trouble, run_tasks
from pipeline.trials.version import project_digest

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="ray is not installed: pip install -e '.[ray]'"
)
PROGRAM = Path(__file__).with_name("ray_program.py")


def driven(folder: Path, *arguments: str) -> dict[str, Any]:
    """What the program prints."""
    module = folder / "code" / "pipeline_trials_fake_work.py"
    module.parent.mkdir()
    module.write_text(Path(__file__).with_name("fake_work.py").read_text())
    ran = subprocess.run(
        [sys.executable, "-P", str(PROGRAM), str(folder), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(module.parent)},
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    answer: dict[str, Any] = json.loads(ran.stdout)  # nothing of Ray's in it
    return answer


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of everything that the program tries on its clusters."""
    return driven(tmp_path_factory.mktemp("ray"))


@needs_ray
@pytest.mark.slow
def test_trials_whose_node_is_killed_end_with_the_weights_and_files_of_this_machine(
    tiny_npz: Path, tmp_path: Path
):
    found = driven(tmp_path, str(tiny_npz))
    assert found["killed"]["nodes"] == ["1"]
    assert found["ray"]["status"] == ["done", "done"]
    assert found["ray"] == found["local"]


@needs_ray
def test_task_that_fails_for_good_is_named_and_the_others_go_on(found: dict[str, Any]):
    failures = [each["failure"] for each in found["failing"]]
    assert failures[1] == "the loss became nan. Try less."
    assert failures[2] == "ZeroDivisionError: by nothing"
    assert failures[4].startswith("its process ended (The worker died unexpectedly")
    others = [each["reply"]["square"] for each in found["failing"] if not each["failure"]]
    assert others == [number**2 for number in range(12) if number not in (1, 2, 4)]


@needs_ray
def test_task_whose_process_dies_once_is_begun_again(found: dict[str, Any]):
    assert found["failing"][3]["reply"]["square"] == 9


@needs_ray
def test_places_are_those_of_the_nodes_that_are_alive(found: dict[str, Any]):
    assert found["places"] == 2


@needs_ray
def test_node_killed_in_the_middle_loses_no_task(found: dict[str, Any]):
    assert [each["reply"]["square"] for each in found["killed"]] == [number**2 for number in range(6)]


@needs_ray
def test_lost_head_is_told_and_another_one_goes_on_with_what_is_left(found: dict[str, Any]):
    assert "does not answer any more. What was finished is kept." in found["lost"]
    assert 0 < found["again"]["left"] < 12
    assert found["again"]["done"] == found["again"]["left"]


@needs_ray
@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "127.0.0.1:99999"])
def test_address_where_no_head_answers_is_one_line(address: str, tmp_path: Path):
    with pytest.raises(UsageError, match=f"no Ray head answers at {address}") as told:
        list(run_tasks([{}], "any:thing", folder=tmp_path, cluster=Cluster(address=address)))
    assert "\n" not in str(told.value)


def test_node_with_another_version_or_without_the_folder_says_so(tmp_path: Path):
    (tmp_path / "trials").mkdir()
    (tmp_path / "trials" / "mark").touch()
    assert node_trouble(str(tmp_path), "mark", project_digest()) == ""
    assert "another version of this project" in node_trouble(str(tmp_path), "mark", "0" * 64)
    assert f"does not see {tmp_path}" in node_trouble(str(tmp_path), "other", project_digest())
