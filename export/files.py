"""Files written whole or not at all, and their checksums. Standard library only."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from export.partial import partial_file, umask


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the folder of `path`; on success it is synced and renamed to `path`.

    The temporary name has the suffix of `path`, since some writers (Keras) depend on it. If the block raises
    or the process is killed, `path` is unchanged; `export.partial.sweep` removes what a kill leaves.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with partial_file(path) as partial:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.chmod(0o666 & ~umask())
        partial.replace(path)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content` to `path`, whole or not at all."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_json(path: Path, content: Any) -> None:  # noqa: ANN401 - whatever json takes
    """Writes `content` as indented JSON to `path`, whole or not at all."""
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, or of a folder's files with their names, as 64 hexadecimal digits."""
    if path.is_dir():
        return _sha256_of_folder(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_of_folder(folder: Path) -> str:
    """Hidden files, which file managers leave behind, do not count."""
    files = {each.relative_to(folder).as_posix(): each for each in folder.rglob("*") if each.is_file()}
    lines = [f"{sha256_of(files[name])}  {name}\n" for name in sorted(files) if "/." not in f"/{name}"]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
