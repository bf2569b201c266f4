"""Kills at random moments; a test of hold."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import signal
import sqlite3
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from row import NET, QUICK_BENCH, Row, is_done, litter_in, write_images

COMMANDS = ("train", "compress", "export", "verify", "bench", "report")


def kills(options: argparse.Namespace, scratch: Path) -> Row:
    """kill -9 at a random moment of each command in turn; a killed training or compression is resumed."""
    os.chdir(scratch)
    write_images(scratch / "tiny.npz")
    _import_everything()
    seconds = {name: _run_whole(name, scratch) for name in COMMANDS}
    print({name: f"{taken:.1f} s" for name, taken in seconds.items()}, flush=True)
    chance, killed, turn = random.Random(options.seed), Counter[str](), 0
    kept, lost, litter, before = _kept(scratch / "runs"), [], [], litter_in(scratch / "runs")
    assert not before, before
    while killed.total() < options.kills:
        name = COMMANDS[turn % len(COMMANDS)]
        turn += 1
        if not _killed_at(_words(name, scratch), chance.uniform(0, seconds[name]), scratch):
            continue
        killed[name] += 1
        _forked(["runs"], scratch)  # the next command
        litter += [(name, each) for each in litter_in(scratch / "runs")]
        lost += [(name, each) for each in _problems(scratch / "runs", kept)]
        kept = _kept(scratch / "runs")
        if killed.total() % 20 == 0:
            print(f"{killed.total()} kills: {len(lost)} lost, {len(litter)} litter", flush=True)
    different = _finish_all(scratch)
    for each in (*lost, *litter, *different):
        print(each)
    counts = ", ".join(f"{name} {count}" for name, count in sorted(killed.items()))
    return Row(
        test=f"kill -9 ({counts})",
        found=f"{killed.total()}: {len(lost)} lost, {len(litter)} left litter, "
        f"{len(different)} differ after --resume",
        wanted=f"{options.kills}: none lost, no litter after the next command",
        holds=not lost and not litter and not different,
    )


def _import_everything() -> None:
    """Imports what the commands import: a forked child is to be killed in its work, not in its imports."""
    import tensorflow  # noqa: F401

    from pipeline.steps import bench, compress, export, report, train, verify  # noqa: F401


def _words(name: str, scratch: Path) -> list[str]:
    runs = scratch / "runs"
    if name in ("train", "compress"):
        unfinished = [
            config.parent.name
            for config in runs.glob("*/config.json")
            if not (config.parent / "train.json").exists()
            and ("compression" in json.loads(config.read_text())) is (name == "compress")
        ]
        if unfinished:
            return [name, "--resume", unfinished[0]]
    first = next((each.name for each in sorted(runs.glob("*-tiny-1")) if "sparse" not in each.name), "")
    return {
        "train": ["train", *NET, "--data", "tiny.npz", "--epochs", "2", "--batch-size", "32"],
        "compress": ["compress", first, "--prune", "0.5", "--epochs", "1"],
        "export": ["export", first, "--int8", "--float32", "--force"],
        "verify": ["verify", first],
        "bench": ["bench", first, *QUICK_BENCH],
        "report": ["report", "--format", "html"],
    }[name]


def _run_whole(name: str, scratch: Path) -> float:
    words = _words(name, scratch)
    begin = time.perf_counter()
    assert is_done(words, _forked(words, scratch)), (words, (scratch / "said").read_text())
    return time.perf_counter() - begin


def _start(words: list[str], scratch: Path) -> int:
    """A forked child that runs the command line in its own process group."""
    child = os.fork()
    if child:
        return child
    os.setsid()
    said = os.open(scratch / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(said, stream)
    from pipeline.cli import run

    try:
        status = run(words)
    except BaseException as error:
        print(repr(error), flush=True)
        status = 70
    sys.stdout.flush()
    os._exit(status)


def _forked(words: list[str], scratch: Path) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(_start(words, scratch), 0)[1])


def _killed_at(words: list[str], secs: float, scratch: Path) -> bool:
    """Whether the command still ran when it was killed."""
    child = _start(words, scratch)
    time.sleep(secs)
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended:
        code = os.waitstatus_to_exitcode(status)
        assert is_done(words, code), (words, code, (scratch / "said").read_text())
        return False
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def _kept(runs: Path) -> dict[str, int]:
    """How many rows of each table, and how many finished runs and exported files there are."""
    kept = {"runs finished": len(list(runs.glob("*/train.json")))}
    kept["files"] = len(list(runs.glob("*/export/*.tflite")))
    with sqlite3.connect(runs / "results.sqlite") as store:
        assert store.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        for table in ("runs", "artifacts", "verifications", "measurements"):
            kept[table] = store.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    store.close()
    return kept


def _problems(runs: Path, before: dict[str, int]) -> Iterator[str]:
    """What was there before and is not, and what is half-written under a finished name."""
    now = _kept(runs)
    yield from (
        f"{name}: {before[name]} before, {now[name]} now" for name in before if now[name] < before[name]
    )
    pairs = [(path, path.parent / "model.keras", "model_sha256") for path in runs.glob("*/train.json")]
    for path in runs.glob("*/export/*.json"):
        pairs.append((path, path.with_suffix(".tflite"), "sha256"))
    for record, file, key in pairs:
        if json.loads(record.read_text())[key] != hashlib.sha256(file.read_bytes()).hexdigest():
            yield f"{file} is not what {record} says"


def _finish_all(scratch: Path) -> list[str]:
    """Resumes what is unfinished; the runs of one command whose weights differ from the first's."""
    for name in ("train", "compress"):
        while (words := _words(name, scratch))[1] == "--resume":
            assert _forked(words, scratch) == 0, (words, (scratch / "said").read_text())
    histories: dict[str, set[bytes]] = {}
    for record in (scratch / "runs").glob("*/train.json"):
        told = json.loads(record.read_text())
        histories.setdefault(told["model_name"], set()).add(weights_digest(record.parent / "model.keras"))
    return [f"{name}: {len(each)} different results" for name, each in histories.items() if len(each) > 1]


def weights_digest(model: Path) -> bytes:
    """A digest of all weights in a .keras file, read with h5py alone."""
    digest = hashlib.sha256()
    with zipfile.ZipFile(model) as parts, h5py.File(io.BytesIO(parts.read("model.weights.h5"))) as weights:

        def add(name: str, found: h5py.Group | h5py.Dataset) -> None:
            if isinstance(found, h5py.Dataset):
                digest.update(name.encode() + np.asarray(found).tobytes())

        weights.visititems(add)
    return digest.digest()
