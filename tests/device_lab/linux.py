"""Namespaces and mounts, which Python 3.11 does not offer. Needs root."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
from pathlib import Path

NEW_MOUNTS = 0x00020000
NEW_PROCESSES = 0x20000000
NEW_NETWORK = 0x40000000

BIND = 0x1000
RECURSIVE = 0x4000
PRIVATE = 1 << 18
DETACH = 2

_MOUNT_SETATTR = 442  # the same on every architecture
_AT_FDCWD, _AT_RECURSIVE, _ATTRIBUTE_READ_ONLY = -100, 0x8000, 1
_DIE_WITH_PARENT, _SIGKILL = 1, 9
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(kinds: int) -> None:
    """Gives the process (for the network, the thread) its own namespaces."""
    _check(_libc.unshare(kinds))


def enter(namespace: int, kind: int) -> None:
    """Moves the calling thread into the namespace of an open file descriptor."""
    _check(_libc.setns(namespace, kind))


def mount(
    source: str | Path, target: str | Path, kind: str = "", *, flags: int = 0, options: str = ""
) -> None:
    """mount(2)."""
    words = [os.fsencode(word) for word in (source, target, kind)]
    _check(_libc.mount(*words, ctypes.c_ulong(flags), options.encode()), str(target))


def unmount(target: str | Path) -> None:
    """umount2(2), lazily: hidden at once, and unmounted when it is no longer used."""
    _check(_libc.umount2(os.fsencode(target), DETACH), str(target))


def make_read_only(target: str | Path) -> None:
    """Makes a mount and all below it read-only; does nothing on kernels before 5.12."""
    attributes = struct.pack("=QQQQ", _ATTRIBUTE_READ_ONLY, 0, 0, 0)
    status = _libc.syscall(
        _MOUNT_SETATTR, _AT_FDCWD, os.fsencode(target), _AT_RECURSIVE, attributes, len(attributes)
    )
    if status and ctypes.get_errno() != errno.ENOSYS:
        _check(status, str(target))


def die_with_parent() -> None:
    """Makes the kernel kill this process when its parent ends."""
    _check(_libc.prctl(_DIE_WITH_PARENT, _SIGKILL))


def bring_loopback_up() -> None:
    """Equivalent to `ip link set lo up`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("16sh14x", b"lo", 0)
        (_, flags) = struct.unpack("16sh14x", fcntl.ioctl(probe, _GET_FLAGS, request))
        fcntl.ioctl(probe, _SET_FLAGS, struct.pack("16sh14x", b"lo", flags | _UP))


def _check(status: int, path: str | None = None) -> None:
    if status:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
