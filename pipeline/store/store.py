"""runs/results.sqlite: every run, exported file, verification and measurement, joined by sha256."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from export.artifact import ExportArtifact
from export.files import sha256_of
from export.verification import Verification, verification_from_record
from pipeline.json_values import finite
from pipeline.records.measurement import Measurement, Setting, measurement_from_record, setting_of
from pipeline.records.phone_verification import PhoneVerification
from pipeline.records.shape import ShapeMeasurement, shape_from_record
from pipeline.records.training import TrainRecord
from pipeline.sessions import SessionMedian, SessionSpread, session_of, session_spread
from pipeline.store import queries
from pipeline.store.functions import add_functions
from pipeline.store.opening import WAIT_SECONDS, check_undamaged, named_errors, use_write_ahead_log
from pipeline.store.rows import ReportRows, uncollected
from pipeline.store.schema import migrate
from pipeline.store.selection import Selection
from pipeline.store.turns import begin

if TYPE_CHECKING:
    from pipeline.store.predictions import KeptPredictions

FILE_NAME = "results.sqlite"
NUM_SESSION_MEASUREMENTS = 2000
"""The spread between sessions is of that many measurements, the last that were added."""


def open_store(runs_folder: Path) -> Store:
    """The store in the runs folder, created if missing. PipelineError for a newer or a damaged file."""
    runs_folder.mkdir(parents=True, exist_ok=True)
    path = runs_folder / FILE_NAME
    with named_errors(path):
        connection = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None)
        try:
            check_undamaged(connection)
            use_write_ahead_log(connection)
            migrate(connection, wait_secs=WAIT_SECONDS)
        except BaseException:
            connection.close()
            raise
    return Store(connection, runs_folder)


class Store:
    """An open results.sqlite; a context manager. Adding the same record twice changes nothing."""

    def __init__(self, connection: sqlite3.Connection, runs_folder: Path) -> None:
        self.path = runs_folder / FILE_NAME
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys = ON")
        add_functions(connection)
        self._connection = connection
        self._folder = runs_folder

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; the store cannot be used afterwards."""
        self._connection.close()

    @contextmanager
    def together(self) -> Iterator[None]:
        """One transaction for all that the block adds, which is faster for thousands; other writers wait."""
        with self._writing():
            yield

    def add_run(self, record: TrainRecord) -> None:
        """Adds a finished training, or replaces the one of that name."""
        model = {
            "model_name": record.model_name,
            "family": record.config.family,
            "knobs": record.config.knobs,
            "parameters": record.parameters,
            "macs": record.macs,
        }
        with self._writing() as connection:
            connection.execute(queries.ADD_MODEL, {"sha256": record.model_sha256, "record": _json(model)})
            run = {"run": record.run, "model_sha256": record.model_sha256, "record": _json(asdict(record))}
            connection.execute(queries.ADD_RUN, run)

    def add_artifact(self, artifact: ExportArtifact, folder: Path) -> None:
        """Adds an exported file in `folder`, or replaces the record of that export."""
        model = {"model_name": artifact.model_name, "family": artifact.family, "knobs": artifact.knobs}
        found = {"precision": artifact.precision, "path": self._portable(folder / artifact.path)}
        record = _json({**asdict(artifact), **found})
        sha256, parent = artifact.sha256, artifact.parent_sha256
        with self._writing() as connection:
            connection.execute(queries.MENTION_MODEL, {"sha256": parent, "record": _json(model)})
            connection.execute(queries.ADD_FILE, {"sha256": sha256})
            connection.execute(queries.FORGET_MENTION, {"sha256": sha256, "record": record})
            values = {"sha256": sha256, "parent_sha256": parent, "record": record}
            connection.execute(queries.FORGET_ARTIFACT, values)
            connection.execute(queries.ADD_ARTIFACT, values)

    def add_verification(
        self, verification: Verification, predictions: KeptPredictions | None = None
    ) -> None:
        """Adds a verification and its predictions, also of a file that the store does not know."""
        record = _json(asdict(verification))
        sha256 = verification.artifact_sha256
        stub = _json(self._stub(Path(verification.path), sha256)) if verification.path else "{}"
        with self._writing() as connection:
            _mention(connection, sha256, stub)
            fact = _fact(sha256, record)
            connection.execute(queries.ADD_VERIFICATION, fact)
            _add_predictions(connection, fact["id"], predictions)

    def add_measurement(self, measurement: Measurement) -> None:
        """Adds a measurement, also of a file that the store does not know."""
        record = _json(asdict(measurement))
        sha256 = measurement.artifact_sha256
        stub = _json(self._stub(Path(measurement.path), sha256))
        with self._writing() as connection:
            _mention(connection, sha256, stub)
            connection.execute(queries.ADD_MEASUREMENT, _fact(sha256, record))

    def add_phone_verification(
        self, verification: PhoneVerification, predictions: KeptPredictions | None = None
    ) -> None:
        """Adds a verification on a phone and its predictions, also of a file that the store does not know."""
        sha256 = verification.artifact_sha256
        with self._writing() as connection:
            _mention(connection, sha256, "{}")
            fact = _fact(sha256, _json(asdict(verification)))
            connection.execute(queries.ADD_PHONE_VERIFICATION, fact)
            _add_predictions(connection, fact["id"], predictions)

    def add_kit(self, artifact_sha256: str, folder: Path) -> None:
        """Adds the folder of an Android kit that was made of a file."""
        with self._writing() as connection:
            values = {"sha256": artifact_sha256, "folder": str(folder.absolute())}
            connection.execute(queries.ADD_KIT, values)

    def kits(self, artifact_sha256: str) -> tuple[Path, ...]:
        """The folders of the Android kits that were made of a file."""
        query = "SELECT folder FROM kits WHERE artifact_sha256 = ? ORDER BY folder"
        return tuple(Path(row["folder"]) for row in self._read(query, (artifact_sha256,)))

    def add_round(self, series: str, round_index: int, record: dict[str, Any]) -> None:
        """Adds one round of an incomplete measurement, so that it can be resumed."""
        values = {"series": series, "round_index": round_index, "record": _json(record)}
        with self._writing() as connection:
            connection.execute(queries.ADD_ROUND, values)

    def forget_rounds(self, series: str) -> None:
        """Deletes the stored rounds of a measurement."""
        with self._writing() as connection:
            connection.execute(queries.FORGET_ROUNDS, {"series": series})

    def rounds(self, series: str) -> dict[int, dict[str, Any]]:
        """The stored rounds of an incomplete measurement, by their number."""
        return {
            row["round_index"]: json.loads(row["record"]) for row in self._read(queries.ROUNDS, (series,))
        }

    def measurement_of(self, series: str) -> Measurement | None:
        """The newest valid measurement of a series: one artifact, phone, tool and setting."""
        found = self._read(queries.OF_SERIES, (series,))
        return measurement_from_record(json.loads(found[0]["record"])) if found else None

    def add_shape(self, found: ShapeMeasurement) -> None:
        """Adds what a file with random weights measured, or replaces the one of that shape and setting."""
        names = ("shape", "setting", "num_classes")
        values = {name: getattr(found, name) for name in names} | {"record": _json(asdict(found))}
        with self._writing() as connection:
            connection.execute(queries.ADD_SHAPE, values)

    def shapes(self, shape: str, setting: str) -> list[ShapeMeasurement]:
        """What files of a shape measured with a setting, one for each number of classes."""
        return [
            shape_from_record(json.loads(row["record"]))
            for row in self._read(queries.SHAPES, (shape, setting))
        ]

    def session_spreads(self) -> dict[Setting, SessionSpread]:
        """The spread between sessions, for each setting in which a file was measured in several.

        From the last NUM_SESSION_MEASUREMENTS that were added.
        """
        medians: dict[Setting, list[SessionMedian]] = defaultdict(list)
        for row in self._read(queries.IN_SESSIONS, (NUM_SESSION_MEASUREMENTS,)):
            found = measurement_from_record(json.loads(row["record"]))
            session = session_of(found.round_sessions)
            if session is not None and found.median_ms is not None:
                medians[setting_of(found)].append(
                    SessionMedian(file=found.artifact_sha256, session=session, median_ms=found.median_ms)
                )
        spreads = {setting: session_spread(found) for setting, found in medians.items()}
        return {setting: spread for setting, spread in spreads.items() if spread is not None}

    def rows(self, selection: Selection | None = None) -> ReportRows:
        """One row per file and setting it was measured with (one for a file not measured), Pareto marked.

        The selection is made before any row is read; the best are the best of the selected.
        """
        from pipeline.store.pareto import mark_pareto  # with numpy, which no other part of the store needs

        query, values = (selection or Selection()).query()
        with named_errors(self.path), uncollected():
            cursor = self._connection.cursor()
            cursor.row_factory = None
            found = ReportRows(cursor.execute(query, values).fetchall(), folder=self._folder)
            return mark_pareto(found, self.session_spreads())

    def families(self) -> set[str]:
        """The families of the known files."""
        found = self._read("SELECT DISTINCT family FROM newest_artifacts WHERE family IS NOT NULL")
        return {row["family"] for row in found}

    def runs(self) -> dict[str, str]:
        """The names of the known runs, with the sha256 of the model each trained."""
        return {row["run"]: row["model_sha256"] for row in self._read("SELECT run, model_sha256 FROM runs")}

    def artifacts(self) -> dict[tuple[str, str], Path]:
        """The last path of each file with a sidecar, by its sha256 and its model's."""
        found = self._read(queries.ARTIFACTS)
        return {(row["sha256"], row["parent_sha256"]): self._folder / row["path"] for row in found}

    def verifications(self, artifact_sha256: str) -> list[Verification]:
        """The verifications of a file, oldest first."""
        records = self._records("verifications", artifact_sha256, "verified_utc")
        return [verification_from_record(record) for record in records]

    def predicted(self) -> set[str]:
        """The SHA-256 of the files whose predictions are kept."""
        return {row["artifact_sha256"] for row in self._read(queries.PREDICTED)}

    def predictions(
        self, artifact_sha256: str, *, dataset_fingerprint: str, split: str, where: str = ""
    ) -> KeptPredictions | None:
        """The predictions of a file on a split, here or on a phone; None where none are kept."""
        from pipeline.store.predictions import KeptPredictions, unpacked, unpacked_images  # with numpy

        found = self._read(queries.PREDICTIONS, (artifact_sha256, dataset_fingerprint, split, where))
        if not found:
            return None
        (row,) = found
        predictions, class_names, pictures = unpacked(row["arrays"])
        return KeptPredictions(
            **{name: row[name] for name in ("artifact_sha256", "dataset", "dataset_fingerprint")},
            **{name: row[name] for name in ("split", "where")},
            class_names=class_names,
            images=unpacked_images(row["names"]),
            found=predictions,
            pictures=pictures,
        )

    def measurements(self, artifact_sha256: str) -> list[Measurement]:
        """The measurements of a file, oldest first."""
        records = self._records("measurements", artifact_sha256, "measured_utc")
        return [measurement_from_record(record) for record in records]

    def phone_verifications(self, artifact_sha256: str) -> list[PhoneVerification]:
        """The verifications of a file on phones, oldest first."""
        records = self._records("phone_verifications", artifact_sha256, "verified_utc")
        return [PhoneVerification(**{**each, "reasons": tuple(each["reasons"])}) for each in records]

    def _records(self, table: str, artifact_sha256: str, order: str) -> list[dict[str, Any]]:
        query = f"SELECT record FROM {table} WHERE artifact_sha256 = ? ORDER BY {order}, rowid"
        return [json.loads(row["record"]) for row in self._read(query, (artifact_sha256,))]

    def _read(self, query: str, values: tuple[str | int, ...] = ()) -> list[sqlite3.Row]:
        with named_errors(self.path):
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of the block's changes, or none; within together() a part of that one."""
        if self._connection.in_transaction:
            yield self._connection
            return
        with named_errors(self.path):
            begin(self._connection, WAIT_SECONDS)
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _stub(self, path: Path, sha256: str) -> dict[str, Any]:
        """A record of a measured file without a sidecar; with its size only if the file is unchanged."""
        path = path if path.is_absolute() else Path.cwd() / path
        same = path.is_file() and sha256_of(path) == sha256
        size = path.stat().st_size if same else None
        return {"path": self._portable(path), "model_name": path.stem, "size_bytes": size}

    def _portable(self, path: Path) -> str:
        """The path for the store: relative to the runs folder if possible, so that the folder can move."""
        absolute, folder = path.resolve(), self._folder.resolve()
        return absolute.relative_to(folder).as_posix() if absolute.is_relative_to(folder) else str(absolute)

    def _located(self, path: str | None) -> Path | None:
        return None if path is None else self._folder / path


def _mention(connection: sqlite3.Connection, sha256: str, record: str) -> None:
    """Adds a stub for a file, unless its sidecar is known."""
    connection.execute(queries.ADD_FILE, {"sha256": sha256})
    connection.execute(queries.FORGET_MENTION, {"sha256": sha256, "record": record})
    connection.execute(queries.MENTION_ARTIFACT, {"sha256": sha256, "record": record})


def _fact(artifact_sha256: str, record: str) -> dict[str, str]:
    """The SQL parameters of a record, with the hash of its content as key, so that it is stored once."""
    return {
        "id": hashlib.sha256(record.encode()).hexdigest(),
        "artifact_sha256": artifact_sha256,
        "record": record,
    }


def _add_predictions(
    connection: sqlite3.Connection, verification_id: str, kept: KeptPredictions | None
) -> None:
    """Adds the predictions of a verification, in place of older ones on as many images."""
    if kept is None:
        return
    from pipeline.store.predictions import packed, packed_images

    sha256, names = packed_images(kept.images)
    values = {
        "verification_id": verification_id,
        "artifact_sha256": kept.artifact_sha256,
        "dataset": kept.dataset,
        "dataset_fingerprint": kept.dataset_fingerprint,
        "split": kept.split,
        "where": kept.where,
        "num_samples": kept.num_images,
        "images_sha256": sha256,
        "arrays": packed(kept),
    }
    connection.execute(queries.FORGET_PREDICTIONS, values)
    connection.execute(queries.ADD_IMAGE_NAMES, {"sha256": sha256, "names": names})
    connection.execute(queries.ADD_PREDICTIONS, values)


def _json(record: dict[str, Any]) -> str:
    """Canonical JSON; figures that are not finite become null, since JSON and SQLite have no NaN."""
    return json.dumps(finite(record), sort_keys=True, separators=(",", ":"), allow_nan=False)
