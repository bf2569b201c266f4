"""Whether a runtime can load and run a .tflite file, tried in a separate process, which a bad file may crash.

Standard library only. It is also the program of that process: `python -I load_check.py RUNTIME FILE`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_MODULES = {"litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}
_LIMIT_SECS = 120
_ROOM_BYTES, _TIMES = 4 * 2**30, 4
"""Memory that the trial may take: activations, and the weights again as the runtime lays them out."""


def tflite_runtime_loads(path: Path) -> tuple[bool | None, str | None]:
    """Whether tflite-runtime loads, allocates and runs the file once, and the error if not.

    (None, None) if the package is not installed.
    """
    return loads("tflite-runtime", path)


def litert_loads(path: Path) -> tuple[bool | None, str | None]:
    """Whether LiteRT loads, allocates and runs the file once, and the error if not."""
    return loads("litert", path)


def loads(runtime: str, path: Path) -> tuple[bool | None, str | None]:
    """Whether the runtime ('litert' or 'tflite-runtime') loads and runs the file, and the error if not."""
    if importlib.util.find_spec(_MODULES[runtime]) is None:
        return None, None
    try:
        child = subprocess.run(
            [sys.executable, "-I", __file__, runtime, str(path)],
            capture_output=True,
            timeout=_LIMIT_SECS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False, f"did not finish one inference in {_LIMIT_SECS} s"
    if child.returncode < 0:
        from export.signals import signal_words  # not at the top: the child has no path to it

        return False, f"crashed ({signal_words(-child.returncode)})"
    try:
        error = json.loads(child.stdout.splitlines()[-1])["error"]
    except (ValueError, KeyError, IndexError):
        last_words = child.stderr.decode(errors="replace").strip().splitlines()[-1:]
        return False, f"ended with status {child.returncode}: {' '.join(last_words)}"
    return error is None, error


def _feed(interpreter: Any) -> None:  # noqa: ANN401 - two runtimes, one interface
    """Random values: zeros alone reach no index beyond a table's end."""
    import numpy as np

    for tensor in interpreter.get_input_details():
        values = np.random.default_rng(0).uniform(0, 255, tensor["shape"])
        if np.dtype(tensor["dtype"]).kind in "fiu":
            interpreter.set_tensor(tensor["index"], values.astype(np.uint8).astype(tensor["dtype"]))


def _limit_memory(path: str) -> None:
    """A damaged file may ask for more than the machine has; Windows has no such limit."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        limit = _ROOM_BYTES + _TIMES * Path(path).stat().st_size
        resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def _main(runtime: str, path: str) -> None:
    module = importlib.import_module(f"{_MODULES[runtime]}.interpreter")
    _limit_memory(path)
    try:
        interpreter = module.Interpreter(model_path=path)
        interpreter.allocate_tensors()
        interpreter.invoke()
        _feed(interpreter)
        interpreter.invoke()
    except (ValueError, RuntimeError) as error:
        print(json.dumps({"error": " ".join(str(error).split())}))
    else:
        print(json.dumps({"error": None}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
