"""Exclusive use of one phone, with an own folder there that is removed afterwards."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from android_bench.errors import ConnectionLostError, DeviceError, NotReadyError, StorageError
from android_bench.phone.adb import HeldScript, Phone, answer_secs
from android_bench.phone.tool_process import END_TOOL
from android_bench.phone.wire import Progress, Upload
from android_bench.reasons import Reason

ROOT = "/data/local/tmp/keras-mobile-pipeline"
"""The only folder on a phone that is written to."""
KEPT = f"{ROOT}/files"
"""Files that a session with `keep` leaves for later ones."""
LOCK = f"{ROOT}/lock"
"""A symbolic link that names the phone's owner; unlike a file, it is created with its content atomically."""
_END_SECS = 10.0
_TAKE_LOCK = (
    "exec 2>&1\n"
    + END_TOOL.replace("{", "{{").replace("}", "}}")
    + r"""
tries=0
while [ $tries -lt 20 ]; do
  tries=$((tries + 1))
  why=$(mkdir -p {root} && ln -s "$$:{mark}:{folder}:{owner}" {lock} 2>&1) && {{
    trap '' HUP
    for left in {root}/run-*; do
      end_tool "$left"
      [ "$left" = {folder} ] || rm -rf "$left"
    done
    echo taken
    while read -r line; do :; done
    end_tool {folder}
    exit
  }}
  held=$(readlink {lock}) || {{ sleep 0.05; continue; }}
  pid=${{held%%:*}} rest=${{held#*:}}
  mark=${{rest%%:*}} owner=${{rest#*:*:}}
  if grep -q "$mark" /proc/$pid/cmdline 2>/dev/null; then
    [ $tries -lt 6 ] && {{ sleep 0.05; continue; }}
    echo "held by $owner"
    exit
  fi
  if mkdir {root}/claim-$mark 2>/dev/null; then
    [ "$(readlink {lock})" = "$held" ] && rm {lock}
    rmdir {root}/claim-$mark
  else
    why="a pipeline that is gone ($owner) left {lock}: adb shell rm -r {root}"
  fi
  sleep 0.05
done
echo "failed: $why"
"""
)
"""Takes the lock, ends what earlier sessions left running and removes their folders.

A lock is valid while the process that took it runs. That process ends with its connection, whose loss adbd
tells it by SIGHUP and the end of its input; it then ends the tool, so that none outlives its host. To remove
the lock of a dead process, a session first makes a claim folder, which only one can.
"""
_RELEASE = """
held=$(readlink {lock})
case "$held" in *:{mark}:*)
  if mkdir {root}/claim-{mark}; then
    [ "$(readlink {lock})" = "$held" ] && rm {lock}
    rmdir {root}/claim-{mark}
    pid=${{held%%:*}} tries=0
    kill -9 $pid
    while [ -e /proc/$pid/exe ] && [ $tries -lt 100 ]; do tries=$((tries + 1)); sleep 0.01; done
  fi
esac
rmdir {kept} {root}
"""


@dataclass(frozen=True, kw_only=True)
class LocalFile:
    """A local file to put on a phone, where its checksum is its name."""

    path: Path
    sha256: str
    executable: bool = False


class Session:
    """Exclusive use of a phone, against this host's and other hosts' sessions; a context manager.

    Its files are in its own folder on the phone, or with `keep` in a shared folder where they stay.
    """

    def __init__(self, phone: Phone, *, keep: bool = False) -> None:
        """Entering raises NotReadyError if another session uses the phone."""
        self.phone = phone
        self.folder = f"{ROOT}/run-{secrets.token_hex(4)}"
        """Folder for a run's files other than the model."""
        self._files = KEPT if keep else f"{self.folder}/files"
        self._places: dict[str, str] = {}
        """Path on the phone by checksum, for the files that are there."""
        self._mark = ""
        self._lock: HeldScript | None = None

    def __enter__(self) -> Session:
        try:
            self.open()
        except BaseException:
            self._drop_lock()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def open(self) -> None:
        """Locks the phone, makes our folder, and forgets which files were there. Also used to reconnect."""
        self._places.clear()
        if self._lock is None or not self._lock.is_running():
            self._take_lock()
        made = self.phone.shell(f"mkdir -p {self.folder} && cd {self.folder} && echo made")
        if made.output.strip() != "made":
            raise self._cannot_make(made.output.strip() or "no reason given")

    def path_of(self, file: LocalFile) -> str:
        """The file's path on the phone, after put()."""
        return self._places.get(file.sha256, f"{self._files}/{file.sha256}")

    def put(self, files: Sequence[LocalFile], *, progress: Progress | None = None) -> None:
        """Makes sure that we hold the phone and that it has the files, by checksums computed there."""
        if self._lock is None or not self._lock.is_running():
            self.open()
        wanted = [file for file in files if file.sha256 not in self._places]
        if not wanted:
            return
        self._find(wanted)
        missing = [file for file in wanted if file.sha256 not in self._places]
        if not missing:
            return
        places = shlex.join(self.path_of(file) for file in missing)
        self.phone.shell(f"rm -rf {places}")  # adbd would write into a pipe there, and wait
        self.phone.push(
            [Upload(content=file.path, remote=self.path_of(file), mode=_mode(file)) for file in missing],
            progress=progress,
        )
        self._find(missing)
        for file in missing:
            if file.sha256 not in self._places:
                raise StorageError(Reason.ARRIVED_CHANGED.text(file=file.path.name, serial=self.phone.serial))

    def checksums(self, remotes: Sequence[str]) -> dict[str, str]:
        """The SHA-256 of each of these files, by path; missing files are left out."""
        names = " ".join(map(shlex.quote, remotes))
        # only files: a pipe has no end
        files = f'set --; for each in {names}; do [ -f "$each" ] && set -- "$@" "$each"; done'
        script = f'{files}; [ $# -eq 0 ] || sha256sum "$@" 2>&1'
        done = self.phone.shell(script, limit_secs=60)
        found = re.findall(r"^([0-9a-f]{64})\s+\*?(\S+)\r?$", done.output, flags=re.MULTILINE)
        if done.status == 127:
            raise DeviceError(
                f"phone {self.phone.serial} has no sha256sum, so the files on it cannot be checked. "
                "Android 7 or newer is needed."
            )
        return {name: digest for digest, name in found}

    def end_tool(self) -> None:
        """Ends our tool if it still runs, but no other process that has its number now."""
        self.phone.shell(f"{END_TOOL}end_tool {self.folder}", limit_secs=min(_END_SECS, answer_secs()))

    def close(self) -> None:
        """Ends what still runs, removes our folder and unlocks the phone. Does nothing on a lost phone."""
        release = _RELEASE.format(root=ROOT, lock=LOCK, kept=KEPT, mark=self._mark)
        leave = f"exec 2>/dev/null; rm -rf {self.folder}; {release}"
        try:
            if self._insist(self.end_tool):
                self._insist(lambda: self.phone.shell(leave, limit_secs=min(_END_SECS, answer_secs())))
        finally:
            self._drop_lock()

    def _take_lock(self) -> None:
        self._drop_lock()
        self._mark = secrets.token_hex(8)
        owner = f"{re.sub(r'[^-.0-9A-Za-z]', '_', socket.gethostname())}, process {os.getpid()}"
        script = _TAKE_LOCK.format(root=ROOT, lock=LOCK, mark=self._mark, folder=self.folder, owner=owner)
        held = self.phone.hold(script)
        if held.first_line == "taken":
            self._lock = held
            return
        held.close()
        word, _, rest = held.first_line.partition(" ")
        if word != "held":
            raise self._cannot_make(rest or "no reason given")
        raise NotReadyError(
            f"phone {self.phone.serial} is in use by another pipeline ({rest.removeprefix('by ')}). "
            "Wait until it is done: two benchmarks at once would measure each other."
        )

    def _drop_lock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _cannot_make(self, why: str) -> StorageError:
        return StorageError(
            f"cannot make {self.folder} on phone {self.phone.serial}: {why}. "
            "Check its storage, then run the same command again."
        )

    def _find(self, files: Sequence[LocalFile]) -> None:
        """Records the paths of the files that are complete, in our folder or among the kept ones."""
        places = [(f"{folder}/{file.sha256}", file) for file in files for folder in (KEPT, self._files)]
        there = self.checksums(list(dict.fromkeys(place for place, _ in places)))
        for place, file in places:
            if there.get(place) == file.sha256:
                self._places[file.sha256] = place

    def _insist(self, action: Callable[[], object]) -> bool:
        """Runs the action, again if it was interrupted; returns whether the phone answered."""
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
