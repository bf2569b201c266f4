"""How many bytes a file takes on its way to the phone, where the app stores send it compressed."""

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
"""Bytes that one thread compresses: quality 11 takes 2 to 3 s for a megabyte."""
_HARDLY_SMALLER = 0.85
"""Where the fast quality leaves more than this share, weights are dense, and the highest gains 1% on it."""


def downloaded_bytes(content: bytes) -> int:
    """The file's size compressed with brotli (RFC 7932): about what its part of an app's download is.

    A .tflite file lies uncompressed in the app, so that it can be mapped, and is compressed when the app is
    sent. The stores publish neither codec nor settings for each app: this is a figure to compare files by,
    not a promise of bytes. Weights that are pruned (zeros) or clustered (few values) leave the file's own
    size as it is and show here alone; of these, quality 5 makes up to a fifth more bytes than 11, which is
    taken in pieces of a megabyte. Where 5 leaves more than 85%, it is taken itself.
    """
    fast = _compressed(content, _FAST_QUALITY)
    if fast > _HARDLY_SMALLER * len(content):
        return fast
    pieces = [content[start : start + _PIECE] for start in range(0, len(content), _PIECE)]
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # brotli lets other threads run
        return min(fast, sum(threads.map(lambda piece: _compressed(piece, QUALITY), pieces)))


def _compressed(content: bytes, quality: int) -> int:
    return len(brotli.compress(content, quality=quality, lgwin=LGWIN))
