"""Exported files with figures or kits: what may replace them, and what becomes of their kits."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from export.artifact import ExportArtifact, sidecar_path
from export.errors import BadModelFileError
from export.files import sha256_of
from export.pixel_conventions import convention_of
from export.settings import ExportSettings
from pipeline.android_kit.kit import kit_holds, write_kit
from pipeline.errors import PipelineError, UsageError
from pipeline.lineage import KerasSource, artifact_of
from pipeline.store.store import FILE_NAME, open_store

CHOICE = "Keep both: --out FOLDER. Replace it: --force."


@dataclass(frozen=True, kw_only=True)
class KnownFile:
    """An exported file that was verified, measured or put into a kit."""

    path: Path
    sha256: str
    num_verified: int
    """On this machine and on phones."""
    num_measured: int
    kits: tuple[Path, ...]
    """Folders of the Android kits that hold it."""

    @property
    def history(self) -> str:
        """What is known of it, such as 'was verified and measured 2 times'."""
        figures = [_times("verified", self.num_verified), _times("measured", self.num_measured)]
        done = [" and ".join(filter(None, figures))] if any(figures) else []
        done = [f"was {each}" for each in done]
        if self.kits:
            kits = " and ".join(map(str, self.kits))
            done.append(f"is in the Android kit{'s' if len(self.kits) > 1 else ''} {kits}")
        return " and ".join(done)


@dataclass(frozen=True, kw_only=True)
class Replaced:
    """A known file whose place another one took, and the kits that were made again of the new one."""

    file: KnownFile
    remade: tuple[Path, ...] = ()
    stale: Mapping[Path, str] = dataclasses.field(default_factory=dict)
    """Kits that still hold the earlier file -> why they were not made again."""

    @property
    def words(self) -> str:
        """The sentences for the user."""
        name = self.file.path.name
        said = [f"{name} replaced another file of that name, which {self.file.history}."]
        if self.file.num_verified or self.file.num_measured:
            said.append("Its figures leave the report: verify and bench the new one.")
        said += [f"Made the Android kit in {kit} again, of the new file." for kit in self.remade]
        said += [
            f"The Android kit in {kit} is stale, it holds the earlier file: {why}"
            for kit, why in self.stale.items()
        ]
        return " ".join(said)


def known_files(paths: Iterable[Path], *, runs: Path, kit: Path | None = None) -> dict[Path, KnownFile]:
    """Those of the files that are there and have figures or kits; `kit`, written anew, does not count."""
    there = {path: sha256_of(path) for path in paths if path.is_file()}
    if not there or not (runs / FILE_NAME).is_file():
        return {}
    own = kit.absolute() if kit else None
    with open_store(runs) as store:
        found = [
            KnownFile(
                path=path,
                sha256=sha256,
                num_verified=len(store.verifications(sha256)) + len(store.phone_verifications(sha256)),
                num_measured=len(store.measurements(sha256)),
                kits=tuple(each for each in store.kits(sha256) if each != own and kit_holds(each, sha256)),
            )
            for path, sha256 in there.items()
        ]
    return {each.path: each for each in found if each.num_verified or each.num_measured or each.kits}


def check_same_origin(known: KnownFile, source: KerasSource, settings: ExportSettings) -> None:
    """Raises UsageError if the known file was made of another model or with other settings."""
    earlier = _earlier(known)
    if earlier is None:
        return
    sha256 = sha256_of(source.model_path)
    if earlier.parent_sha256 != sha256:
        refuse(known, f"was made of another model (sha256 {earlier.parent_sha256[:12]}, now {sha256[:12]})")
    if source.family is None and convention_of(earlier.knobs) != convention_of(source.knobs):
        refuse(known, "was made for other pixels (--scale, --offset, --channels)")
    then, now = (dataclasses.asdict(each) for each in (earlier.settings, settings))
    if changed := [name for name in now if then[name] != now[name]]:
        words = [f"{_option(name)} {_word(then[name])}, now {_word(now[name])}" for name in changed]
        refuse(known, f"was made with {'; '.join(words)}")


def check_same_inputs(known: KnownFile, class_names: Sequence[str], calibration_sha256: str | None) -> None:
    """Raises UsageError if the known file has other class names, or was calibrated with other images."""
    earlier = _earlier(known)
    if earlier is None:
        return
    if tuple(class_names) != earlier.class_names:
        refuse(known, "holds other class names")
    if earlier.calibration is not None and calibration_sha256 not in (None, earlier.calibration.sha256):
        refuse(known, "was calibrated with other images")


def other_bytes(known: KnownFile, error: str) -> str:
    """Why the known file was kept after all, if only its bytes are others."""
    return f"{error} {known.path.name} {known.history}, and stays. {CHOICE}"


def refuse(known: KnownFile, difference: str) -> None:
    """Raises UsageError with the choice."""
    raise UsageError(f"{known.path.name} {known.history}, and {difference}. Nothing was written. {CHOICE}")


def replaced(known: KnownFile, artifact: ExportArtifact, *, runs: Path) -> Replaced:
    """What became of the known file's kits, now that the artifact has taken its place."""
    remade, stale = [], {}
    for kit in known.kits:
        try:
            write_kit(kit, known.path, artifact)
        except PipelineError as error:
            stale[kit] = str(error)
            continue
        with open_store(runs) as store:
            store.add_kit(artifact.sha256, kit)
        remade.append(kit)
    return Replaced(file=known, remade=tuple(remade), stale=stale)


def free_path(path: Path, content_sha256: str, *, runs: Path) -> Path:
    """The path, or the first with a number, where no other known file is."""
    number, place = 1, path
    while any(each.sha256 != content_sha256 for each in known_files([place], runs=runs).values()):
        number += 1
        place = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return place


def _earlier(known: KnownFile) -> ExportArtifact | None:
    """The known file's sidecar; None if it is lost or is another file's."""
    if not sidecar_path(known.path).is_file():
        return None
    try:
        found = artifact_of(known.path)
    except BadModelFileError:
        return None
    return found if found.sha256 == known.sha256 else None


def _option(setting: str) -> str:
    return f"--{setting.replace('_', '-')}"


def _word(value: object) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return "by default" if value is None else str(value)


def _times(what: str, count: int) -> str:
    return "" if not count else what if count == 1 else f"{what} {count} times"
