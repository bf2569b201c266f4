"""The child that runs one file. It imports numpy and the requested runtime, but nothing of this project.

Run as a program: python -P worker.py FILE NUM_THREADS RUNTIME. It writes lines of JSON: first
{"ready": true}, then one reply for each request to run a round; it ends with its standard input.
A round loads the file anew, warms up, and times runs. The runtime's output goes to standard error.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

CHUNK = 4096
"""Size of the preallocated buffer of times, which is emptied between two runs."""

Runtime = Callable[..., Any]
"""The runtime's Interpreter class."""


def main(arguments: list[str]) -> None:
    """Answers requests until standard input ends."""
    file, num_threads, runtime = arguments
    replies = private_stdout()
    try:
        interpreter_class = _import_interpreter(runtime)
    except Exception as error:
        reply_with(replies, {"error": f"{type(error).__name__}: {error}", "stage": "importing"})
        return
    reply_with(replies, {"ready": True})
    baseline: Baseline | None = None
    for line in sys.stdin:
        baseline = baseline or Baseline()
        try:
            reply = run_round(
                interpreter_class, file, int(num_threads), baseline=baseline, request=json.loads(line)
            )
        except RoundError as error:
            reply = {"error": str(error), "stage": error.stage}
        reply_with(replies, reply)


class RoundError(Exception):
    """The runtime refused the file, or a run failed; `stage` is loading or running."""

    def __init__(self, stage: str, error: Exception) -> None:
        super().__init__(f"{error}" or type(error).__name__)
        self.stage = stage


class Baseline:
    """The process's memory and threads before the file was first read; None without /proc."""

    def __init__(self) -> None:
        _forget_peak()
        self.memory_bytes = _peak_memory_bytes()
        self.num_threads = _count_threads()

    def peak_growth_bytes(self) -> int | None:
        """Growth of the peak resident memory since then."""
        peak = _peak_memory_bytes()
        return None if peak is None or self.memory_bytes is None else max(0, peak - self.memory_bytes)

    def new_threads(self) -> int | None:
        """Number of threads started since then."""
        threads = _count_threads()
        return None if threads is None or self.num_threads is None else threads - self.num_threads


def run_round(
    interpreter_class: Runtime, file: str, num_threads: int, *, baseline: Baseline, request: dict[str, Any]
) -> dict[str, Any]:
    """Loads the file, warms up and times runs; returns the reply.

    `request` has warmup_runs, warmup_min_secs, num_runs, min_secs and max_secs of this round.
    """
    waited, cpu_ns = _waited_ns(), time.process_time_ns()
    try:
        begin = time.perf_counter_ns()
        interpreter = interpreter_class(model_path=file, num_threads=num_threads)
        interpreter.allocate_tensors()
        init_ns = time.perf_counter_ns() - begin
        _fill_inputs(interpreter)
    except Exception as error:
        raise RoundError("loading", error) from error
    gc.collect()
    gc.disable()
    try:
        cap = request["max_secs"]
        warmup = timed_runs(interpreter.invoke, request["warmup_runs"], request["warmup_min_secs"], cap)
        samples = timed_runs(interpreter.invoke, request["num_runs"], request["min_secs"], cap)
    except Exception as error:
        raise RoundError("running", error) from error
    finally:
        gc.enable()
    return {
        "init_ns": init_ns,
        "first_ns": (warmup or samples)[0],
        "warmup_runs": len(warmup),
        "samples_ns": samples.tolist(),
        "peak_memory_bytes": baseline.peak_growth_bytes(),
        "new_threads": baseline.new_threads(),
        "delegated": _is_delegated(interpreter),
        "cpu_ns": time.process_time_ns() - cpu_ns,
        "waited_ns": _waited_since(waited),
    }


def timed_runs(invoke: Callable[[], object], num_runs: int, min_secs: float, max_secs: float) -> array[int]:
    """Each run's nanoseconds: at least num_runs runs and min_secs seconds, none started after max_secs."""
    clock = time.perf_counter_ns
    chunk = array("q", bytes(8 * CHUNK))
    samples = array("q")
    filled = 0
    start = clock()
    enough = start + int(min_secs * 1e9)
    stop = start + int(max_secs * 1e9)
    end = start
    while (num_runs > 0 or end < enough) and end <= stop:
        begin = clock()
        invoke()
        end = clock()
        chunk[filled] = end - begin
        filled += 1
        num_runs -= 1
        if filled == CHUNK:
            samples.extend(chunk)
            filled = 0
    samples.extend(chunk[:filled])
    return samples


def _fill_inputs(interpreter: Any) -> None:  # noqa: ANN401 - three runtimes, one interface
    import numpy as np

    generator = np.random.default_rng(0)
    for tensor in interpreter.get_input_details():
        shape, dtype = tensor["shape"], np.dtype(tensor["dtype"])
        if dtype.kind == "f":
            values = generator.uniform(0, 255, shape)
        elif dtype.kind == "b":
            values = generator.integers(0, 2, shape)
        elif dtype.kind in "iu" and dtype.itemsize <= 2:
            limits = np.iinfo(dtype)
            values = generator.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
        elif dtype.kind in "iu":
            # these are indices rather than pixels: benchmark_model's range
            values = generator.integers(0, 99, shape, endpoint=True)
        else:
            raise TypeError(f"input {tensor['name']} holds {dtype}; only numbers can be made up for it")
        interpreter.set_tensor(tensor["index"], values.astype(dtype))


def _is_delegated(interpreter: Any) -> bool | None:  # noqa: ANN401
    # there is no public call for this; without the private one the answer is unknown
    list_operators = getattr(interpreter, "_get_ops_details", None)
    if list_operators is None:
        return None
    return any("DELEGATE" in operator["op_name"].upper() for operator in list_operators())


def _import_interpreter(runtime: str) -> Runtime:
    if runtime == "litert":
        from ai_edge_litert.interpreter import Interpreter
    elif runtime == "tflite-runtime":
        from tflite_runtime.interpreter import Interpreter
    else:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        import tensorflow as tf

        Interpreter = tf.lite.Interpreter  # noqa: N806 - a class
    return Interpreter  # type: ignore[no-any-return]


def _forget_peak() -> None:
    # resets VmHWM to the present memory; without permission the growth reads too small, never too large
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak_memory_bytes() -> int | None:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    lines = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0].split()[1]) * 1024 if lines else None


def _count_threads() -> int | None:
    try:
        return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - iterdir would make objects to count
    except OSError:
        return None


def _waited_ns() -> dict[str, int] | None:
    """How long each thread was ready to run but had no CPU; None where the kernel does not count it."""
    found = {}
    try:
        for thread in os.listdir("/proc/self/task"):  # noqa: PTH208 - iterdir would make objects to count
            found[thread] = int(Path(f"/proc/self/task/{thread}/schedstat").read_text().split()[1])
    except (OSError, IndexError):
        return None
    return found if any(found.values()) else None


def _waited_since(before: dict[str, int] | None) -> int | None:
    now = _waited_ns()
    if before is None or now is None:
        return None
    return sum(waited - before.get(thread, 0) for thread, waited in now.items())


def private_stdout() -> TextIO:
    """A private copy of stdout for the replies; from now on other output goes to standard error."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return replies


def reply_with(replies: TextIO, record: dict[str, Any]) -> None:
    """Writes a line of JSON and flushes it."""
    replies.write(json.dumps(record) + "\n")
    replies.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
