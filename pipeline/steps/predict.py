"""Exported files on images without labels: the likeliest classes of each, and how long it took."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from android_bench.errors import DeviceError, ToolError
from android_bench.phone.session import LocalFile, Session
from android_bench.tool.outputs import run_samples
from android_bench.tool.runner import prepare
from export.artifact import has_sidecar
from export.check.foreign import read_foreign
from export.check.predictions import class_probabilities
from export.check.runner import Floats, Runner, check_runs, is_finite, stored_input
from export.check.verify import check_sidecar
from export.head import Head, HeadKind
from export.tflite.content import FileContents, signatures_in_words
from export.tflite.inspect import inspect
from export.tflite.output import gives_probabilities, head_of_file
from pipeline.bench.fleet import FleetPhone
from pipeline.bench.phone_answers import dequantized, input_tensor, one_run
from pipeline.data import pixels
from pipeline.data.spec import ImageShape
from pipeline.data.tree import read_tree, shown
from pipeline.errors import PipelineError, UsageError
from pipeline.lineage import artifact_of
from pipeline.progress import Doing, Note, Progress, silent
from pipeline.records.prediction import ClassShare, ImagePrediction
from pipeline.steps.foreign import class_names_of, fed_pixels
from pipeline.steps.settings import PredictSettings
from spelling import counted

Stored = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class _Classifier:
    """A file, and what it needs to be asked about an image."""

    path: Path
    contents: FileContents
    head: Head
    class_names: tuple[str, ...]
    shape: ImageShape
    stored: Callable[[Floats], Stored]

    def classes(self, outputs: Floats, top: int) -> tuple[ClassShare, ...]:
        """The likeliest classes of one image's (outputs,); empty where one is no number."""
        one = outputs[np.newaxis]
        if not is_finite(one).all():
            return ()
        gives = gives_probabilities(self.contents)
        (shares,) = class_probabilities(self.head, one, are_probabilities=gives)
        (holds,) = self.head.decisions(one)
        order = np.lexsort((-shares, ~holds))  # of two classes at 0.5 the one that the file names
        return tuple(
            ClassShare(
                name=self.class_names[place], probability=float(shares[place]), holds=bool(holds[place])
            )
            for place in order[:top].tolist()
        )


def image_files(targets: Sequence[Path]) -> list[Path]:
    """The files that are given, and all below the folders that are. UsageError for what is not there."""
    files: list[Path] = []
    for target in targets:
        if target.is_dir():
            below = [folder.path / name for folder in read_tree(target, []).below() for name in folder.images]
            if not below:
                raise UsageError(f"the folder {target} holds no image. Give images, or a folder of them.")
            files.extend(sorted(below))
        elif target.is_file():
            files.append(target)
        else:
            raise UsageError(f"there is no image or folder {target}. Check the path.")
    return list(dict.fromkeys(files))


def predict(
    files: Sequence[Path],
    images: Sequence[Path],
    settings: PredictSettings | None = None,
    *,
    progress: Progress = silent,
) -> Iterator[ImagePrediction]:
    """Yields what each file says of each image. An image that cannot be read has the reason instead.

    Images are turned into pixels as in training and verification. One image runs at a time, with one thread,
    after one inference that is not counted.
    """
    settings = settings or PredictSettings()
    for classifier in [_classifier(path, settings, progress) for path in files]:
        runner = Runner(classifier.path, classifier.contents, stored=classifier.stored)
        runner.outputs(np.zeros((1, *classifier.shape), np.float32))
        blank = _blank(classifier, where="host", delegate="cpu")
        for image, found in _read(images, classifier.shape):
            if isinstance(found, str):
                yield dataclasses.replace(blank, image=shown(image), problem=found)
                continue
            outputs = runner.outputs(found[np.newaxis])[0]
            yield _answered(classifier, blank, image, outputs, 1000 * runner.invoke_secs, settings.top)


def predict_on_phones(
    files: Sequence[Path],
    images: Sequence[Path],
    fleet: Sequence[FleetPhone],
    settings: PredictSettings,
    *,
    progress: Progress = silent,
) -> Iterator[ImagePrediction]:
    """Yields the same of the phones, each image in its own process of benchmark_model there, warmed up once.

    A phone that is lost has the reason in place of its answers.
    """
    classifiers = [_classifier(path, settings, progress) for path in files]
    for member in fleet:
        where = member.info.where
        try:
            with Session(member.phone) as session:
                flags = prepare(session, member.tool)
                for classifier in classifiers:
                    for delegate in settings.delegates:
                        progress(Doing(f"running {classifier.path.name} with {delegate} on {where}"))
                        blank = _blank(classifier, where=where, delegate=delegate)
                        yield from _there(session, member, flags, classifier, blank, images, settings.top)
        except (DeviceError, ToolError, PipelineError) as error:
            if len(fleet) == 1:
                raise
            progress(Note(f"pipeline: gave up {where}: {error}"))


def _there(
    session: Session,
    member: FleetPhone,
    flags: Any,  # noqa: ANN401 - runner.ToolFlags
    classifier: _Classifier,
    blank: ImagePrediction,
    images: Sequence[Path],
    top: int,
) -> Iterator[ImagePrediction]:
    contents = classifier.contents
    model = LocalFile(path=classifier.path, sha256=contents.sha256)
    session.put([model])
    request = one_run(model, contents.size_bytes, blank.delegate, warmup_runs=1)
    for image, found in _read(images, classifier.shape):
        if isinstance(found, str):
            yield dataclasses.replace(blank, image=shown(image), problem=found)
            continue
        sample = classifier.stored(found[np.newaxis])[0].tobytes()
        there = run_samples(
            session, member.tool, flags, request, tensor=input_tensor(contents), samples=[sample]
        )
        problem = "; ".join(dict.fromkeys([*there.reasons, *([there.failure] if there.failure else [])]))
        if not there.outputs:
            yield dataclasses.replace(blank, image=shown(image), problem=problem)
            continue
        (outputs,) = dequantized(list(there.outputs), contents.outputs[0])
        answer = _answered(classifier, blank, image, outputs, there.ms[0], top)
        yield dataclasses.replace(answer, problem=problem or answer.problem)


def _classifier(path: Path, settings: PredictSettings, progress: Progress) -> _Classifier:
    progress(Doing(f"reading {path}"))
    if has_sidecar(path):
        if settings.pixels or settings.labels:
            raise UsageError(
                f"--scale, --offset, --channels and --labels are for files without a sidecar: that of {path} "
                "says them. Leave them out."
            )
        artifact = artifact_of(path)
        check_sidecar(path, artifact)
        check_runs(path)
        contents = inspect(path)
        return _Classifier(
            path=path,
            contents=contents,
            head=head_of_file(contents),
            class_names=tuple(artifact.class_names),
            shape=ImageShape(*contents.inputs[0].shape[1:]),
            stored=lambda images: stored_input(images, contents.inputs[0].dtype),
        )
    file = read_foreign(path)
    if said := signatures_in_words(file.contents):
        progress(Note(f"{path.name}: {said}"))
    fed = fed_pixels(file, settings)
    if not settings.pixels:
        why = f" ({file.pixels_from})" if file.pixels_from else ", for want of a word in the file"
        progress(Note(f"{path.name}: pixels taken as {fed}{why}. Others: --scale, --offset."))
    return _Classifier(
        path=path,
        contents=file.contents,
        head=file.head,
        class_names=class_names_of(file, settings.labels),
        shape=ImageShape(*file.shape),
        stored=lambda images: file.stored(fed(images)),
    )


def _read(images: Sequence[Path], shape: ImageShape) -> Iterator[tuple[Path, Floats | str]]:
    """Each image's pixels, or why there are none; those stored in 16 bits last, when their bits are known."""
    pixels.quiet_pillow()
    peaks: dict[Path, int] = {}
    for image in images:
        try:
            decoded = pixels.decode(image.read_bytes(), at_least=max(shape[:2]) * pixels.OVERSAMPLE)
            if decoded.peak is None:
                yield image, pixels.resize(decoded.image, shape).astype(np.float32)
            else:
                peaks[image] = decoded.peak
        except (OSError, pixels.UnreadableImageError) as error:
            yield image, _reason(error)
    depth = pixels.depth_of(peaks.values())
    for image in peaks:
        try:
            yield image, pixels.from_bytes(image.read_bytes(), shape, depth=depth).astype(np.float32)
        except (OSError, pixels.UnreadableImageError) as error:
            yield image, _reason(error)


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _blank(classifier: _Classifier, *, where: str, delegate: str) -> ImagePrediction:
    return ImagePrediction(
        file=str(classifier.path),
        artifact_sha256=classifier.contents.sha256,
        image="",
        where=where,
        delegate=delegate,
        has_labels=classifier.head.kind is HeadKind.LABELS,
    )


def _answered(
    classifier: _Classifier,
    blank: ImagePrediction,
    image: Path,
    outputs: Floats,
    ms: float | None,
    top: int,
) -> ImagePrediction:
    classes = classifier.classes(outputs, top)
    number = counted(len(outputs), "output")
    return dataclasses.replace(
        blank,
        image=shown(image),
        classes=classes,
        ms=ms,
        problem="" if classes else f"the file gives NaN or infinite values ({number})",
    )
