"""What version of this project is installed, to the byte: nodes that differ would train other weights."""

from __future__ import annotations

import functools
import hashlib
from importlib import metadata, util
from pathlib import Path

PACKAGES = ("keras_graph", "models", "export", "pipeline")
LIBRARIES = ("tensorflow", "keras", "numpy")
"""Of which another version may give other weights."""


@functools.cache
def project_digest() -> str:
    """A SHA-256 of the packages' source and of the versions of what they compute with."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        spec = util.find_spec(package)
        folders = list(spec.submodule_search_locations or ()) if spec else []
        for path in sorted(path for folder in folders for path in Path(folder).rglob("*.py")):
            digest.update(f"{package} {path.name} ".encode() + path.read_bytes())
    for library in LIBRARIES:
        digest.update(f"{library} {metadata.version(library)} ".encode())
    return digest.hexdigest()
