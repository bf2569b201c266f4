"""What the records of a runs folder said when they were last read, in a file in the user's cache folder.

Thousands of runs are listed without reading their records again. A record counts as the same while its file
has the same times, size and inode. The cached file begins with its SHA-256 and may be deleted: a damaged or
foreign one is not used. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from export.artifact import Calibration, Equalization, ExportArtifact, TensorInfo, read_sidecar, sidecar_path
from export.files import write_bytes
from export.settings import ExportSettings
from pipeline.home import cache_folder
from pipeline.records.compression import CompressionRecord
from pipeline.records.training import TrainConfig, TrainRecord, read_record

FEWEST = 50
"""So many records are read in less time than the cache is written in."""
MOST = 500_000
"""Beyond so many, the records that this process did not look at are forgotten."""
SETTLED_NS = 2_000_000_000
"""A file that changed within this time may change again without its times showing it."""
DIGEST_CHARACTERS = 64
READ = (
    TrainRecord, TrainConfig, CompressionRecord, ExportArtifact, ExportSettings, TensorInfo, Calibration,
    Equalization,
)  # fmt: skip
"""What is read: a version with other fields does not use what this one found intact."""

_Facts = TypeVar("_Facts", "Trained", "Exported")


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What is remembered of a train.json: fields of TrainRecord."""

    run: str
    model_name: str
    family: str | None
    dataset: str
    validation_top1: float
    test_top1: float
    epochs_run: int
    seconds: float
    parameters: int
    finished_utc: str
    model_sha256: str


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What is remembered of a sidecar: fields of ExportArtifact."""

    precision: str
    sha256: str
    parent_sha256: str


class RunCache:
    """The records of one runs folder, read or remembered."""

    def __init__(self, folder: Path) -> None:
        self._start = len(os.path.join(folder, ""))  # noqa: PTH118 - as the paths' text begins
        self._folder = folder
        self._read: dict[str, list[Any]] = {}
        self._used: dict[str, list[Any]] = {}

    def trained(self, record: Path, status: os.stat_result | None = None) -> Trained:
        """The facts of a train.json, whose status may be known. Raises what read_record does."""
        return self._facts(record, status or record.stat(), Trained, _trained)

    def exported(self, tflite: Path) -> Exported:
        """The facts of an exported file's sidecar. Raises what read_sidecar does."""
        path = sidecar_path(tflite)
        return self._facts(path, path.stat(), Exported, lambda _: _exported(tflite))

    def save(self) -> None:
        """Writes what was read, if that is much; if it fails, the next command only takes longer."""
        if len(self._read) < FEWEST:
            return
        found = {**self._stored, **self._used, **self._read}
        if len(found) > MOST:
            found = {**self._used, **self._read}
        content = json.dumps({"of": _version(), "records": found}, separators=(",", ":")).encode()
        with suppress(OSError, RuntimeError):  # RuntimeError: the user has no home
            path = self._path()
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, _digest(content) + content)
        self._used |= self._read
        self._read = {}

    def _facts(
        self, path: Path, status: os.stat_result, kind: type[_Facts], read: Callable[[Path], _Facts]
    ) -> _Facts:
        """The status is from before the file is read: what replaces it meanwhile has another."""
        stamp = [status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino]
        name = os.fspath(path)[self._start :]
        facts = self._recalled(name, stamp, kind)
        if facts is None:
            facts = read(path)
            if time.time_ns() - max(stamp[:2]) > SETTLED_NS:
                self._read[name] = [stamp, list(astuple(facts))]
        return facts

    def _recalled(self, name: str, stamp: list[int], kind: type[_Facts]) -> _Facts | None:
        stored = self._read.get(name) or self._used.get(name) or self._stored.get(name)
        if stored is None or stored[0] != stamp:
            return None
        self._used[name] = stored
        return kind(**dict(zip(_names(kind), stored[1], strict=True)))

    @cached_property
    def _stored(self) -> dict[str, list[Any]]:
        """What the cache holds; nothing if it is missing, damaged or of another version."""
        with suppress(OSError, RuntimeError):
            content = self._path().read_bytes()
            body = content[DIGEST_CHARACTERS:]
            if content[:DIGEST_CHARACTERS] == _digest(body):
                found = json.loads(body)
                return dict(found["records"]) if found["of"] == _version() else {}
        return {}

    def _path(self) -> Path:
        name = hashlib.sha256(os.fsencode(self._folder.resolve())).hexdigest()[:32]
        return cache_folder() / "runs" / f"{name}.json"


def _trained(path: Path) -> Trained:
    record = read_record(path)
    found = {each.name: getattr(record, each.name) for each in fields(Trained) if each.name != "family"}
    return Trained(**found, family=record.config.family)


def _exported(tflite: Path) -> Exported:
    artifact = read_sidecar(tflite)
    return Exported(
        precision=artifact.precision.value, sha256=artifact.sha256, parent_sha256=artifact.parent_sha256
    )


def _names(kind: type[Trained] | type[Exported]) -> tuple[str, ...]:
    return tuple(kind.__dataclass_fields__)


def _version() -> str:
    """A digest of the fields that are read and remembered."""
    kinds = (*READ, Trained, Exported)
    known = [(kind.__name__, each.name, str(each.type)) for kind in kinds for each in fields(kind)]
    return hashlib.sha256(repr(known).encode()).hexdigest()[:16]


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
