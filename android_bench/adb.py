"""The phone over adb: list, run, push, pull. Every failure is a named error, within a time limit.

adbutils brings Google's adb, which is started as the server. The server is spoken to from here, since a
benchmark needs what adbutils' own calls lack: one deadline for a whole call (there each byte begins it anew),
the phone's own words when a push fails, many files through one connection, and a call that can be cut off.

The protocols: platform/packages/modules/adb, docs/dev/ (services.md, sync.md) and shell_protocol.h.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from android_bench.errors import (
    ConnectionLostError,
    DeviceError,
    NoPhoneError,
    NotReadyError,
    StorageError,
    TimeLimitError,
)

ANSWER_SECS = 20.0
"""A phone that does not answer a short command within so many seconds is taken for hung."""
CHUNK_BYTES = 64 * 1024
"""The most that one packet of the sync protocol holds (SYNC_DATA_MAX)."""
DEFAULT_PORT = 5037
CONNECT_SECS = 5.0
START_SECS = 30.0
_STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = 1, 2, 3, 4
_REGULAR_FILE = 0o100000

Progress = Callable[[int, int], None]
"""Told how many bytes are done, and how many there are."""


@dataclass(frozen=True, kw_only=True)
class ListedPhone:
    """A line of `adb devices`."""

    serial: str
    state: str
    """device (ready), unauthorized, offline, recovery, ..."""
    server: AdbServer


@dataclass(frozen=True, kw_only=True)
class ShellResult:
    """What a script printed on the phone, both streams in the order they came, and its exit status."""

    output: str
    status: int


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file to be put on the phone."""

    content: bytes | Path
    remote: str
    mode: int = 0o644

    @property
    def size_bytes(self) -> int:
        """How many bytes travel. StorageError where the local file cannot be read."""
        if not isinstance(self.content, Path):
            return len(self.content)
        try:
            return self.content.stat().st_size
        except OSError as error:
            raise _unreadable(self.content, error) from error


@dataclass(frozen=True)
class AdbServer:
    """An adb server, on this machine or on another one that has phones plugged in."""

    host: str
    port: int

    @property
    def name(self) -> str:
        """host:port, as --adb-server takes it."""
        return f"{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether it may be started from here."""
        return self.host in ("127.0.0.1", "localhost", "::1")

    def list(self) -> list[ListedPhone]:
        """The phones that the server knows, ready or not."""
        with _named_errors(f"adb server {self.name}", ANSWER_SECS), self.connect(ANSWER_SECS) as wire:
            wire.request("host:devices")
            lines = wire.text_block().splitlines()
        pairs = [line.split("\t", 1) for line in lines if "\t" in line]
        return [ListedPhone(serial=serial, state=state, server=self) for serial, state in pairs]

    def start(self) -> None:
        """Makes sure that a server answers. DeviceError where none does, with what to do."""
        try:
            with socket.create_connection((self.host, self.port), timeout=CONNECT_SECS):
                return
        except OSError as error:
            if not self.is_local:
                raise DeviceError(
                    f"no adb server answers at {self.name} ({error}). On that machine, start it so that it "
                    f"listens to others: adb -a -P {self.port} nodaemon server start"
                ) from error
        _start_server(self.port)

    def connect(self, limit_secs: float) -> Wire:
        """A connection on which all that is done must be over in limit_secs."""
        deadline = time.monotonic() + limit_secs
        return Wire(
            socket.create_connection((self.host, self.port), timeout=min(CONNECT_SECS, limit_secs)), deadline
        )


def default_server() -> AdbServer:
    """The usual server: ANDROID_ADB_SERVER_HOST and _PORT where they are set, or port 5037 here."""
    host = os.environ.get("ANDROID_ADB_SERVER_HOST") or "127.0.0.1"
    port = os.environ.get("ANDROID_ADB_SERVER_PORT") or str(DEFAULT_PORT)
    return parse_server(f"{host}:{port}")


def parse_server(text: str) -> AdbServer:
    """The server that HOST:PORT or HOST means. ValueError for anything else."""
    host, _, port = text.rpartition(":") if ":" in text else (text, "", str(DEFAULT_PORT))
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"'{text}' is no adb server. Give HOST:PORT, such as lab-pc:5037.")
    return AdbServer(host.strip("[]"), int(port))


class Phone:
    """One phone of a server. Safe to use from one thread at a time; interrupt() may come from another."""

    def __init__(self, server: AdbServer, serial: str) -> None:
        self.server = server
        self.serial = serial
        self._open: Wire | None = None
        self._refuses = False
        self._lock = threading.Lock()

    def shell(self, script: str, *, limit_secs: float = ANSWER_SECS) -> ShellResult:
        """Runs a script in the phone's shell, standard input empty, and waits for its end.

        The script is shell text: quote with shlex.quote what comes from outside. Raises TimeLimitError
        after limit_secs, ConnectionLostError when the phone vanishes, NotReadyError when it is not usable.
        """
        with self._wire(limit_secs) as wire:
            wire.request(f"shell,v2,raw:{script}")
            wire.send(struct.pack("<BI", _CLOSE_STDIN, 0))
            output = bytearray()
            while True:
                kind, length = struct.unpack("<BI", wire.read(5))
                packet = wire.read(length)
                if kind in (_STDOUT, _STDERR):
                    output += packet
                elif kind == _EXIT:
                    return ShellResult(output=output.decode(errors="replace"), status=packet[0])

    def push(
        self, files: Sequence[Upload], *, limit_secs: float = 600.0, progress: Progress | None = None
    ) -> None:
        """Puts files on the phone, all through one connection; their folders are made.

        StorageError with the phone's words where one cannot be written; what came before stays.
        """
        total = sum(file.size_bytes for file in files)
        done = 0
        with self._wire(limit_secs) as wire:
            wire.request("sync:")
            for file in files:
                for sent in _send(wire, file):
                    done += sent
                    if progress is not None:
                        progress(done, total)

    def pull(self, remotes: Sequence[str], *, limit_secs: float = 600.0) -> list[bytes]:
        """The contents of files on the phone, all through one connection. StorageError for a missing one."""
        with self._wire(limit_secs) as wire:
            wire.request("sync:")
            return [_receive(wire, remote) for remote in remotes]

    def is_ready(self) -> bool:
        """Whether the server lists the phone as ready, now."""
        try:
            return any(each.serial == self.serial and each.state == "device" for each in self.server.list())
        except DeviceError:
            return False

    def reconnect(self) -> None:
        """Starts the server where it is gone, and has it connect again to a phone on the network."""
        with contextlib.suppress(DeviceError):
            self.server.start()
        if not re.fullmatch(r"[\w.\-\[\]:]+:\d+", self.serial):
            return
        with (
            contextlib.suppress(OSError, EOFError, ValueError, _RefusedError),
            self.server.connect(ANSWER_SECS) as wire,
        ):
            wire.request(f"host:connect:{self.serial}")
            wire.text_block()

    def interrupt(self) -> None:
        """Ends the call that another thread is in: it raises ConnectionLostError, as later ones do."""
        with self._lock:
            self._refuses = True
            if self._open is not None:
                self._open.cut()

    def allow(self) -> None:
        """Lets calls through again after interrupt()."""
        self._refuses = False

    def features(self) -> set[str]:
        """What the phone's adb daemon can do; shell_v2 is Android 7's and newer."""
        with _named_errors(f"phone {self.serial}", ANSWER_SECS), self.server.connect(ANSWER_SECS) as wire:
            wire.request(f"host-serial:{self.serial}:features")
            return set(wire.text_block().split(","))

    @contextmanager
    def _wire(self, limit_secs: float) -> Iterator[Wire]:
        with _named_errors(f"phone {self.serial}", limit_secs), self.server.connect(limit_secs) as wire:
            with self._lock:
                if self._refuses:
                    raise EOFError
                self._open = wire
            try:
                wire.request(f"host:tport:serial:{self.serial}")
                wire.read(8)  # the transport's number
                yield wire
            finally:
                with self._lock:
                    self._open = None


class Wire:
    """A connection to the adb server with one deadline for all that is done through it."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._socket = connection
        self._deadline = deadline

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()

    def request(self, service: str) -> None:
        """Asks the server for a service. _RefusedError with the server's words when it refuses."""
        content = service.encode(errors="surrogateescape")
        if len(content) > 0xFFFF:
            raise DeviceError(f"a command of {len(content)} bytes; adb carries 65,535 at most.")
        self.send(b"%04x" % len(content) + content)
        answer = self.read(4)
        if answer != b"OKAY":
            raise _RefusedError(self.text_block() if answer == b"FAIL" else f"unexpected answer {answer!r}")

    def text_block(self) -> str:
        """A text that comes behind its length."""
        return self.read(int(self.read(4), 16)).decode(errors="replace")

    def read(self, num_bytes: int) -> bytes:
        """Exactly so many bytes. EOFError when the other side closes before, TimeoutError at the deadline."""
        content = bytearray()
        while len(content) < num_bytes:
            self._wait()
            piece = self._socket.recv(num_bytes - len(content))
            if not piece:
                raise EOFError
            content += piece
        return bytes(content)

    def send(self, content: bytes) -> None:
        """All of the content. TimeoutError at the deadline."""
        self._wait()
        self._socket.sendall(content)

    def cut(self) -> None:
        """Ends what another thread reads or sends."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _wait(self) -> None:
        left_secs = self._deadline - time.monotonic()
        if left_secs <= 0:
            raise TimeoutError
        self._socket.settimeout(left_secs)


class _RefusedError(Exception):
    """What the adb server said instead of OKAY."""


def _send(wire: Wire, file: Upload) -> Iterator[int]:
    """Sends one file, yielding how many bytes each packet took. The phone tells of a failure at the end,
    or closes the way in the middle with its reason already said."""
    target = f"{file.remote},{_REGULAR_FILE | file.mode}".encode()
    try:
        wire.send(b"SEND" + struct.pack("<I", len(target)) + target)
        for chunk in _chunks(file.content):
            wire.send(b"DATA" + struct.pack("<I", len(chunk)) + chunk)
            yield len(chunk)
        wire.send(b"DONE" + struct.pack("<I", int(time.time())))
    except (BrokenPipeError, ConnectionResetError):
        pass  # why stands in what it said before
    answer, length = struct.unpack("<4sI", wire.read(8))
    if answer != b"OKAY":
        why = wire.read(length).decode(errors="replace")
        raise StorageError(f"cannot write {file.remote} on the phone: {why}. {_storage_advice(why)}")


def _chunks(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, Path):
        try:
            file = content.open("rb")
        except OSError as error:
            raise _unreadable(content, error) from error
        with file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    else:
        for start in range(0, len(content), CHUNK_BYTES):
            yield content[start : start + CHUNK_BYTES]


def _unreadable(path: Path, error: OSError) -> StorageError:
    return StorageError(f"cannot read {path} on this machine ({error.strerror}). Check the path.")


def _receive(wire: Wire, remote: str) -> bytes:
    name = remote.encode()
    wire.send(b"RECV" + struct.pack("<I", len(name)) + name)
    content = bytearray()
    while True:
        kind, length = struct.unpack("<4sI", wire.read(8))
        if kind == b"DONE":
            return bytes(content)
        packet = wire.read(length)
        if kind != b"DATA":
            raise StorageError(f"cannot read {remote} on the phone: {packet.decode(errors='replace')}.")
        content += packet


def _storage_advice(why: str) -> str:
    if "No space left" in why:
        return "The phone's storage is full: free some space there, then run the same command again."
    return "Check the storage of the phone, then run the same command again."


@contextmanager
def _named_errors(who: str, limit_secs: float) -> Iterator[None]:
    """Turns what sockets and the adb server say into one line for the user."""
    try:
        yield
    except TimeoutError as error:
        raise TimeLimitError(
            f"{who} did not answer within {limit_secs:.0f} s. Check the cable and the screen, or plug it in "
            "anew, then run the same command again: what was measured is kept."
        ) from error
    except _RefusedError as error:
        raise _explain(who, str(error)) from error
    except (EOFError, OSError) as error:
        raise ConnectionLostError(
            f"{who} is gone: the connection closed in the middle. Check the cable, or reconnect it with "
            "`adb connect`, then run the same command again: what was measured is kept."
        ) from error


def _explain(who: str, words: str) -> DeviceError:
    first = words.strip().splitlines()[0] if words.strip() else "no reason given"
    lower = words.lower()
    if "not found" in lower or "no devices" in lower:
        return NoPhoneError(f"{who} is not connected (adb says: {first}). Connected phones: pipeline devices")
    for state in ("unauthorized", "authorizing", "offline"):
        if state in lower:
            return NotReadyError(f'{who} is not ready (adb says "{state}"). {advice(state)}')
    return ConnectionLostError(f"{who} cannot be used: adb says: {first}. Reconnect it and try again.")


def advice(state: str) -> str:
    """What to do about a phone in one of adb's states; empty for one that is ready."""
    known = {
        "device": "",
        "unauthorized": "Accept the prompt 'Allow USB debugging' on the phone's screen, then retry.",
        "authorizing": "Wait a moment, or accept the prompt on the phone's screen, then retry.",
        "offline": "Unplug it and plug it in again (or: adb reconnect offline), then retry.",
        "no permissions": "Add a udev rule for it, or run the adb server as a user who may use USB.",
        "recovery": "Start Android on it: adb reboot.",
        "sideload": "Start Android on it: adb reboot.",
        "bootloader": "Start Android on it: fastboot reboot.",
        "host": "This is no phone; unplug it.",
    }
    for name, text in known.items():
        if state.startswith(name):
            return text
    return "Unplug it and plug it in again, then retry."


def _start_server(port: int) -> None:
    from adbutils import AdbError, adb_path

    try:
        words = [adb_path(), "-P", str(port), "start-server"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=START_SECS, check=False)
        problem = done.stderr.strip() if done.returncode else ""
    except (AdbError, OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    if problem:
        raise DeviceError(
            f"the adb server does not start on port {port} ({problem.splitlines()[-1]}). "
            "Another program may hold the port: set ANDROID_ADB_SERVER_PORT to a free one."
        )
