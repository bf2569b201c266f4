"""A connection to the adb server with one deadline for all calls; every failure is a named error.

The protocols: platform/packages/modules/adb, docs/dev/ (services.md, sync.md).
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from android_bench.adb_words import cannot_write, explained
from android_bench.errors import (
    AnswerLimitError,
    ConnectionLostError,
    DeviceError,
    StorageError,
    TimeLimitError,
)

CHUNK_BYTES = 64 * 1024
"""Maximum payload of a packet of the sync protocol (SYNC_DATA_MAX)."""
MAX_PACKET_BYTES = 1024 * 1024
"""Maximum payload of adb's protocol (MAX_PAYLOAD)."""
MAX_ANSWER_BYTES = 8 * 1024 * 1024
"""The most that is read of a script's output or of a file on the phone, all of which are much smaller."""
ANSWER_LIMIT = f"{MAX_ANSWER_BYTES >> 20} MiB"
_REGULAR_FILE = 0o100000

Progress = Callable[[int, int], None]
"""progress(done_bytes, total_bytes)."""


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file to be put on the phone."""

    content: bytes | Path
    remote: str
    mode: int = 0o644

    @property
    def size_bytes(self) -> int:
        """The file's size. StorageError if the local file cannot be read."""
        if not isinstance(self.content, Path):
            return len(self.content)
        try:
            return self.content.stat().st_size
        except OSError as error:
            raise _unreadable(self.content, error) from error


class RefusedError(Exception):
    """The adb server's message instead of OKAY."""


class Wire:
    """A connection to the adb server with one deadline for all calls."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._socket = connection
        self._deadline = deadline

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()

    def request(self, service: str) -> None:
        """Requests a service from the server. RefusedError with the server's message when it refuses."""
        content = service.encode(errors="surrogateescape")
        if len(content) > 0xFFFF:
            raise DeviceError(f"a command of {len(content)} bytes; adb carries 65,535 at most.")
        self.send(b"%04x" % len(content) + content)
        answer = self.read(4)
        if answer != b"OKAY":
            raise RefusedError(self.text_block() if answer == b"FAIL" else f"unexpected answer {answer!r}")

    def text_block(self) -> str:
        """Reads a length-prefixed text. RefusedError if the prefix is not a length."""
        length = self.read(4)
        if not re.fullmatch(rb"[0-9A-Fa-f]{4}", length):
            raise RefusedError(f"{length!r} instead of a length")
        return self.read(int(length, 16)).decode(errors="replace")

    def head(self, layout: str) -> tuple[Any, int]:
        """Reads a packet's kind and length, which have struct's layout."""
        kind, length = struct.unpack(layout, self.read(struct.calcsize(layout)))
        return kind, length

    def payload(self, length: int) -> bytes:
        """Reads a packet's content. RefusedError for a length that adb never sends."""
        if length > MAX_PACKET_BYTES:
            raise RefusedError(f"a packet of {length} bytes, where {MAX_PACKET_BYTES} is the most")
        return self.read(length)

    def read(self, num_bytes: int) -> bytes:
        """Reads exactly num_bytes. EOFError when the other side closes, TimeoutError at the deadline."""
        content = bytearray()
        while len(content) < num_bytes:
            self._wait()
            piece = self._socket.recv(num_bytes - len(content))
            if not piece:
                raise EOFError
            content += piece
        return bytes(content)

    def send(self, content: bytes) -> None:
        """Sends all of the content. TimeoutError at the deadline."""
        self._wait()
        self._socket.sendall(content)

    def is_open(self) -> bool:
        """Whether the other side has neither closed it nor sent unread data."""
        try:
            self._socket.settimeout(0)
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        """Closes the connection. May be called twice."""
        self._socket.close()

    def cut(self) -> None:
        """Ends another thread's read or send."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _wait(self) -> None:
        left_secs = self._deadline - time.monotonic()
        if left_secs <= 0:
            raise TimeoutError
        self._socket.settimeout(left_secs)


def send_file(wire: Wire, file: Upload) -> Iterator[int]:
    """Sends one file; yields the number of bytes of each packet.

    The phone reports a failure at the end, or sends its reason and closes the connection early.
    """
    target = f"{file.remote},{_REGULAR_FILE | file.mode}".encode()
    try:
        wire.send(b"SEND" + struct.pack("<I", len(target)) + target)
        for chunk in _chunks(file.content):
            wire.send(b"DATA" + struct.pack("<I", len(chunk)) + chunk)
            yield len(chunk)
        wire.send(b"DONE" + struct.pack("<I", int(time.time())))
    except (BrokenPipeError, ConnectionResetError):
        pass  # what it said before says why
    answer, length = wire.head("<4sI")
    if answer != b"OKAY":
        why = wire.payload(length).decode(errors="replace")
        raise StorageError(cannot_write(file.remote, why))


def receive_file(wire: Wire, remote: str) -> bytes:
    """The content of a file on the phone. AnswerLimitError above MAX_ANSWER_BYTES."""
    name = remote.encode()
    wire.send(b"RECV" + struct.pack("<I", len(name)) + name)
    content = bytearray()
    while True:
        kind, length = wire.head("<4sI")
        if kind == b"DONE":
            return bytes(content)
        packet = wire.payload(length)
        if kind != b"DATA":
            raise StorageError(f"cannot read {remote} on the phone: {packet.decode(errors='replace')}.")
        content += packet
        check_answer(len(content), f"of {remote}")


def check_answer(num_bytes: int, what: str) -> None:
    """AnswerLimitError if a phone has sent more than MAX_ANSWER_BYTES of something."""
    if num_bytes > MAX_ANSWER_BYTES:
        raise AnswerLimitError(
            f"the phone sent more than {ANSWER_LIMIT} {what}, where some kB were expected. "
            "Restart it, then run the same command again; another build of the tool may help."
        )


@contextmanager
def named_errors(who: str, limit_secs: float) -> Iterator[None]:
    """Turns errors of sockets and of the adb server into one line for the user."""
    try:
        yield
    except TimeoutError as error:
        raise TimeLimitError(
            f"{who} did not answer within {limit_secs:.0f} s. {_wake_advice(who)}, then run the same command "
            "again: what was measured is kept."
        ) from error
    except RefusedError as error:
        raise explained(who, str(error)) from error
    except (EOFError, OSError) as error:
        raise ConnectionLostError(
            f"{who} is gone: the connection closed in the middle. Check the cable, or reconnect it with "
            "`adb connect`, then run the same command again: what was measured is kept."
        ) from error


def _wake_advice(who: str) -> str:
    if who.startswith("adb server"):
        return "Restart it (adb kill-server, adb start-server)"
    return "Check the cable and the screen, or plug it in anew"


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
