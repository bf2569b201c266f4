"""The benchmark_model binary for a phone: given, cached or downloaded, and pinned by its checksum.

Google serves its builds without a checksum, so the SHA-256 is recorded at first use and checked later:
figures of two builds are not comparable.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

from android_bench.errors import ToolError
from android_bench.phone.device import DeviceInfo

BASE_URL = "https://storage.googleapis.com/tensorflow-nightly-public/prod/tensorflow/release/lite/tools/nightly/latest"
"""Where Google serves its nightly builds; PIPELINE_BENCHMARK_MODEL_URL names a mirror."""
FILES = {
    "arm64-v8a": "android_aarch64_benchmark_model",
    "armeabi-v7a": "android_arm_benchmark_model",
}
"""The ABIs that there are builds for."""
CACHED_NAME = "benchmark_model"
LEDGER_NAME = "known_builds.json"
LOCK_NAME = "lock"
TRIES = 4
"""Attempts to resume a broken download before it fails; the next call resumes it too."""
_TIMEOUT_SECS = 30.0
_CHUNK_BYTES = 256 * 1024
_LITTLE_ENDIAN = 1
_ELF_ABIS = {(2, 0xB7): "arm64-v8a", (1, 0x28): "armeabi-v7a", (2, 0x3E): "x86_64", (1, 0x03): "x86"}
"""ELF class (1: 32 bits, 2: 64) and e_machine, as Android names them."""

Progress = Callable[[int, int | None], None]
"""progress(done_bytes, total_bytes); the total is None if the server does not send it."""


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A benchmark_model binary on this machine."""

    path: Path
    sha256: str
    abi: str


@dataclass(frozen=True, kw_only=True)
class _KnownBuild:
    """The ledger's entry for a URL."""

    sha256: str
    size_bytes: int
    first_used_utc: str


def read_tool(path: Path) -> Tool:
    """The binary at a path, with the ABI in its header. ToolError if it is not an Android program."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ToolError(
            f"cannot read {path} ({error.strerror}). Give the benchmark_model binary: --benchmark-model PATH"
        ) from error
    return Tool(path=path, sha256=hashlib.sha256(content).hexdigest(), abi=elf_abi(content, str(path)))


def elf_abi(content: bytes, name: str) -> str:
    """The ABI of an ELF program, from its first 20 bytes. ToolError if it is not one of Android's."""
    if content[:4] != b"\x7fELF" or len(content) < 20:
        starts = f"it starts with {content[:4]!r}" if content else "it is empty"
        raise ToolError(
            f"{name} is no program for a phone ({starts}; an ELF binary was expected). "
            "Give the benchmark_model binary itself, unpacked: --benchmark-model PATH"
        )
    machine = int.from_bytes(content[18:20], "little" if content[5] == _LITTLE_ENDIAN else "big")
    abi = _ELF_ABIS.get((content[4], machine)) if content[5] == _LITTLE_ENDIAN else None
    if abi is None:
        raise ToolError(
            f"{name} is for another processor (ELF machine {machine:#x}, class {content[4]}). "
            f"Android runs {', '.join(sorted(_ELF_ABIS.values()))}."
        )
    return abi


def choose(given: Sequence[Tool], phone: DeviceInfo) -> Tool | None:
    """The given binary for the phone's most preferred ABI; None if none was given.

    ToolError if all given binaries are for other ABIs.
    """
    if not given:
        return None
    for abi in phone.abis:
        for tool in given:
            if tool.abi == abi:
                return tool
    found = ", ".join(f"{tool.path} is for {tool.abi}" for tool in given)
    raise ToolError(
        f"no benchmark_model for {phone.name}: {found}; the phone runs {', '.join(phone.abis)}. "
        "Give one for it as well: --benchmark-model PATH"
    )


def fetch(phone: DeviceInfo, cache: Path, *, progress: Progress | None = None) -> Tool:
    """The cached or downloaded build for the phone. ToolError if it changed or is missing."""
    abi = next((abi for abi in phone.abis if abi in FILES), None)
    if abi is None:
        raise ToolError(
            f"Google serves no benchmark_model for {phone.name} ({', '.join(phone.abis)}). "
            "Build it (tensorflow/lite/tools/benchmark), then give it: --benchmark-model PATH"
        )
    url = f"{os.environ.get('PIPELINE_BENCHMARK_MODEL_URL') or BASE_URL}/{FILES[abi]}"
    path = cache / abi / CACHED_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(cache):
        if not path.is_file():
            _download(url, path, progress)
        tool = read_tool(path)
        _check_unchanged(url, tool, cache / LEDGER_NAME)
    return tool


def cache_folder() -> Path:
    """The folder of downloaded binaries."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "keras-mobile-pipeline" / "benchmark_model"


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """Holds an exclusive lock, across processes, for downloads into the cache and for its ledger.

    The operating system frees the lock when its process ends.
    """
    with (cache / LOCK_NAME).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _check_unchanged(url: str, tool: Tool, ledger: Path) -> None:
    known = _read_ledger(ledger)
    build = known.get(url)
    if build is None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        known[url] = _KnownBuild(sha256=tool.sha256, size_bytes=tool.path.stat().st_size, first_used_utc=now)
        _write_whole(
            ledger, json.dumps({key: asdict(each) for key, each in known.items()}, indent=2).encode()
        )
    elif build.sha256 != tool.sha256:
        raise ToolError(
            f"{tool.path} is not the build that was first used on {build.first_used_utc} (sha256 "
            f"{tool.sha256[:12]}, then {build.sha256[:12]}): Google's nightly build changed, or the file "
            "was damaged. Figures of two builds are not comparable, so it was not used. To keep the old "
            f"build, give it with --benchmark-model PATH; to start again with this one, delete {ledger}."
        )


def _read_ledger(ledger: Path) -> dict[str, _KnownBuild]:
    if not ledger.is_file():
        return {}
    try:
        return {url: _KnownBuild(**each) for url, each in json.loads(ledger.read_text()).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ToolError(
            f"{ledger} is damaged ({error}), so it is unknown whether a build changed. "
            "Delete it to start again."
        ) from error


def _download(url: str, path: Path, progress: Progress | None) -> None:
    """Downloads a file, resuming a partial one; it gets its name when it is complete."""
    problem: Exception | None = None
    partial = path.with_suffix(".partial")
    for _ in range(TRIES):
        try:
            _download_rest(url, partial, progress)
            _check_arrived(url, partial)
            partial.replace(path)
            return
        except urllib.error.HTTPError as error:
            error.close()
            problem = error
            if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                break
            partial.unlink(missing_ok=True)  # complete already, or of another build: start again
        except (OSError, http.client.HTTPException) as error:
            problem = error
    raise ToolError(
        f"cannot download {url} ({_reason(problem)}). What came is kept, and the next call goes on from "
        "there. Or fetch it another way and give it: --benchmark-model PATH"
    ) from problem


def _check_arrived(url: str, partial: Path) -> None:
    """Deletes what is not a program, such as a network's login page, and raises ToolError."""
    try:
        elf_abi(partial.read_bytes(), url)
    except ToolError:
        partial.unlink()
        raise


def _download_rest(url: str, partial: Path, progress: Progress | None) -> None:
    tag_file = partial.with_suffix(".etag")
    have = partial.stat().st_size if partial.is_file() and tag_file.is_file() else 0
    headers = {"Range": f"bytes={have}-", "If-Range": tag_file.read_text()} if have else {}
    with urllib.request.urlopen(
        urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_SECS
    ) as answer:
        goes_on = answer.status == 206
        have = have if goes_on else 0
        total = _total_bytes(answer, have)
        if answer.headers.get("ETag"):
            tag_file.write_text(answer.headers["ETag"])
        else:
            tag_file.unlink(missing_ok=True)
        with partial.open("ab" if goes_on else "wb") as file:
            while chunk := answer.read(_CHUNK_BYTES):
                file.write(chunk)
                have += len(chunk)
                if progress is not None:
                    progress(have, total)
            os.fsync(file.fileno())
    if total is not None and have != total:
        raise ConnectionError(f"the connection ended after {have:,} of {total:,} bytes")
    tag_file.unlink(missing_ok=True)


def _total_bytes(answer: Any, have: int) -> int | None:  # noqa: ANN401 - an http response
    length = answer.headers.get("Content-Length")
    return have + int(length) if length is not None else None


def _reason(problem: Exception | None) -> str:
    if isinstance(problem, urllib.error.HTTPError):
        return f"the server answers {problem.code} {problem.reason}"
    if isinstance(problem, urllib.error.URLError):
        return str(problem.reason)
    return str(problem)


def _write_whole(path: Path, content: bytes) -> None:
    partial = path.with_suffix(".writing")
    with partial.open("wb") as file:
        file.write(content)
        os.fsync(file.fileno())
    partial.replace(path)
