"""Many writers of one store, and full and read-only disks; tests of hold."""

from __future__ import annotations

import argparse
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from row import NET, QUICK_BENCH, Row, is_done, litter_in, write_images

COMMAND = "import sys; from pipeline.cli import main; sys.argv[0] = 'pipeline'; main()"
PATIENCE_SECS = 300

WRITER = """
import sys, time
from pathlib import Path
sys.path += [sys.argv[4], sys.argv[4] + "/tests"]
from report_records import measurement
from pipeline.store.store import open_store
folder, writer, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
sys.stdin.readline()  # all begin at once
longest = 0.0
for number in range(count):
    begin = time.perf_counter()
    with open_store(folder) as store:
        store.add_measurement(measurement(num_threads=1 + writer * count + number))
    longest = max(longest, time.perf_counter() - begin)
print(longest)
"""


def writers(options: argparse.Namespace, scratch: Path) -> Row:
    """Processes that open the store, add a measurement and close it, at once."""
    root = Path(__file__).parents[2]
    each = options.writes // options.writers
    processes = [
        subprocess.Popen(
            [sys.executable, "-P", "-c", WRITER, str(scratch), str(number), str(each), str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(options.writers)
    ]
    time.sleep(5)  # for their imports
    begin = time.perf_counter()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    longest = max(float(process.communicate()[0] or "inf") for process in processes)
    seconds = time.perf_counter() - begin
    with sqlite3.connect(scratch / "results.sqlite") as store:
        (found,) = store.execute("SELECT count(*) FROM measurements").fetchone()
        (whole,) = store.execute("PRAGMA integrity_check").fetchone()
    store.close()
    wanted = each * options.writers
    return Row(
        test=f"{options.writers} writers",
        found=f"{found} of {wanted} in {seconds:.0f} s, longest wait {longest:.2f} s",
        wanted=f"{wanted} of {wanted}, longest wait 2 s",
        holds=found == wanted and whole == "ok" and longest < 2,
    )


# full and read-only disks


def disks(options: argparse.Namespace, scratch: Path) -> Row:
    """Each command on a disk that is full, then read-only, and the same once there is room again."""
    del options
    write_images(scratch / "tiny.npz")
    problems = []
    with _small_disk(scratch / "disk", megabytes=64) as disk:
        runs = disk / "runs"

        def step(*words: str) -> subprocess.CompletedProcess[str]:
            return _pipeline(words, runs, cwd=scratch)

        whole = [
            step("train", *NET, "--data", str(scratch / "tiny.npz"), "--epochs", "2", "--batch-size", "32"),
            step("export", "--int8", "--float32"),
            step("verify"),
            step("bench", *QUICK_BENCH),
        ]
        assert all(is_done(done.args[4:], done.returncode) for done in whole), [done.stderr for done in whole]
        table = step("report", "--format", "csv").stdout
        run = next(runs.glob("*-tiny-1")).name
        writing = (
            ("train", *NET, "--data", str(scratch / "tiny.npz"), "--epochs", "2", "--batch-size", "32"),
            ("compress", run, "--prune", "0.5", "--epochs", "1"),
            ("export", run, "--int8", "--force"),
            ("verify", run),
            ("bench", run, *QUICK_BENCH),
        )
        for state, enter, leave in (
            ("full", lambda: _fill(disk), lambda: (disk / "filler").unlink()),
            ("read-only", lambda: _remount(disk, "ro"), lambda: _remount(disk, "rw")),
        ):
            enter()
            for words in writing:
                done = step(*words)
                last = done.stderr.strip().splitlines()[-1:]
                print(f"{state}: {words[0]}: status {done.returncode}: {''.join(last)[:160]}", flush=True)
                if "Traceback" in done.stderr or done.returncode not in (0, 1):
                    problems.append(f"{state}: {words[0]}: {done.stderr[-600:]}")
            report = step("report", "--format", "csv")
            if report.returncode or report.stdout != table:
                problems.append(f"{state}: report: {report.returncode}: {report.stderr[-600:]}")
            leave()
            after = step("runs", "--json")
            if after.returncode or (litter := litter_in(runs)):
                problems.append(f"after {state}: {after.stderr} {litter}")
    for problem in problems:
        print(problem)
    return Row(
        test="disk full and read-only",
        found=f"{2 * (len(writing) + 1)} commands, {len(problems)} not clean",
        wanted="clean, with the report readable",
        holds=not problems,
    )


@contextmanager
def _small_disk(folder: Path, *, megabytes: int) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(4096))
        except OSError:
            pass


def _remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)


def _pipeline(words: tuple[str, ...], runs: Path, *, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", COMMAND, *words],
        env={**os.environ, "PIPELINE_RUNS": str(runs)},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECS,
        check=False,
    )
