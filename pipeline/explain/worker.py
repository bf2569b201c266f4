"""The child that times whole files and their operators, each cut out into its own file.

Run as a program: python -m pipeline.explain.worker PLAN. The plan is JSON (see timing.py). It prints lines
of JSON: for each file the part that XNNPACK took, or why it cannot be run; then the medians of each round.
The runtime's output goes to standard error.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from pipeline.bench.worker import private_stdout, reply_with, timed_runs

Array = npt.NDArray[Any]


def main(plan_path: str) -> None:
    """Runs the plan."""
    replies = private_stdout()
    plan = json.loads(Path(plan_path).read_text())
    started = time.perf_counter()
    files = []
    for number, entry in enumerate(plan["files"]):
        try:
            files.append(File(number, entry, plan["num_threads"]))
            reply_with(replies, {"file": number, "delegated": files[-1].delegated()})
        except Exception as error:
            reply_with(replies, {"file": number, "error": f"{error}" or type(error).__name__})
    for round_index in range(plan["num_rounds"]):
        for file in files if round_index % 2 == 0 else files[::-1]:
            reply_with(replies, file.play(plan))
        if time.perf_counter() - started > plan["max_secs"]:
            break


class File:
    """One file of the plan, its activations for one random image, and its operators."""

    def __init__(self, number: int, entry: dict[str, Any], num_threads: int) -> None:
        self._number, self._path, self._num_threads = number, entry["path"], num_threads
        self._operators = entry["operators"]
        interpreter = Interpreter(
            model_path=self._path,
            num_threads=1,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        interpreter.allocate_tensors()
        self._fed = [_random(tensor) for tensor in interpreter.get_input_details()]
        _feed(interpreter, self._fed)
        interpreter.invoke()
        wanted = {tensor for operator in self._operators for tensor in operator["inputs"]}
        self._activations = {tensor: interpreter.get_tensor(tensor) for tensor in wanted}

    def delegated(self) -> list[dict[str, list[int]]] | None:
        """The inputs and outputs of each part of the graph that XNNPACK took; None if unknown."""
        interpreter = self._loaded(self._path, self._fed)
        # there is no public call for the operators that a delegate took
        list_operators = getattr(interpreter, "_get_ops_details", None)
        if list_operators is None:
            return None
        return [
            {end: [int(tensor) for tensor in operator[end]] for end in ("inputs", "outputs")}
            for operator in list_operators()
            if "DELEGATE" in operator["op_name"].upper()
        ]

    def play(self, plan: dict[str, Any]) -> dict[str, Any]:
        """One round: the medians in nanoseconds of the whole file and each operator, loaded anew."""
        medians: dict[str, float] = {}
        failed: dict[str, str] = {}
        whole = self._median_ns(self._path, self._fed, plan["whole_secs"])
        for operator in self._operators:
            fed = [self._activations[tensor] for tensor in operator["inputs"]]
            try:
                medians[operator["index"]] = self._median_ns(operator["path"], fed, plan["operator_secs"])
            except Exception as error:
                failed[operator["index"]] = f"{error}" or type(error).__name__
        return {"file": self._number, "whole_ns": whole, "operators_ns": medians, "failed": failed}

    def _median_ns(self, path: str, fed: list[Array], secs: float) -> float:
        interpreter = self._loaded(path, fed)
        interpreter.invoke()
        return float(median(timed_runs(interpreter.invoke, 3, secs, 60.0)))

    def _loaded(self, path: str, fed: list[Array]) -> Any:  # noqa: ANN401 - LiteRT carries no types
        interpreter = Interpreter(model_path=path, num_threads=self._num_threads)
        for tensor, value in zip(interpreter.get_input_details(), fed, strict=True):
            if tuple(tensor["shape"]) != value.shape:
                interpreter.resize_tensor_input(tensor["index"], value.shape)
        interpreter.allocate_tensors()
        _feed(interpreter, fed)
        return interpreter


def _feed(interpreter: Any, values: list[Array]) -> None:  # noqa: ANN401
    for tensor, value in zip(interpreter.get_input_details(), values, strict=True):
        interpreter.set_tensor(tensor["index"], value)


def _random(tensor: dict[str, Any]) -> Array:
    """Pixels for a float input, any value for an integer one."""
    generator, dtype = np.random.default_rng(0), np.dtype(tensor["dtype"])
    values: Array
    if dtype.kind == "f":
        values = generator.uniform(0, 255, tensor["shape"])
    elif dtype.kind == "b":
        values = generator.integers(0, 2, tensor["shape"])
    elif dtype.kind in "iu" and dtype.itemsize <= 2:
        limits = np.iinfo(dtype)
        values = generator.integers(limits.min, limits.max, tensor["shape"], endpoint=True)
    elif dtype.kind in "iu":
        values = generator.integers(0, 99, tensor["shape"], endpoint=True)  # indices rather than pixels
    else:
        raise TypeError(f"input {tensor['name']} holds {dtype}; only numbers can be made up for it")
    return values.astype(dtype)


if __name__ == "__main__":
    main(sys.argv[1])
