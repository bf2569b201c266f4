"""The size of a file as downloaded: app stores send it compressed."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import brotli

QUALITY = 11
"""The highest, and the library's default: a store compresses once, and sends often."""
_FAST_QUALITY = 5
LGWIN = 22
"""The base-2 logarithm of the window: the library's default."""
_PIECE = 1 << 20
"""Bytes per thread: quality 11 takes 2 to 3 s for a megabyte."""
_HARDLY_SMALLER = 0.85
"""Above this compressed share at the fast quality, weights are dense and the highest gains only 1%."""


def downloaded_bytes(content: bytes) -> int:
    """The file's size compressed with brotli (RFC 7932): about its share of an app's download.

    A .tflite file is uncompressed in the app, to be mapped, and compressed when the app is sent. The stores
    do not publish codec and settings, so use this figure to compare files, not as a promise. Pruned and
    clustered weights do not change the file's own size, only this one. Such files are compressed at quality
    11 in pieces of a megabyte; at quality 5 they are up to a fifth larger. Files that quality 5 leaves above
    85% are measured at 5.
    """
    fast = _compressed(content, _FAST_QUALITY)
    if fast > _HARDLY_SMALLER * len(content):
        return fast
    pieces = [content[start : start + _PIECE] for start in range(0, len(content), _PIECE)]
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # brotli lets other threads run
        return min(fast, sum(threads.map(lambda piece: _compressed(piece, QUALITY), pieces)))


def _compressed(content: bytes, quality: int) -> int:
    return len(brotli.compress(content, quality=quality, lgwin=LGWIN))
