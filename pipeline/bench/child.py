"""A child process that runs one file (see worker.py), with a timeout on every request."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

from android_bench.reasons import Reason
from export.signals import signal_words
from pipeline.errors import MissingToolError

MODULES = {"litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime", "tensorflow": "tensorflow"}
PACKAGES = {"litert": "ai-edge-litert", "tflite-runtime": "tflite-runtime", "tensorflow": "tensorflow"}
EXIT_SECS = 5.0
"""The longest wait for a child's end after it closed its replies; a runtime can hang in its own end."""
WORKER = Path(__file__).with_name("worker.py")


class ChildFailedError(Exception):
    """The child's request failed; the message is a short reason."""


def runtime_version(runtime: str) -> str:
    """The installed version of a runtime. MissingToolError if it is not installed."""
    try:
        if importlib.util.find_spec(MODULES[runtime]) is not None:
            return metadata.version(PACKAGES[runtime])
    except (metadata.PackageNotFoundError, ValueError):
        pass
    raise MissingToolError(f"{PACKAGES[runtime]} is not installed here. {_how_to_get(runtime)}")


class Child:
    """One file with one number of threads and one runtime, in its own process; a context manager."""

    def __init__(self, file: Path, *, num_threads: int, runtime: str, patience_secs: float) -> None:
        self._runtime = runtime
        self._patience_secs = patience_secs
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._timed_out = False
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(WORKER), str(file), str(num_threads), runtime],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            start_new_session=True,  # Ctrl-C is the parent's to handle
        )

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def wait_until_ready(self) -> None:
        """Returns when the runtime is imported. MissingToolError when it cannot be."""
        greeting = self._read(self._patience_secs)
        if "error" in greeting:
            raise MissingToolError(
                f"{PACKAGES[self._runtime]} is installed but does not import ({one_line(greeting['error'])})."
                f" {_how_to_get(self._runtime)}"
            )

    def run_round(self, request: dict[str, Any], *, busy_secs: float) -> dict[str, Any]:
        """The child's reply to a request that should take `busy_secs`.

        ChildFailedError when the runtime refuses the file, a run fails, or the child crashes or hangs.
        """
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the child is dead: reading the reply raises the reason
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        reply = self._read(busy_secs + self._patience_secs)
        if "error" in reply:
            raise ChildFailedError(explain(self._runtime, reply["stage"], reply["error"]))
        return reply

    def close(self) -> None:
        """Ends the child, even in the middle of a request. May be called twice."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self._said.close()

    def _read(self, limit_secs: float) -> dict[str, Any]:
        assert self.process.stdout is not None
        timer = threading.Timer(limit_secs, self._give_up)
        timer.daemon = True
        timer.start()
        try:
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
        if not line.endswith(b"\n"):
            raise ChildFailedError(self._why_dead(limit_secs))
        reply = json.loads(line)
        assert isinstance(reply, dict)
        return reply

    def _give_up(self) -> None:
        self._timed_out = True
        self.process.kill()

    def _why_dead(self, limit_secs: float) -> str:
        try:
            status = self.process.wait(EXIT_SECS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return Reason.HOST_HUNG.text(runtime=self._runtime, secs=f"{EXIT_SECS:.0f}")
        if self._timed_out:
            return Reason.HOST_HUNG.text(runtime=self._runtime, secs=f"{limit_secs:.0f}")
        if status < 0:
            return Reason.HOST_CRASHED.text(runtime=self._runtime, signal=signal_words(-status))
        self._said.seek(0)
        last_words = self._said.read().decode(errors="replace").strip().splitlines()[-1:]
        said = " ".join(last_words) or "it said nothing"
        return Reason.HOST_ENDED.text(runtime=self._runtime, status=status, said=said)


def explain(runtime: str, stage: str, message: str) -> str:
    """Why a runtime refused a file or a run, in one line; `stage` is loading or running.

    For an operator newer than the runtime the line includes advice.
    """
    message = one_line(message)
    _, found, rest = message.partition("Didn't find op for builtin opcode '")
    if found:
        operator, _, rest = rest.partition("'")
        version = rest.partition("version '")[2].partition("'")[0]
        newer = (
            "use a newer runtime" if runtime == "litert" else "an app with this runtime cannot load the file"
        )
        return Reason.NO_OPERATOR.text(runtime=runtime, operator=operator, version=version, advice=newer)
    return Reason.HOST_FAILED.text(runtime=runtime, stage=stage, said=message)


def one_line(message: str) -> str:
    """A message without its line breaks."""
    return " ".join(message.split())


def _how_to_get(runtime: str) -> str:
    if runtime == "tflite-runtime":
        return (
            "Its last release, 2.14.0, has wheels for Linux and Python 3.11 or older, and needs numpy < 2."
            " Measure with --runtime litert, or install it: pip install tflite-runtime==2.14.0 'numpy<2'"
        )
    return f"Install it: pip install {PACKAGES[runtime]}. See what else is missing: pipeline doctor"
