"""A stay on one phone: our folder there, the files in it by their checksum, and no trace afterwards."""

from __future__ import annotations

import fcntl
import re
import secrets
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from android_bench.errors import ConnectionLostError, DeviceError, NotReadyError, StorageError
from android_bench.phone.adb import Phone, answer_secs
from android_bench.phone.wire import Progress, Upload
from android_bench.reasons import Reason

ROOT = "/data/local/tmp/keras-mobile-pipeline"
"""All that is ever written on a phone."""
FILES = f"{ROOT}/files"
_END_SECS = 10.0


@dataclass(frozen=True, kw_only=True)
class LocalFile:
    """A file of this machine that a phone is to have."""

    path: Path
    sha256: str
    executable: bool = False

    @property
    def remote(self) -> str:
        """Where it stands on every phone: its name is its checksum, whatever it is called here."""
        return f"{FILES}/{self.sha256}"


class Session:
    """A phone in use by this process alone; a context manager that cleans up unless `keep`."""

    def __init__(self, phone: Phone, *, name: str, locks: Path, keep: bool = False) -> None:
        """`name` is the phone's own, whichever way it is reached, and `locks` a folder of this machine.

        NotReadyError where another process uses the phone.
        """
        self.phone = phone
        self.folder = f"{ROOT}/run-{secrets.token_hex(4)}"
        """For what a run reads and writes beside the model."""
        self._keep = keep
        self._present: set[str] = set()
        self._lock = _lock(locks / name, phone.serial)

    def __enter__(self) -> Session:
        try:
            self.open()
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self.close()
        finally:
            self._lock.close()

    def open(self) -> None:
        """Makes our folder, also again after the phone was gone; what was there is looked at anew."""
        self._present.clear()
        made = self.phone.shell(f"mkdir -p {FILES} {self.folder} && cd {self.folder} && echo made")
        if made.output.strip() != "made":
            why = made.output.strip() or "no reason given"
            raise StorageError(
                f"cannot make {self.folder} on phone {self.phone.serial}: {why}. "
                "Check its storage, then run the same command again."
            )

    def put(self, files: Sequence[LocalFile], *, progress: Progress | None = None) -> None:
        """Makes sure that the phone has the files: by their checksums, read there. Pushes what it lacks."""
        wanted = [file for file in files if file.remote not in self._present]
        if not wanted:
            return
        there = self.checksums([file.remote for file in wanted])
        missing = [file for file in wanted if there.get(file.remote) != file.sha256]
        if missing:
            self.phone.push(
                [Upload(content=file.path, remote=file.remote, mode=_mode(file)) for file in missing],
                progress=progress,
            )
            there |= self.checksums([file.remote for file in missing])
        for file in missing:
            if there.get(file.remote) != file.sha256:
                raise StorageError(Reason.ARRIVED_CHANGED.text(file=file.path.name, serial=self.phone.serial))
        self._present.update(file.remote for file in wanted)

    def checksums(self, remotes: Sequence[str]) -> dict[str, str]:
        """The SHA-256 of each of these files that is there."""
        names = " ".join(map(shlex.quote, remotes))
        done = self.phone.shell(f"sha256sum {names} 2>&1", limit_secs=60)
        found = re.findall(r"^([0-9a-f]{64})\s+\*?(\S+)\r?$", done.output, flags=re.MULTILINE)
        if done.status == 127:
            raise DeviceError(
                f"phone {self.phone.serial} has no sha256sum, so nobody can tell which file runs there. "
                "Android 7 or newer is needed."
            )
        return {name: digest for digest, name in found}

    def end_tool(self) -> None:
        """Ends a tool that still runs, whatever it does; another process of its number is let be."""
        self.phone.shell(
            f"read pid < {self.folder}/pid && grep -q {ROOT} /proc/$pid/cmdline && kill -9 $pid",
            limit_secs=min(_END_SECS, answer_secs()),
        )

    def close(self) -> None:
        """Ends what still runs and removes what was put there, unless it is kept. A lost phone is let be."""
        remove = self.folder if self._keep else ROOT
        if self._insist(self.end_tool):
            self._insist(
                lambda: self.phone.shell(f"rm -rf {remove}", limit_secs=min(_END_SECS, answer_secs()))
            )

    def _insist(self, action: Callable[[], object]) -> bool:
        """Does it, once more where somebody cut it off in the middle; whether the phone answered."""
        for _ in range(2):
            self.phone.allow()
            try:
                action()
            except ConnectionLostError:
                continue
            except DeviceError:
                return False
            return True
        return False


def _mode(file: LocalFile) -> int:
    return 0o755 if file.executable else 0o644


def _lock(path: Path, serial: str) -> IO[str]:
    """Held until it is closed or this process ends, however it does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise NotReadyError(
            f"phone {serial} is in use by another pipeline on this machine. "
            "Wait until it is done: two benchmarks at once would measure each other."
        ) from error
    return lock
