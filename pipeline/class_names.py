"""Matches a model's outputs with a data set's classes, by name, or by number if the model has no names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from export.artifact import ExportArtifact
from pipeline.errors import PipelineError
from spelling import counted, some

if TYPE_CHECKING:
    import numpy.typing as npt

BACKGROUND = "background"
"""The first of 1001 outputs of a model trained on ImageNet's 1000 classes and a background class."""
_WHAT_TO_DO = (
    "Give the data set that the model was trained on: --data NAME or FOLDER; or name each "
    "output as the data set names its class: --labels FILE, of export, or of verify for others' files."
)


@dataclass(frozen=True, kw_only=True)
class MatchedClasses:
    """The outputs of a model that a data set's classes were matched with."""

    outputs: tuple[int, ...]
    """Label of the data set -> number of the output."""
    words: str
    """The number matched, and how, such as '10 of 10 classes of the data set matched by name'."""
    num_classes: int
    """Of the model."""

    def labels(self, labels: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Labels of the data set as numbers of outputs; (n, classes) of 0 and 1 with a column an output."""
        if np.ndim(labels) == 2:
            held = np.asarray(labels)
            columns = np.zeros((len(held), self.num_classes), np.int64)
            columns[:, list(self.outputs)] = held
            return columns
        numbers: npt.NDArray[np.int64] = np.asarray(self.outputs, np.int64)[np.asarray(labels)]
        return numbers

    def batches(self, batches: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, npt.NDArray[np.int64]]]:
        """(images, labels) with the labels as numbers of outputs."""
        for images, labels in batches:
            yield images, self.labels(labels)


def match_classes(
    of_model: Sequence[str], of_data: Sequence[str], *, name: str, advice: str = _WHAT_TO_DO
) -> MatchedClasses:
    """The output of each class of a data set. `name` is the model's; `advice` ends an error.

    Names match exactly, or else without regard to case, blanks, hyphens and underscores. A data set may have
    fewer classes than the model. A model whose names are 0, 1, 2 ... counts as unnamed: the number of classes
    must agree. Raises PipelineError if a class cannot be matched.
    """
    if is_unnamed(of_model) and tuple(of_model) != tuple(of_data):
        if len(of_model) != len(of_data):
            raise PipelineError(
                f"{name} has {counted(len(of_model), 'output')} without class names, the data set has "
                f"{counted(len(of_data), 'class', 'classes')}: they cannot be matched. {advice}"
            )
        return MatchedClasses(
            outputs=tuple(range(len(of_data))),
            words="classes matched by number",
            num_classes=len(of_model),
        )
    return _by_name(of_model, of_data, name=name, advice=advice)


def match_known(
    of_model: Sequence[str], of_data: Sequence[str], *, name: str, advice: str = _WHAT_TO_DO
) -> MatchedClasses:
    """The same for a model trained on a data set with these names: numbers are names then."""
    match = match_classes if is_unnamed(of_data) else _by_name
    return match(of_model, of_data, name=name, advice=advice)


def match_file(artifact: ExportArtifact, of_data: Sequence[str]) -> MatchedClasses:
    """The same for an exported file, which may hold an app's names (--labels) and the data set's own.

    For a run of ours the data set's own names are known to be right, also if they are numbers and another
    data set has names. For a model from elsewhere they were only given at export, so the names in the labels
    file decide.
    """
    both = [artifact.dataset_class_names, artifact.class_names]
    num_outputs = len(artifact.class_names)
    names = [each for each in both if each is not None and len(each) == num_outputs]
    is_ours = artifact.family is not None
    *others, last = names if is_ours else reversed(names)
    match = match_known if is_ours else match_classes
    for each in others:
        try:
            return match(each, of_data, name=artifact.path)
        except PipelineError:
            continue
    return match(last, of_data, name=artifact.path)


def check_same_classes(of_model: Sequence[str], of_data: Sequence[str], *, name: str) -> None:
    """Raises PipelineError unless a model's outputs are a data set's classes in order, as training needs."""
    if tuple(of_model) == tuple(of_data) or (is_unnamed(of_model) and len(of_model) == len(of_data)):
        return
    raise PipelineError(
        f"{name} has the classes {_few(of_model)}, the data set has {_few(of_data)}. "
        "Give the data set that the model was trained on: --data NAME or FOLDER."
    )


def is_unnamed(names: Sequence[str]) -> bool:
    """Whether these are numbers, as in a file exported without data set and labels."""
    return tuple(names) == tuple(map(str, range(len(names))))


def _by_name(
    of_model: Sequence[str], of_data: Sequence[str], *, name: str, advice: str = _WHAT_TO_DO
) -> MatchedClasses:
    if tuple(of_model) == tuple(of_data):
        found: list[int | None] = list(range(len(of_data)))
    else:
        exact, plain = _only(of_model), _only([_plain(each) for each in of_model])
        found = [exact.get(each, plain.get(_plain(each))) for each in of_data]
    outputs = [each for each in found if each is not None]
    missing = [each for each, output in zip(of_data, found, strict=True) if output is None]
    if missing or len(set(outputs)) < len(outputs):
        shared = [of_data[label] for label, output in enumerate(found) if output in _twice(outputs)]
        reason = f"no output is {_few(missing)}" if missing else f"one output is each of {_few(shared)}"
        raise PipelineError(
            f"{name} has the classes {_few(of_model)}, the data set has {_few(of_data)}: {len(outputs)} of "
            f"{counted(len(of_data), 'class', 'classes')} matched by name, {reason}. {advice}"
        )
    words = f"{len(outputs):,} of {counted(len(of_data), 'class', 'classes')} of the data set matched by name"
    words += _others(of_model, outputs)
    return MatchedClasses(outputs=tuple(outputs), words=words, num_classes=len(of_model))


def _only(names: Sequence[str]) -> dict[str, int]:
    """Name -> its index, for names that occur once."""
    times = Counter(names)
    return {name: place for place, name in enumerate(names) if times[name] == 1}


def _twice(outputs: Sequence[int]) -> set[int]:
    return {output for output, number in Counter(outputs).items() if number > 1}


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name.strip()).casefold()


def _others(of_model: Sequence[str], outputs: Sequence[int]) -> str:
    """Describes the outputs that are no class of the data set."""
    left = len(of_model) - len(outputs)
    if left == 1 and 0 not in outputs and BACKGROUND in _plain(of_model[0]):
        return f"; output 0 is '{of_model[0]}'"
    return f"; the model has {left} more" if left else ""


def _few(names: Sequence[str]) -> str:
    return some(names, most=4)
