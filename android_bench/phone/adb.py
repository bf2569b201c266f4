"""The phone over adb: list, run, push, pull. Every failure is a named error, within a timeout.

adbutils brings Google's adb, which is started as the server. This module speaks the server's protocol itself,
since adbutils' calls lack what a benchmark needs: one deadline for a whole call (theirs restarts at each
byte), the phone's message when a push fails, many files over one connection, and interruptible calls.

The protocols: platform/packages/modules/adb, docs/dev/ (services.md, sync.md) and shell_protocol.h.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from android_bench.errors import DeviceError
from android_bench.phone.wire import (
    Progress,
    RefusedError,
    Upload,
    Wire,
    check_answer,
    named_errors,
    receive_file,
    send_file,
)

ANSWER_SECS = 20.0
"""Default timeout of a short command; see answer_secs()."""
DEFAULT_PORT = 5037
CONNECT_SECS = 5.0
START_SECS = 30.0
_STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = 1, 2, 3, 4


@dataclass(frozen=True, kw_only=True)
class ListedPhone:
    """A line of `adb devices`."""

    serial: str
    state: str
    """device (ready), unauthorized, offline, recovery, ..."""
    server: AdbServer


@dataclass(frozen=True, kw_only=True)
class ShellResult:
    """A script's output on the phone, both streams in order of arrival, and its exit status."""

    output: str
    status: int


@dataclass(frozen=True)
class AdbServer:
    """An adb server, on this machine or on another one that has phones plugged in."""

    host: str
    port: int
    may_start: bool = False
    """Whether to start it if it does not run; true for this machine's default server."""

    @property
    def name(self) -> str:
        """host:port, as --adb-server takes it."""
        return f"{self.host}:{self.port}"

    def list(self) -> list[ListedPhone]:
        """The server's phones, ready or not."""
        limit = answer_secs()
        with named_errors(f"adb server {self.name}", limit), self.connect(limit) as wire:
            wire.request("host:devices")
            lines = wire.text_block().splitlines()
        pairs = [line.split("\t", 1) for line in lines if "\t" in line]
        return [ListedPhone(serial=serial, state=state, server=self) for serial, state in pairs]

    def start(self) -> None:
        """Makes sure that a server answers; DeviceError if none does."""
        try:
            with socket.create_connection((self.host, self.port), timeout=CONNECT_SECS):
                return
        except OSError as error:
            if not self.may_start:
                raise DeviceError(
                    f"no adb server answers at {self.name} ({error}). Start it there, so that it listens to "
                    f"others: adb -a -P {self.port} nodaemon server start"
                ) from error
        _start_server(self.port)

    def connect(self, limit_secs: float) -> Wire:
        """A connection with a timeout of limit_secs for everything done on it."""
        deadline = time.monotonic() + limit_secs
        return Wire(
            socket.create_connection((self.host, self.port), timeout=min(CONNECT_SECS, limit_secs)), deadline
        )


def default_server() -> AdbServer:
    """The default server: ANDROID_ADB_SERVER_HOST and _PORT if set, else port 5037 of this machine.

    DeviceError if these name no server.
    """
    host = os.environ.get("ANDROID_ADB_SERVER_HOST") or "127.0.0.1"
    port = os.environ.get("ANDROID_ADB_SERVER_PORT") or str(DEFAULT_PORT)
    try:
        server = parse_server(f"{host}:{port}")
    except ValueError as error:
        raise DeviceError(f"ANDROID_ADB_SERVER_HOST and ANDROID_ADB_SERVER_PORT: {error}") from error
    return replace(server, may_start=host in ("127.0.0.1", "localhost", "::1"))


def parse_server(text: str) -> AdbServer:
    """The server at HOST:PORT or HOST. ValueError for anything else."""
    host, _, port = text.rpartition(":") if ":" in text else (text, "", str(DEFAULT_PORT))
    if not _is_host(host) or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise ValueError(f"'{text}' is no adb server. Give HOST:PORT, such as lab-pc:5037.")
    return AdbServer(host.strip("[]"), int(port))


def _is_host(text: str) -> bool:
    """Whether a connection to that name can be tried."""
    try:
        return bool(text.encode("idna")) and text.isprintable()
    except UnicodeError:
        return False


def answer_secs() -> float:
    """Timeout of a short command of adb or a phone: PIPELINE_ANSWER_SECS, or 20 seconds."""
    text = os.environ.get("PIPELINE_ANSWER_SECS") or str(ANSWER_SECS)
    try:
        secs = float(text)
    except ValueError:
        secs = math.nan
    if not 0 < secs < math.inf:
        raise DeviceError(
            f"PIPELINE_ANSWER_SECS is '{text}'. Expected seconds above 0, such as 60 on a slow network."
        )
    return secs


class HeldScript:
    """A script on the phone that runs until this connection closes or this process ends."""

    def __init__(self, wire: Wire, first_line: str) -> None:
        self.first_line = first_line
        """Its first line of output, or all of its output if it has ended."""
        self._wire = wire

    def is_running(self) -> bool:
        """Whether it still runs, as far as this machine knows."""
        return self._wire.is_open()

    def close(self) -> None:
        """Closes the connection, which ends the script. May be called twice."""
        self._wire.close()


class Phone:
    """One phone of a server. Safe to use from one thread at a time; interrupt() may come from another."""

    def __init__(self, server: AdbServer, serial: str) -> None:
        self.server = server
        self.serial = serial
        self._open: Wire | None = None
        self._refuses = False
        self._lock = threading.Lock()

    def shell(self, script: str, *, limit_secs: float | None = None) -> ShellResult:
        """Runs a script in the phone's shell, with empty standard input, and waits for its end.

        The script is shell text: quote outside values with shlex.quote. Raises TimeLimitError after
        limit_secs (default: answer_secs()), AnswerLimitError when the output does not end,
        ConnectionLostError when the phone is lost, NotReadyError when it is not usable.
        """
        with self._wire(limit_secs or answer_secs()) as wire:
            wire.request(f"shell,v2,raw:{script}")
            wire.send(struct.pack("<BI", _CLOSE_STDIN, 0))
            output = bytearray()
            while True:
                kind, length = wire.head("<BI")
                packet = wire.payload(length)
                if kind in (_STDOUT, _STDERR):
                    output += packet
                    check_answer(len(output), "of output")
                elif kind == _EXIT:
                    if not packet:
                        raise RefusedError("an exit packet without a status")
                    return ShellResult(output=output.decode(errors="replace"), status=packet[0])

    def hold(self, script: str) -> HeldScript:
        """Starts a script that waits on its standard input; returns after its first line of output.

        Its input ends with the connection. Raises the same errors as shell().
        """
        limit_secs = answer_secs()
        with named_errors(f"phone {self.serial}", limit_secs):
            wire = self.server.connect(limit_secs)
            try:
                with self._cut_by_interrupt(wire):
                    wire.request(f"shell,v2,raw:{script}")
                    output = bytearray()
                    while not output.endswith(b"\n"):
                        kind, length = wire.head("<BI")
                        packet = wire.payload(length)
                        if kind == _EXIT:
                            break
                        output += packet
                        check_answer(len(output), "of output")
            except BaseException:
                wire.close()
                raise
        return HeldScript(wire, output.decode(errors="replace").strip())

    def push(
        self, files: Sequence[Upload], *, limit_secs: float = 600.0, progress: Progress | None = None
    ) -> None:
        """Writes files to the phone over one connection, creating their folders.

        StorageError with the phone's message if one cannot be written; earlier files stay.
        """
        total = sum(file.size_bytes for file in files)
        done = 0
        with self._wire(limit_secs) as wire:
            wire.request("sync:")
            for file in files:
                for sent in send_file(wire, file):
                    done += sent
                    if progress is not None:
                        progress(done, total)

    def pull(self, remotes: Sequence[str], *, limit_secs: float = 600.0) -> list[bytes]:
        """The contents of files on the phone, over one connection.

        StorageError for a missing one, AnswerLimitError for one that does not end.
        """
        with self._wire(limit_secs) as wire:
            wire.request("sync:")
            return [receive_file(wire, remote) for remote in remotes]

    def is_ready(self) -> bool:
        """Whether the server lists the phone as ready now."""
        try:
            return any(each.serial == self.serial and each.state == "device" for each in self.server.list())
        except DeviceError:
            return False

    def reconnect(self) -> None:
        """Starts the server if it is gone, and makes it reconnect to a phone on the network."""
        with contextlib.suppress(DeviceError):
            self.server.start()
        if not re.fullmatch(r"[\w.\-\[\]:]+:\d+", self.serial):
            return
        with (
            contextlib.suppress(OSError, EOFError, ValueError, RefusedError),
            self.server.connect(answer_secs()) as wire,
        ):
            wire.request(f"host:connect:{self.serial}")
            wire.text_block()

    def interrupt(self) -> None:
        """Makes another thread's current call raise ConnectionLostError, and later calls too."""
        with self._lock:
            self._refuses = True
            if self._open is not None:
                self._open.cut()

    def allow(self) -> None:
        """Allows calls again after interrupt()."""
        self._refuses = False

    def features(self) -> set[str]:
        """The features of the phone's adb daemon; shell_v2 came with Android 7."""
        limit = answer_secs()
        with named_errors(f"phone {self.serial}", limit), self.server.connect(limit) as wire:
            wire.request(f"host-serial:{self.serial}:features")
            return set(wire.text_block().split(","))

    @contextmanager
    def _wire(self, limit_secs: float) -> Iterator[Wire]:
        with (
            named_errors(f"phone {self.serial}", limit_secs),
            self.server.connect(limit_secs) as wire,
            self._cut_by_interrupt(wire),
        ):
            yield wire

    @contextmanager
    def _cut_by_interrupt(self, wire: Wire) -> Iterator[None]:
        """Connects the wire to the phone; inside, interrupt() cuts it."""
        with self._lock:
            if self._refuses:
                raise EOFError
            self._open = wire
        try:
            wire.request(f"host:tport:serial:{self.serial}")
            wire.read(8)  # the transport's number
            yield
        finally:
            with self._lock:
                self._open = None


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
