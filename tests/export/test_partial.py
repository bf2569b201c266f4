"""Temporary files: removed after a kill, never while they are written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from export.files import replacing, write_bytes
from export.partial import KEPT_SECS, PREFIX, partial_folder, sweep, temporary_folder_swept

WRITER = """if True:
    import sys, time
    from pathlib import Path
    from export.files import replacing
    with replacing(Path(sys.argv[1])) as partial:
        partial.write_bytes(b"half")
        print("writing", flush=True)
        time.sleep(60)
"""


def partials(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(PREFIX)]


@pytest.fixture
def writer(tmp_path: Path):
    """A process that is writing a file in tmp_path."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", WRITER, str(tmp_path / "x.bin")], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_what_a_live_process_writes_stays_and_what_a_killed_one_left_goes(
    writer: subprocess.Popen[bytes], tmp_path: Path
):
    sweep(tmp_path)
    assert len(partials(tmp_path)) == 1
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    sweep(tmp_path)
    assert not list(tmp_path.iterdir())


def test_folder_in_the_making_stays_until_it_is_left(tmp_path: Path):
    with partial_folder(tmp_path / "run") as made:
        (made / "config.json").write_text("{}")
        sweep(tmp_path)
        assert made.is_dir()
        made.rename(tmp_path / "run-1")
    assert [path.name for path in tmp_path.iterdir()] == ["run-1"]
    assert (tmp_path / "run-1").stat().st_mode & 0o777 == 0o777 & ~os.umask(os.umask(0o022) or 0o022)


def test_another_machines_stay_for_a_day(tmp_path: Path):
    theirs = tmp_path / f"{PREFIX}0badc0de-abc-model.keras"
    theirs.write_bytes(b"half")
    sweep(tmp_path)
    assert theirs.exists()
    before = theirs.stat().st_mtime - KEPT_SECS - 10
    os.utime(theirs, (before, before))
    sweep(tmp_path)
    assert not theirs.exists()


def test_other_files_links_and_pipes_stay(tmp_path: Path):
    (tmp_path / "partial-notes").write_text("mine")
    (tmp_path / "kept").write_text("mine")
    (tmp_path / f"{PREFIX}lock").symlink_to(tmp_path / "kept")
    sweep(tmp_path)
    assert (tmp_path / "kept").read_text() == "mine"
    assert (tmp_path / "partial-notes").exists()


def test_writers_and_sweepers_at_once_lose_nothing(tmp_path: Path):
    """16 threads write files of their own while others sweep: every write ends, and nothing else is left."""
    ended = threading.Event()

    def clean() -> None:
        while not ended.is_set():
            sweep(tmp_path)

    def write(number: int) -> None:
        for turn in range(50):
            write_bytes(tmp_path / f"{number}.txt", str(turn).encode())

    sweepers = [threading.Thread(target=clean) for _ in range(2)]
    writers = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for thread in (*sweepers, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    ended.set()
    for thread in sweepers:
        thread.join()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        f"{number}.txt": "49" for number in range(16)
    }


def test_name_as_long_as_the_file_system_takes_is_written(tmp_path: Path):
    with replacing(tmp_path / ("x" * 249 + ".keras")) as partial:
        partial.write_bytes(b"whole")
        assert partial.suffix == ".keras"
    assert not partials(tmp_path)


def test_what_a_killed_process_left_in_the_temporary_folder_goes(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = """if True:
        import os, signal, tempfile
        from export.partial import temporary_folder_swept
        with temporary_folder_swept():
            tempfile.mkdtemp()
            os.kill(os.getpid(), signal.SIGKILL)
    """
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-P", "-c", program], env=environment, check=False)
    assert len(partials(tmp_path)) == 1
    with temporary_folder_swept():
        assert len(partials(tmp_path)) == 1
        assert Path(tempfile.mkdtemp()).parent.name in partials(tmp_path)
    assert not list(tmp_path.iterdir())
    assert tempfile.gettempdir() == str(tmp_path)
