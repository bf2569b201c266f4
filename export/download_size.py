"""How many bytes a file takes on its way to the phone, where the app stores send it compressed."""

from __future__ import annotations

import brotli

QUALITY = 5
LGWIN = 22
"""The base-2 logarithm of the window: the largest that every brotli decoder takes."""


def downloaded_bytes(content: bytes) -> int:
    """The file's size compressed with brotli (RFC 7932): about what its part of an app's download is.

    A .tflite file lies uncompressed in the app, so that it can be mapped, and is compressed when the app is
    sent. The stores publish neither codec nor settings for each app: this is a figure to compare files by,
    not a promise of bytes. Weights that are pruned (zeros) or clustered (few values) leave the file's own
    size as it is and show here alone.

    Quality 5 with a window of 4 MB is the best that takes about 2 s for 30 MB: 7 makes float weights with
    half of them pruned 0.2 % smaller in 13 s, and 11 makes a file of 1.5 MB 1 to 16 % smaller in 2 to 9 s.
    """
    return len(brotli.compress(content, quality=QUALITY, lgwin=LGWIN))
