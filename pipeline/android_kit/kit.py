"""An Android kit: a folder with an exported file and what an app needs to use it.

Written whole or not at all. kit.json has the checksums of the written files, so that a later kit replaces an
earlier one and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from export.artifact import ExportArtifact
from export.files import replacing, sha256_of
from pipeline.android_kit import kotlin
from pipeline.android_kit.readme import readme
from pipeline.errors import PipelineError, UsageError
from spelling import some

RECORD = "kit.json"
_MADE_BY = "pipeline export --android-kit"


def check_folder(folder: Path) -> None:
    """Raises UsageError unless `folder` is missing, empty, or an unchanged kit."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file. Give --android-kit a folder that is new or empty.")
    present = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    if not present:
        return
    known = _known_files(folder)
    if known is None:
        raise UsageError(
            f"{folder} holds {some(present)} and is not an earlier kit. Nothing was written. "
            "Give --android-kit a folder that is new or empty."
        )
    others = [name for name in present if name != RECORD and not _is_as_written(folder / name, known)]
    if others:
        raise UsageError(
            f"{folder} is a kit in which {some(others)} was added or changed. Nothing was written. "
            "Move that away, or give --android-kit another folder."
        )


def kit_holds(folder: Path, sha256: str) -> bool:
    """Whether `folder` is a kit with the file of this checksum."""
    return sha256 in (_known_files(folder) or {}).values()


def write_kit(folder: Path, tflite: Path, artifact: ExportArtifact) -> None:
    """Writes the kit of one exported file: the file, labels, Gradle lines, Kotlin, README and kit.json.

    Removes an earlier kit's files that this one does not have. Raises UsageError like check_folder(), and
    PipelineError if the folder cannot be written.
    """
    check_folder(folder)
    earlier = _known_files(folder) if folder.is_dir() else None
    is_new = not folder.exists()
    files = kit_files(tflite, artifact)
    files[RECORD] = _record(files)
    try:
        with contextlib.ExitStack() as stack:
            # all are written in full before the first takes its name
            for name, content in files.items():
                stack.enter_context(replacing(folder / name)).write_bytes(content)
    except OSError as error:
        if is_new:
            with contextlib.suppress(OSError):  # not there, or not empty
                folder.rmdir()
        raise PipelineError(
            f"cannot write the Android kit to {folder} ({error.strerror or error}). "
            f"Nothing was changed there. Expected room for {sum(map(len, files.values())):,} bytes "
            "in a folder that you may write to."
        ) from error
    for name in (earlier or {}).keys() - files.keys():
        (folder / name).unlink(missing_ok=True)


def kit_files(tflite: Path, artifact: ExportArtifact) -> dict[str, bytes]:
    """The files of a kit by name, without kit.json."""
    from export.labels_file import labels_text

    texts = {
        "dependencies.gradle.kts": kotlin.gradle(artifact),
        "Pixels.kt": kotlin.pixels(artifact),
        "LiteRtClassifier.kt": kotlin.litert(artifact),
        "README.md": readme(artifact),
    }
    if kotlin.takes_mediapipe(artifact):
        texts["MediaPipeClassifier.kt"] = kotlin.mediapipe(artifact)
    files = {name: text.encode() for name, text in texts.items()}
    files[artifact.path] = tflite.read_bytes()
    files[kotlin.LABELS] = labels_text(artifact.class_names)
    return files


def _record(files: Mapping[str, bytes]) -> bytes:
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    return (json.dumps({"made_by": _MADE_BY, "files": sums}, indent=2) + "\n").encode()


def _known_files(folder: Path) -> dict[str, str] | None:
    """The SHA-256 of each file that a kit was written with; None if the folder is no kit."""
    try:
        record = json.loads((folder / RECORD).read_text())
        if record["made_by"] != _MADE_BY:
            return None
        return {str(name): str(sha256) for name, sha256 in record["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_as_written(path: Path, known: Mapping[str, str]) -> bool:
    return path.is_file() and known.get(path.name) == sha256_of(path)
