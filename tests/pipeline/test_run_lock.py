"""One process trains a run at a time."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.run_lock import only_process_of
from pipeline.runs import CONFIG, new_run, sweep_runs

HOLDER = """if True:
    import sys, time
    from pathlib import Path
    from pipeline.run_lock import only_process_of
    with only_process_of(Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(60)
"""


def test_second_process_says_who_has_the_run_and_a_killed_one_holds_nothing(tmp_path: Path):
    holder = subprocess.Popen([sys.executable, "-P", "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    who = rf"in use by process {holder.pid} on {platform.node()}\. Wait until it ends"
    with pytest.raises(PipelineError, match=who), only_process_of(tmp_path):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with only_process_of(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_lock_that_a_killed_process_left_is_swept(tmp_path: Path):
    run = new_run(tmp_path, "net", {})
    (run / ".partial-lock").write_text("process 1 on gone")
    sweep_runs(tmp_path)
    assert [path.name for path in run.iterdir()] == [CONFIG]


def test_lock_in_use_is_not_swept(tmp_path: Path):
    run = new_run(tmp_path, "net", {})
    with only_process_of(run):
        sweep_runs(tmp_path)
        with pytest.raises(PipelineError, match="in use by process"), only_process_of(run):
            pass


def test_new_run_has_its_settings_and_the_first_free_number(tmp_path: Path):
    (tmp_path / "net-1").mkdir()
    (tmp_path / "net-1" / "x").touch()
    (tmp_path / "net-2").touch()
    assert new_run(tmp_path, "net", {"a": 1}).name == "net-3"
    assert (tmp_path / "net-3" / CONFIG).read_text() == '{\n  "a": 1\n}\n'
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net-1", "net-2", "net-3"]
