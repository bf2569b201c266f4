"""Finds the weights that a training starts from, and fills a model's body with them: all but its head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.files import sha256_of
from models.build import build
from models.errors import CheckpointError
from models.registry import chosen_stem, family_of, resolve
from models.weights.arrays import read_arrays
from models.weights.catalogue import CHECKPOINTS, FREE_KNOBS, FROM_FILE, best_for, fits, knobs_with
from models.weights.fill import family_with, load_weights
from models.weights.here import local_file
from pipeline.errors import PipelineError, UsageError
from pipeline.records.training import read_record
from pipeline.runs import MODEL, RECORD, find_run, finished_runs
from pipeline.training.freeze import NONE, kept_layers
from spelling import did_you_mean

if TYPE_CHECKING:
    import keras

    from models.family import Checkpoint
    from pipeline.records.training import TrainConfig

IMAGENET = "imagenet"
"""The published ImageNet weights that suit the knobs best."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """The weights that a training starts from."""

    path: Path
    """A file of weights, or the model.keras of a run."""
    sha256: str
    knobs: Mapping[str, Any] = field(default_factory=dict)
    """Of the model that takes them: the file's, with the given ones in their place."""
    said: str
    """What they are, in words."""


def find_start(
    weights: str, family: str, given: Mapping[str, Any], *, runs: Path, freeze: str = NONE
) -> Start:
    """The weights that --weights names: imagenet, a published file's name, a path, or a run.

    Fetches a published file that is not on this machine, and tries whether a net with the given knobs takes
    them. Raises CheckpointError or PipelineError.
    """
    path = Path(weights)
    if path.is_file() and path.name == MODEL and (path.parent / RECORD).is_file():
        start = _from_run(path.parent, family, given)
    elif path.is_file() or (path.suffix and not path.is_dir() and weights not in CHECKPOINTS):
        start = _from_file(path, family, given)
    elif weights == IMAGENET or weights in CHECKPOINTS:
        start = _published(weights, family, given)
    else:
        start = _from_run(_run(weights, runs), family, given)
    model = build(family, **{**start.knobs, "num_classes": 2})
    kept_layers(model, family, freeze)
    fill_body(model, family, start.path)
    return start


def start_again(config: TrainConfig, model: keras.Model) -> None:
    """Fills the model's body as at the start of the run. PipelineError if the file has changed or is gone."""
    path = Path(str(config.weights))
    if not path.is_file() or sha256_of(path) != config.weights_sha256:
        raise PipelineError(
            f"the weights that the run starts from are not at {path} any more (sha256 "
            f"{str(config.weights_sha256)[:12]}). Put them back, or start a new training."
        )
    fill_body(model, str(config.family), path)


def fill_body(model: keras.Model, family: str, path: Path) -> None:
    """Fills every layer but the head, from a file of weights or a run's model.keras."""
    head = family_of(family).head
    if path.name != MODEL:
        load_weights(model, path, without=head)
        return
    from export.source.keras_file import load

    held = {layer.name: layer.get_weights() for layer in load(path).model.layers}
    for layer in model.layers:
        if layer.name == head:
            continue
        found = [array.shape for array in held.get(layer.name, ())]
        if found != [tuple(weight.shape) for weight in layer.weights]:
            raise CheckpointError(
                f"layer '{layer.name}' of {path} has weights of shapes {found}, and the net's have "
                f"{[tuple(weight.shape) for weight in layer.weights]}. Give a run of the same family and "
                "width, not compressed to fewer channels."
            )
        layer.set_weights(held.get(layer.name, []))


def _published(weights: str, family: str, given: Mapping[str, Any]) -> Start:
    from models.weights.fetch import fetched

    name = best_for(family, given) if weights == IMAGENET else weights
    if name is None:
        raise UsageError(
            f"there are no published ImageNet weights of {family} with these knobs. "
            "All that are known: pipeline weights"
        )
    checkpoint = CHECKPOINTS[name]
    if not fits(checkpoint, family, given):
        raise UsageError(
            f"the weights {name} are of {checkpoint.family} with {_words(checkpoint.knobs)}, and this is "
            f"{family} with {_words(given)}. Others: pipeline weights"
        )
    try:
        path = fetched(name, checkpoint)
    except CheckpointError as error:
        raise CheckpointError(f"{error}{_others_here(name, family, given)}") from error
    said = f"{name}" + (f", {checkpoint.top1:.1f}% top-1 on ImageNet" if checkpoint.top1 else "")
    return Start(path=path.absolute(), sha256=sha256_of(path), knobs=knobs_with(checkpoint, given), said=said)


def _from_file(path: Path, family: str, given: Mapping[str, Any]) -> Start:
    arrays = read_arrays(path)
    if (other := family_with(arrays)) is not None and other.name != family:
        raise UsageError(
            f"{path} holds weights of {other.name}, and a {family} is to be trained. Give a file of "
            f"{family}, or train a {other.name} from it."
        )
    same = _alike(path, tuple(arrays), family, given)
    conventions = [{name: each.knobs[name] for name in FROM_FILE if name in each.knobs} for each in same]
    if conventions and any(each != conventions[0] for each in conventions):
        raise UsageError(
            f"{path} could be one of several published files, which expect other pixels. "
            "Give --scale and --offset, or the file's name where it was published: pipeline weights"
        )
    pixels = conventions[0] if conventions else {}
    return Start(path=path.absolute(), sha256=sha256_of(path), knobs={**pixels, **given}, said=path.name)


def _alike(path: Path, names: tuple[str, ...], family: str, given: Mapping[str, Any]) -> list[Checkpoint]:
    """The published files that the file is one of, or is named like: they say what pixels it expects."""
    known = [each for each in family_of(family).checkpoints.values() if fits(each, family, given)]
    of_name = [each for each in known if each.file == path.name and not each.hub]
    from_keras = any("/vars/" in name or name.endswith(":0") for name in names)
    of_dialect = [each for each in known if bool(each.hub) is not from_keras]
    return of_name or of_dialect or known


def _from_run(run: Path, family: str, given: Mapping[str, Any]) -> Start:
    record = read_record(run / RECORD)
    config, path = record.config, run / MODEL
    if config.family != family:
        raise UsageError(
            f"the run {run.name} is a {config.family or 'model from elsewhere'}, and a {family} is to be "
            f"trained. Give a run of {family}."
        )
    if not path.is_file():
        raise PipelineError(f"the run {run} has lost its {MODEL}. Train it again, or give another run.")
    own = {name: value for name, value in config.knobs.items() if name not in FREE_KNOBS}
    asked = {name: given[name] for name in own if name in given and name not in FROM_FILE}
    if other := [name for name, value in asked.items() if value != own[name]]:
        raise UsageError(
            f"the run {run.name} has {_words({name: own[name] for name in other})}, and "
            f"{_words({name: given[name] for name in other})} was given. Leave that out, or give another run."
        )
    stem = {"stem": chosen_stem(config.knobs)}
    knobs = {**own, **stem, "image_size": config.knobs["image_size"], **given}
    resolve(family, knobs)
    return Start(path=path.absolute(), sha256=sha256_of(path), knobs=knobs, said=f"the run {run.name}")


def _run(weights: str, runs: Path) -> Path:
    if (Path(weights) / RECORD).is_file() or (runs / weights).is_dir():
        return find_run(weights, runs)
    known = [*CHECKPOINTS, *(run.name for run in finished_runs(runs)), IMAGENET]
    raise UsageError(
        f"there are no weights '{weights}': expected {IMAGENET}, the name of a published file, a path or a "
        f"run. {did_you_mean(weights, known)}Published ones: pipeline weights"
    )


def _others_here(name: str, family: str, given: Mapping[str, Any]) -> str:
    """The published files that would do and are on this machine, as an advice; empty if there is none."""
    here = [
        other
        for other, each in family_of(family).checkpoints.items()
        if other != name and fits(each, family, given) and local_file(each) is not None
    ]
    return f" On this machine is: --weights {here[0]}" if here else ""


def _words(knobs: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in knobs.items()) or "its defaults"
