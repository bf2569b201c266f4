"""What leaves the report when an exported file takes another one's place, and which kits are stale."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from export.files import sha256_of
from pipeline.android_kit.kit import kit_holds
from pipeline.store.store import open_store


@dataclass(frozen=True, kw_only=True)
class Replaced:
    """A file that was verified, measured or put into a kit, and that another one of its name replaced."""

    path: Path
    sha256: str
    num_verified: int
    """On this machine and on phones."""
    num_measured: int
    kits: tuple[Path, ...]
    """Folders of Android kits that were made of it."""

    @property
    def stale_kits(self) -> tuple[Path, ...]:
        """The kits that still hold it."""
        return tuple(kit for kit in self.kits if kit_holds(kit, self.sha256))

    @property
    def words(self) -> str:
        """The sentences for the user; empty if nothing is lost from sight."""
        done = [_times("verified", self.num_verified), _times("measured", self.num_measured)]
        said = ""
        if any(done):
            said = (
                f"{self.path.name} replaced another file of that name, which was "
                f"{' and '.join(filter(None, done))}: those figures leave the report. "
                "Verify and bench the new one."
            )
        stale = [
            f"The Android kit in {kit} holds the replaced {self.path.name}: "
            f"make it again with --android-kit {kit}."
            for kit in self.stale_kits
        ]
        return " ".join(filter(None, [said, *stale]))


def digests(paths: Iterable[Path]) -> dict[Path, str]:
    """The SHA-256 of each of the files that is there."""
    return {path: sha256_of(path) for path in paths if path.is_file()}


def replaced_files(before: Mapping[Path, str], *, runs: Path) -> tuple[Replaced, ...]:
    """The files of these digests that are other ones now, if figures or kits of them are known."""
    changed = {path: sha256 for path, sha256 in before.items() if digests([path]).get(path) != sha256}
    if not changed:
        return ()
    with open_store(runs) as store:
        found = [
            Replaced(
                path=path,
                sha256=sha256,
                num_verified=len(store.verifications(sha256)) + len(store.phone_verifications(sha256)),
                num_measured=len(store.measurements(sha256)),
                kits=store.kits(sha256),
            )
            for path, sha256 in changed.items()
        ]
    return tuple(each for each in found if each.num_verified or each.num_measured or each.kits)


def _times(what: str, count: int) -> str:
    return "" if not count else what if count == 1 else f"{what} {count} times"
