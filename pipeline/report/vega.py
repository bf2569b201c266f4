"""The script that draws the page's charts: Vega-Embed, Vega-Lite and Vega."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from functools import cache
from importlib.metadata import version

import vl_convert

from export.files import write_bytes
from pipeline.home import cache_folder

SNIPPET = "window.vegaEmbed = vegaEmbed;"
DIGEST_CHARACTERS = 64


@cache
def vega_script() -> str:
    """The script, from the user's cache: vl-convert takes more than a second to bundle it.

    The cached file begins with its SHA-256; one that is damaged is made again.
    """
    name = f"{version('vl-convert-python')}-{hashlib.sha256(SNIPPET.encode()).hexdigest()[:12]}.js"
    with suppress(OSError, RuntimeError):  # RuntimeError: the user has no home
        path = cache_folder() / "vega" / name
        with suppress(FileNotFoundError):
            content = path.read_bytes()
            if content[:DIGEST_CHARACTERS] == _digest(content[DIGEST_CHARACTERS:]):
                return content[DIGEST_CHARACTERS:].decode()
        path.parent.mkdir(parents=True, exist_ok=True)
        script = _bundled()
        write_bytes(path, _digest(script.encode()) + script.encode())
        return script
    return _bundled()


@cache
def _bundled() -> str:
    return str(vl_convert.javascript_bundle(snippet=SNIPPET))


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
