"""Runs an exported file in LiteRT: raw 0-255 pixels in, real values out."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from export import native_output
from export.artifact import ZERO_PIXEL
from export.check.load_check import litert_loads
from export.errors import BadModelFileError
from export.tflite.content import FileContents

Floats = npt.NDArray[np.float32]


Stored = Callable[[Floats], npt.NDArray[Any]]
"""(n, height, width, channels) images -> what a file's input takes of them."""


def check_runs(path: Path) -> None:
    """Raises BadModelFileError if LiteRT cannot run the file; tried in a child, which a bad one may crash.

    Call it before a Runner of a file that was not written a moment ago.
    """
    runs, error = litert_loads(path)
    if not runs:
        raise BadModelFileError(f"LiteRT cannot run {path}: {error}. Export the model again.")


class Runner:
    """A single-threaded interpreter of one file. Runs one image at a time, as on a phone."""

    def __init__(
        self,
        file: Path | bytes,
        contents: FileContents,
        *,
        stored: Stored | None = None,
        keeps_activations: bool = False,
    ) -> None:
        """`file` is its path or its content.

        `stored` is what the input takes of images; by default that of a file of ours. `keeps_activations`
        enables activation(); it runs without XNNPACK, which keeps none.
        """
        options: dict[str, Any] = (
            {"model_content": file} if isinstance(file, bytes) else {"model_path": str(file)}
        )
        if keeps_activations:
            options |= {
                "experimental_preserve_all_tensors": True,
                "experimental_op_resolver_type": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            }
        with native_output.captured():
            self._interpreter = Interpreter(num_threads=1, **options)
            self._interpreter.allocate_tensors()
        self.invoke_secs = 0.0
        """How long the last image's inference took."""
        self._contents = contents
        self._stored = stored or (lambda images: stored_input(images, contents.inputs[0].dtype))
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def outputs(self, images: Floats) -> Floats:
        """(n, height, width, channels) raw 0-255 -> (n, classes), dequantized."""
        output = self._contents.outputs[0]
        found = np.empty((len(images), math.prod(output.shape)), np.float32)
        for index, stored in enumerate(self._stored(images)):
            self._interpreter.set_tensor(self._input, stored[np.newaxis])
            start = time.perf_counter()
            self._interpreter.invoke()
            self.invoke_secs = time.perf_counter() - start
            given = self._interpreter.get_tensor(self._output).ravel()
            found[index] = real_values(given, output.scale, output.zero_point)
        return found

    def activation(self, tensor: int) -> Floats:
        """An activation of the last image, dequantized; `tensor` is its index in the file."""
        described = self._contents.tensors[tensor]
        scale, zero_point = (described.scales or (0.0,))[0], (described.zero_points or (0,))[0]
        return real_values(self._interpreter.get_tensor(tensor), scale, zero_point)


class Runners:
    """A file in one single-threaded interpreter per core; for use in `with`."""

    def __init__(self, path: Path, contents: FileContents, *, stored: Stored | None = None) -> None:
        self._runners = [Runner(path, contents, stored=stored) for _ in range(os.cpu_count() or 1)]
        self._pool = ThreadPoolExecutor(len(self._runners))

    def __enter__(self) -> Runners:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def outputs(self, images: Floats) -> Floats:
        """(n, height, width, channels) -> (n, classes), dequantized."""
        shares = np.array_split(images, len(self._runners))
        return np.concatenate(list(self._pool.map(Runner.outputs, self._runners, shares)))


def stored_input(images: Floats, dtype: str) -> npt.NDArray[Any]:
    """Raw 0-255 pixels as stored in an input of ours: int8 = pixel - 128, uint8 = pixel, or float32."""
    if dtype not in ZERO_PIXEL:
        return images.astype(np.float32)
    whole = np.clip(np.rint(images), 0, 255).astype(np.int16)
    return (whole + ZERO_PIXEL[dtype]).astype(dtype)


def real_values(stored: npt.NDArray[Any], scale: float, zero_point: int) -> Floats:
    """scale * (stored - zero_point); scale 0 is not quantized."""
    if not scale:
        return stored.astype(np.float32)
    return (np.float32(scale) * (stored.astype(np.float32) - zero_point)).astype(np.float32)


def is_finite(outputs: Floats) -> npt.NDArray[np.bool_]:
    """(n, classes) -> (n,): whether all values of an output are finite."""
    finite: npt.NDArray[np.bool_] = np.isfinite(outputs).all(axis=1)
    return finite
