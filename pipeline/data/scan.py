"""Checks every file of a folder for an image, and caches the results."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from export.files import write_bytes
from pipeline.data import pixels
from pipeline.data.home import expanded
from pipeline.data.looks import look_of
from pipeline.data.spec import Progress

CACHE_VARIABLE = "PIPELINE_CACHE"
"""The environment variable with the folder for cached scans."""
MAX_BYTES = 256 * 2**20
"""A larger file is not read: it is probably a film, not a photograph."""
LOOK_SIDE = 96
"""A JPEG is not decoded smaller than this, from which its look is taken."""
VERSION = 3
"""Version of examine()'s results; another version's cache is not used."""


@dataclass(frozen=True, kw_only=True)
class Scanned:
    """An image file: its content's SHA-256, its upright size, its differences from 8-bit RGB."""

    sha256: str
    width: int
    height: int
    converted: tuple[str, ...]
    peak: int | None = None
    """The brightest level of an image stored in 16 bits."""
    look: int | None = None
    """Bits that nearly equal images share."""


def scan(
    root: Path, files: Sequence[Path], *, num_threads: int | None, progress: Progress | None
) -> list[Scanned | str]:
    """The scan of each file, or why it cannot be used.

    A file with the size, times and inode of its last scan is not read again.
    """
    pixels.quiet_pillow()
    memory = _Memory(root)
    found: list[Scanned | str] = []
    pool = ThreadPoolExecutor(num_threads or os.cpu_count() or 1, thread_name_prefix="scan-images")
    try:
        for result in pool.map(memory.recall_or_examine, files):
            found.append(result)
            if progress:
                progress("scanning images", len(found), len(files))
    finally:
        pool.shutdown(cancel_futures=True)
    memory.save()
    return found


def examine(path: Path) -> Scanned | str:
    """Reads and decodes the whole file, a JPEG at down to an eighth of its size, which checks every byte."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return f"larger than {MAX_BYTES // 2**20} MiB"
        content = path.read_bytes()
        if not content:
            return "empty"
        decoded = pixels.decode(content, at_least=LOOK_SIDE)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    except pixels.UnreadableImageError as error:
        return str(error)
    return Scanned(
        sha256=hashlib.sha256(content).hexdigest(),
        width=decoded.width,
        height=decoded.height,
        converted=decoded.converted,
        peak=decoded.peak,
        look=look_of(decoded.image),
    )


class _Memory:
    """Results of a folder's last scan, in a JSON file in the user's cache folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32]
        self._path = cache_folder() / "scans" / f"{name}.json"
        self._before: dict[str, dict[str, object]] = {}
        self._now: dict[str, dict[str, object]] = {}
        with suppress(OSError, ValueError, KeyError, TypeError):
            stored = json.loads(self._path.read_bytes())
            if stored["version"] == VERSION:
                self._before = dict(stored["files"])

    def recall_or_examine(self, path: Path) -> Scanned | str:
        try:
            status = path.stat()
        except OSError as error:
            return f"cannot be read ({error.strerror or error})"
        stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        name = str(path.relative_to(self._root) if path.is_relative_to(self._root) else path.absolute())
        known = self._before.get(name)
        recalled = _recalled(known) if known and known.get("stamp") == stamp else None
        result = recalled or examine(path)
        if isinstance(result, Scanned):
            self._now[name] = {"stamp": stamp, **asdict(result), "converted": list(result.converted)}
        return result

    def save(self) -> None:
        """Writes the cache; if that fails, the next scan only takes longer."""
        if self._now == self._before:
            return
        with suppress(OSError):
            write_bytes(self._path, json.dumps({"version": VERSION, "files": self._now}).encode())


def _recalled(known: dict[str, object]) -> Scanned | None:
    try:
        fields = {name: value for name, value in known.items() if name != "stamp"}
        fields["converted"] = tuple(fields["converted"])  # type: ignore[arg-type]
        return Scanned(**fields)  # type: ignore[arg-type]
    except (KeyError, TypeError):
        return None


def cache_folder() -> Path:
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return expanded(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "keras-mobile-pipeline"
