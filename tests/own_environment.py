"""Environments of the tests' own, for peers that want other packages than the project has.

Each is made once with pip and kept in the cache folder. Where that cannot be done the tests skip with the
reason, unless an environment variable says that they must run.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

_LIMIT_SECS = 600


class PeerUnavailable(Exception):  # noqa: N818
    """The peer cannot be had here; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A package to compare with."""

    name: str
    requirements: tuple[str, ...]
    alone: tuple[str, ...] = ()
    """Requirements to install without what they depend on."""
    proof: str
    """A program that imports it."""
    hint: str = ""
    """What the import may lack."""
    required_by: str
    """The environment variable that makes its absence a failure when it is 1."""

    def python(self) -> Path:
        """The Python of its environment; skips or fails the test where that cannot be made."""
        try:
            return environment(self)
        except PeerUnavailable as error:
            if os.environ.get(self.required_by) == "1":
                pytest.fail(f"no {self.name}: {error}")
            pytest.skip(f"no {self.name}: {error}")


def run(*command, what):
    """What the command prints; PeerUnavailable, with its last words, where it fails."""
    try:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=_LIMIT_SECS)
    except subprocess.TimeoutExpired as error:
        raise PeerUnavailable(f"{what} took more than {_LIMIT_SECS} s") from error
    if done.returncode:
        last_words = done.stderr.strip().splitlines()[-1:]
        raise PeerUnavailable(f"{what} failed: {' '.join(last_words)}")
    return done.stdout


def environment(peer: Peer) -> Path:
    """The Python of the peer's environment, made where it is missing; PeerUnavailable where it cannot be."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    wanted = hashlib.sha256("\n".join((*peer.alone, *peer.requirements)).encode()).hexdigest()[:8]
    folder = base / "keras-mobile-pipeline" / peer.name.lower() / f"python{version}-{wanted}"
    if not folder.is_dir():
        _make(peer, folder)
    return folder / "bin" / "python"


def _make(peer: Peer, folder: Path) -> None:
    """Makes the environment aside and gives it its name when it is complete; another run may be faster."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="making-") as name:
        aside = Path(name) / "environment"
        run(sys.executable, "-m", "venv", aside, what="making an environment")
        install = [aside / "bin" / "python", "-m", "pip", "install", "--quiet", "--retries", "1"]
        if peer.alone:
            run(*install, "--no-deps", *peer.alone, what=f"installing {', '.join(peer.alone)}")
        run(*install, *peer.requirements, what=f"installing what {peer.name} imports")
        hint = f" ({peer.hint})" if peer.hint else ""
        run(aside / "bin" / "python", "-c", peer.proof, what=f"importing {peer.name}{hint}")
        try:
            aside.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
