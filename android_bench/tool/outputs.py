"""A file's outputs on a phone: raw tensors in and out, one process of the tool per sample."""

from __future__ import annotations

import secrets
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from android_bench.errors import (
    AnswerLimitError,
    DeviceError,
    LogError,
    StorageError,
    TimeLimitError,
    ToolError,
)
from android_bench.phone.session import LocalFile, Session
from android_bench.phone.wire import ANSWER_LIMIT, Upload
from android_bench.printed.run import parse_run
from android_bench.reasons import Reason
from android_bench.tool.runner import (
    RunRequest,
    ToolFlags,
    command_flags,
    delegate_reasons,
    split_end,
    watched,
)
from spelling import counted

CHUNK = 10
"""Samples per shell command; progress(done) is called after each command."""


@dataclass(frozen=True, kw_only=True)
class InputTensor:
    """The model's input tensor."""

    name: str
    shape: tuple[int, ...]

    @property
    def escaped_name(self) -> str:
        """The name with colons doubled, for input_layer_value_files.

        tensorflow/lite/tools/benchmark/benchmark_tflite_model.cc splits at a single colon.
        """
        return self.name.replace(":", "::")


@dataclass(frozen=True, kw_only=True)
class SampleOutputs:
    """The phone's outputs. If a process failed, there are fewer than samples and `failure` says why."""

    outputs: tuple[bytes, ...]
    reasons: tuple[str, ...]
    """Why the outputs are not the requested ones, such as a delegate that took no node."""
    failure: str | None
    secs: float
    ms: tuple[float | None, ...] = ()
    """What the tool printed for each output: its one inference, not warmed up."""


def run_samples(
    session: Session,
    tool: LocalFile,
    flags: ToolFlags,
    request: RunRequest,
    *,
    tensor: InputTensor,
    samples: Sequence[bytes],
    progress: Callable[[int], None] | None = None,
) -> SampleOutputs:
    """Runs each sample in its own process; the files must be on the phone (Session.put).

    Samples and outputs are the tensors' raw bytes. A tool that takes longer than request.patience_secs for
    CHUNK samples is ended and counts as failed. ToolError for a tool that takes no input files, DeviceError
    when the phone is lost.
    """
    _check_tool(flags, tensor)
    start = time.monotonic()
    outputs: list[bytes] = []
    reasons: list[str] = []
    times: list[float | None] = []
    for first in range(0, len(samples), CHUNK):
        found, failure, remarks, ms = _run_chunk(
            session, tool, flags, request, tensor, samples[first : first + CHUNK]
        )
        outputs += found
        times += ms[: len(found)]
        reasons += remarks
        if failure is not None:
            break
        if progress is not None:
            progress(len(outputs))
    return SampleOutputs(
        outputs=tuple(outputs),
        reasons=tuple(dict.fromkeys(reasons)),
        failure=failure if samples else None,
        ms=tuple(times),
        secs=time.monotonic() - start,
    )


def _check_tool(flags: ToolFlags, tensor: InputTensor) -> None:
    if "input_layer_value_files" not in flags.names:
        raise ToolError(
            "this benchmark_model takes no input files and writes no outputs (LiteRT v2's tool does not). "
            "Give TFLite's: --benchmark-model PATH"
        )
    if "output_filepath" not in flags.names:
        raise ToolError(
            "this benchmark_model takes input files but cannot write outputs: it has no --output_filepath. "
            "TFLite 2.9's has none. Give a newer one of TFLite's: --benchmark-model PATH"
        )
    if "," in tensor.name:
        raise DeviceError(
            f"the input {tensor.name!r} has a comma in its name, which benchmark_model takes for the end of "
            "it. Rename the input of the Keras model, then export it again."
        )


def _run_chunk(
    session: Session,
    tool: LocalFile,
    flags: ToolFlags,
    request: RunRequest,
    tensor: InputTensor,
    samples: Sequence[bytes],
) -> tuple[list[bytes], str | None, list[str], list[float | None]]:
    """Outputs, the failure if any, why the outputs are not the requested ones, and each inference's ms."""
    inputs = [f"{session.folder}/in-{index}" for index in range(len(samples))]
    results = [f"{session.folder}/out-{index}" for index in range(len(samples))]
    session.phone.push(
        [Upload(content=each, remote=name) for each, name in zip(samples, inputs, strict=True)]
    )
    mark = secrets.token_hex(8)
    # one timed run: more would only cost time
    once = replace(request, num_runs=1, min_secs=0.0, warmup_min_secs=0.0)
    ours = command_flags(session, flags, once)
    commands = [
        shlex.join([session.path_of(tool), *_flags(ours, tensor, given, written)])
        for given, written in zip(inputs, results, strict=True)
    ]
    script = f"exec 2>&1; cd {session.folder} || exit 97; rm -f out-*; " + "".join(
        watched(command, mark) for command in commands
    )
    try:
        done = session.phone.shell(script, limit_secs=request.patience_secs)
    except TimeLimitError:
        session.end_tool()  # raises where it is the phone that is hung
        return [], Reason.HUNG.text(secs=f"{request.patience_secs:.0f}"), [], []
    except AnswerLimitError:
        session.end_tool()
        return [], Reason.PRINTED_WITHOUT_END.text(limit=ANSWER_LIMIT), [], []
    failure, reasons, times = _judge(done.output, mark, request)
    good = len(times)
    if failure is None and good < len(samples):
        failure = Reason.SHELL_ENDED.text(
            good=good, samples=counted(len(samples), "sample"), status=done.status
        )
    try:
        return session.phone.pull(results[:good]), failure, reasons, times
    except (StorageError, AnswerLimitError) as error:
        return [], Reason.NO_OUTPUT.text(why=error), reasons, []


def _judge(output: str, mark: str, request: RunRequest) -> tuple[str | None, list[str], list[float | None]]:
    """The first failure, why the outputs are not the requested ones, and the ms of the samples before it."""
    reasons: list[str] = []
    times: list[float | None] = []
    pieces = output.split(f"@@end {mark}")
    printed = pieces[0]
    for piece in pieces[1:]:
        status, rest = split_end(piece)
        try:
            report = parse_run(printed, status=status)
        except LogError as error:
            return str(error), reasons, times
        reasons += [*report.reasons, *delegate_reasons(report, request)]
        times.append(report.timed.avg_ms)
        printed = rest
    return None, reasons, times


def _flags(flags: Sequence[str], tensor: InputTensor, given: str, written: str) -> list[str]:
    return [
        *flags,
        f"--input_layer={tensor.name}",
        f"--input_layer_shape={','.join(map(str, tensor.shape))}",
        f"--input_layer_value_files={tensor.escaped_name}:{given}",
        f"--output_filepath={written}",
    ]
