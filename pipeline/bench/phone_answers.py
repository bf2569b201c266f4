"""Accuracy on the phone, for each delegate: the file's outputs there compared with those on the host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from android_bench.phone.session import LocalFile, Session
from android_bench.reasons import Reason
from android_bench.tool.outputs import CHUNK, InputTensor, SampleOutputs, run_samples
from android_bench.tool.runner import RunRequest, ToolFlags
from export.artifact import ExportArtifact, TensorInfo, check_described
from export.check.predictions import PredictionLog
from export.check.runner import Runner, check_runs, is_finite, real_values, stored_input
from export.check.tally import has_labels, held_labels, mean_average_precision
from export.head import Head, HeadKind
from export.tflite.content import FileContents
from export.tflite.inspect import inspect
from export.tflite.output import gives_probabilities, head_of_file
from pipeline.bench.fleet import FleetPhone
from pipeline.bench.settings import BenchSettings
from pipeline.class_names import MatchedClasses
from pipeline.data.dataset import Dataset
from pipeline.data.spec import ImageShape
from pipeline.errors import PipelineError
from pipeline.records.phone_verification import PhoneVerification
from pipeline.store.predictions import KeptPredictions
from spelling import counted

Floats = npt.NDArray[np.float32]

SLOWEST = 5.0
"""A sample that takes this many times as long as the first counts as hung."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Images of a data set and the file's outputs for them on the host."""

    path: Path
    contents: FileContents
    dataset: Dataset
    split: str
    images: Floats
    labels: npt.NDArray[np.int64]
    """Numbers of outputs."""
    names: tuple[str, ...]
    """Of each image the path of its file, or its place in an array."""
    class_names: tuple[str, ...]
    """Of the outputs."""
    classes_matched: str
    """In words."""
    here: Floats
    """(n, classes), dequantized."""


def answer_here(
    path: Path,
    artifact: ExportArtifact,
    dataset: Dataset,
    matched: MatchedClasses,
    *,
    split: str,
    num_samples: int,
    seed: int,
) -> Samples:
    """Runs a file in LiteRT on the host on samples of a split, the classes in turn.

    PipelineError without samples, ExportError for a file that is not the one its sidecar describes.
    """
    contents = inspect(path)
    check_described(path, artifact, contents.sha256)
    check_runs(path)
    shape = ImageShape(*artifact.input.shape[1:])
    pixels, labels, names = dataset.named_samples(split, image_size=shape, num_samples=num_samples, seed=seed)
    if not len(labels):
        raise PipelineError(
            f"the split '{split}' of {dataset.spec.name} has no images. Choose another --split."
        )
    images = pixels.astype(np.float32)
    return Samples(
        path=path,
        contents=contents,
        dataset=dataset,
        split=split,
        images=images,
        labels=matched.labels(labels),
        names=names,
        class_names=tuple(artifact.class_names),
        classes_matched=matched.words,
        here=Runner(path, contents).outputs(images),
    )


def answer_there(
    session: Session,
    member: FleetPhone,
    flags: ToolFlags,
    samples: Samples,
    *,
    delegate: str,
    budget_secs: float,
    progress: Callable[[int, int], None],
) -> tuple[PhoneVerification, KeptPredictions | None]:
    """Runs the samples on the phone, as many as fit into budget_secs, and compares. `flags`: runner.prepare.

    Each sample is one process: the first is timed to find how many fit. Calls progress(done, total). The
    result of a delegate that fails or takes no nodes is not valid, with the reason. Beside it is what phone
    and host say of each image, if the phone gave any output.
    """
    model = LocalFile(path=samples.path, sha256=samples.contents.sha256)
    session.put([model])
    request = one_run(model, samples.contents.size_bytes, delegate)
    stored = [each.tobytes() for each in stored_input(samples.images, samples.contents.inputs[0].dtype)]

    def run(chosen: list[bytes], done: int, total: int, *, more_secs: float = 0.0) -> SampleOutputs:
        return run_samples(
            session,
            member.tool,
            flags,
            replace(request, patience_secs=request.patience_secs + more_secs),
            tensor=input_tensor(samples.contents),
            samples=chosen,
            progress=lambda more: progress(done + more, total),
        )

    first = run(stored[:1], 0, 1)
    fitting = max(1, min(len(stored), int(budget_secs / max(first.secs, 1e-3))))
    rest = None
    if first.failure is None and fitting > 1:
        rest = run(stored[1:fitting], 1, fitting, more_secs=SLOWEST * CHUNK * first.secs)
    return _compared(member, samples, delegate, first, rest)


def _compared(
    member: FleetPhone,
    samples: Samples,
    delegate: str,
    first: SampleOutputs,
    rest: SampleOutputs | None,
) -> tuple[PhoneVerification, KeptPredictions | None]:
    parts = [first, *([rest] if rest else [])]
    raw = [output for part in parts for output in part.outputs]
    there = dequantized(raw, samples.contents.outputs[0])
    count = len(raw)
    reasons = [
        reason for part in parts for reason in (*part.reasons, *([part.failure] if part.failure else []))
    ]
    here, labels = samples.here[:count], samples.labels[:count]
    head = head_of_file(samples.contents)
    there_finite, here_finite = is_finite(there), is_finite(here)
    both = there_finite & here_finite
    if not there_finite.all():
        reasons.append(
            Reason.NOT_FINITE.text(number=int((~there_finite).sum()), samples=counted(count, "sample"))
        )
    found = PhoneVerification(
        artifact_sha256=samples.contents.sha256,
        path=str(samples.path),
        where=member.info.where,
        machine=member.info.machine,
        delegate=delegate,
        tool_sha256=member.tool.sha256,
        dataset=samples.dataset.spec.name,
        dataset_fingerprint=samples.dataset.spec.fingerprint,
        split=samples.split,
        num_samples=count,
        phone_top1=_percent(there_finite & head.are_right(there, labels)),
        host_top1=_percent(here_finite & head.are_right(here, labels)),
        phone_average_precision=_average_precision(head, there, labels, there_finite),
        host_average_precision=_average_precision(head, here, labels, here_finite),
        is_on_classes=head.kind is HeadKind.LABELS and labels.ndim == 1,
        agreement=_percent(both & (head.decisions(there) == head.decisions(here)).all(axis=1)),
        max_abs_difference=float(np.abs(there - here)[both].max()) if both.any() else None,
        secs_per_sample=sum(part.secs for part in parts) / max(count, 1),
        valid=not reasons,
        reasons=tuple(dict.fromkeys(reasons)),
        verified_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        classes_matched=samples.classes_matched,
    )
    if not count:
        return found, None
    log = PredictionLog()
    log.add(head, here, there, labels, are_probabilities=gives_probabilities(samples.contents))
    return found, KeptPredictions(
        artifact_sha256=found.artifact_sha256,
        dataset=found.dataset,
        dataset_fingerprint=found.dataset_fingerprint,
        split=found.split,
        where=f"{found.where} {delegate}",
        class_names=samples.class_names,
        images=samples.names[:count],
        found=log.predictions(),
    )


def one_run(model: LocalFile, size_bytes: int, delegate: str, *, warmup_runs: int = 0) -> RunRequest:
    """One timed inference of a file, for run_samples."""
    return RunRequest(
        model=model,
        size_bytes=size_bytes,
        num_threads=1,
        delegate=delegate,
        mask=None,
        num_runs=1,
        min_secs=0.0,
        max_secs=30.0,
        warmup_runs=warmup_runs,
        warmup_min_secs=0.0,
        patience_secs=BenchSettings().patience_secs,
    )


def input_tensor(contents: FileContents) -> InputTensor:
    """The file's input, of one image."""
    found = contents.inputs[0]
    return InputTensor(name=found.name, shape=(1, *found.shape[1:]))


def dequantized(raw: list[bytes], output: TensorInfo) -> Floats:
    """(n, classes) from the output tensors' raw bytes. PipelineError for a wrong size."""
    classes = int(output.shape[-1])
    dtype = np.dtype(output.dtype)
    found = np.empty((len(raw), classes), np.float32)
    for index, content in enumerate(raw):
        if len(content) != classes * dtype.itemsize:
            raise PipelineError(
                f"the phone wrote an output of {len(content)} bytes where {classes * dtype.itemsize} were "
                "expected. Only files with one output of one score a class can be verified there."
            )
        found[index] = real_values(np.frombuffer(content, dtype), output.scale, output.zero_point)
    return found


def _average_precision(
    head: Head, outputs: Floats, labels: npt.NDArray[np.int64], finite: npt.NDArray[np.bool_]
) -> float | None:
    """Percent, of outputs that are judged label by label; None for others, and without samples."""
    if not len(labels) or not has_labels(head, labels):
        return None
    scores = np.where(finite[:, None], outputs, -np.inf).astype(np.float32)
    return mean_average_precision(scores, held_labels(labels, head.num_classes))


def _percent(right: npt.NDArray[np.bool_]) -> float | None:
    return 100.0 * float(right.mean()) if len(right) else None
