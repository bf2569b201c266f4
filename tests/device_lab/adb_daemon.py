"""Debian's adb daemon, unpacked into a cache folder and never installed.

The packages come from the machine's apt sources, with their suite replaced by one that has adbd.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SUITE = "trixie"
"""The release whose adbd is 34."""

_SOURCES = (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d"))
_TIMEOUT_S = 300
_TOOLS = ("apt-get", "apt-cache", "dpkg", "dpkg-deb")
_ONLY_DEPENDENCIES = [
    f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
]


class LabUnavailable(Exception):  # noqa: N818
    """The lab cannot run on this machine; the message says why."""


@dataclass(frozen=True)
class AdbDaemon:
    """An unpacked adbd and the loader and libraries it runs with."""

    root: Path

    @property
    def command(self) -> list[str]:
        """The command line that starts it; the port is in ADBD_PORT."""
        libraries = next(self.root.glob("usr/lib/*/android")).parent
        (loader,) = (path for path in libraries.glob("ld-linux*.so.*"))
        search = f"{libraries}:{libraries / 'android'}"
        daemon = self.root / "usr/lib/android-sdk/platform-tools/adbd"
        return [str(loader), "--library-path", search, str(daemon)]


def adb_daemon() -> AdbDaemon:
    """The daemon from the cache, downloaded first if missing; LabUnavailable if that fails."""
    root = _cache() / f"adbd-{SUITE}-{_architecture()}"
    if not root.is_dir():
        _fetch(root)
    return AdbDaemon(root)


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "keras-mobile-pipeline" / "device_lab"


def _architecture() -> str:
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        raise LabUnavailable(f"no Debian: {', '.join(missing)} not found")
    return _run(["dpkg", "--print-architecture"]).strip()


def _fetch(root: Path) -> None:
    """Puts the unpacked packages at `root`, atomically."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix="fetching-") as name:
        work = Path(name)
        environment = _private_apt(work)
        _run(["apt-get", "update", "-qq"], env=environment)
        dependencies = _run(
            ["apt-cache", "depends", "--recurse", *_ONLY_DEPENDENCIES, "adbd"], env=environment
        )
        packages = sorted(set(re.findall(r"^\w\S*", dependencies, re.MULTILINE)))
        debs, unpacked = work / "debs", work / "root"
        debs.mkdir()
        _run(["apt-get", "download", "-qq", *packages], cwd=debs, env=environment)
        _unpack(debs.glob("*.deb"), unpacked)
        try:
            unpacked.rename(root)
        except OSError:
            if not root.is_dir():  # else another run was faster
                raise


def _unpack(debs: Iterable[Path], root: Path) -> None:
    for deb in sorted(debs):
        _run(["dpkg-deb", "-x", str(deb), str(root)])


def _private_apt(work: Path) -> dict[str, str]:
    """An environment in which apt has the suite's packages and writes only into `work`."""
    for folder in ("state/lists/partial", "cache/archives/partial", "sources"):
        (work / folder).mkdir(parents=True)
    (work / "status").touch()
    _write_sources(work / "sources")
    settings = {
        "Dir::State": work / "state",
        "Dir::State::status": work / "status",
        "Dir::Cache": work / "cache",
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": work / "sources",
        "APT::Sandbox::User": "root",
        "APT::Update::Error-Mode": "any",
    }
    config = work / "apt.conf"
    config.write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))
    return {**os.environ, "APT_CONFIG": str(config), "LC_ALL": "C.UTF-8"}


def _write_sources(folder: Path) -> None:
    """Copies the machine's Debian sources with the suite replaced."""
    codename = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    if codename is None:
        raise LabUnavailable("no Debian: /etc/os-release names no release")
    files = [path for path in _SOURCES if path.is_file()]
    files += [path for pattern in ("*.sources", "*.list") for path in _SOURCES[1].glob(pattern)]
    for path in files:
        text = path.read_text()
        if "debian" in text:
            suffix = ".sources" if path.suffix == ".sources" else ".list"
            (folder / f"{path.stem}{suffix}").write_text(re.sub(rf"\b{codename[1]}\b", SUITE, text))
    if not any(folder.iterdir()):
        raise LabUnavailable("no Debian sources in /etc/apt")


def _run(command: list[str], **options: object) -> str:
    """The command's output; LabUnavailable with its last error line if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, **options)
    except subprocess.TimeoutExpired as error:
        raise LabUnavailable(f"{command[0]} {command[1]} took more than {_TIMEOUT_S} s") from error
    if done.returncode:
        complaint = (done.stderr.strip() or "no message").splitlines()[-1]
        raise LabUnavailable(f"{command[0]} {command[1]} failed: {complaint}")
    return done.stdout
