"""`pipeline compress --max-drop`: the cheapest way to an int8 file that is accurate enough."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from export.pixel_conventions import convention_of
from pipeline.commands.export import what_to_verify
from pipeline.commands.output import print_records, print_table, say, stages, table
from pipeline.errors import UsageError
from pipeline.lineage import is_keras_model
from pipeline.runs import runs_folder, setting_of
from pipeline.shell import quoted, quoted_value
from pipeline.steps.settings import MaxDropSettings
from spelling import counted

if TYPE_CHECKING:
    from pipeline.compression.ladder import Candidate, Climb, Try
    from pipeline.lineage import KerasSource
    from pipeline.records.compression import CompressConfig


def write_int8_within(source: KerasSource, settings: MaxDropSettings, *, as_json: bool) -> int:
    """Writes the first int8 file within the allowed loss, else the best; returns 1 if none is within it."""
    _refuse_own_quantizers(source, settings.max_drop)
    with stages() as progress:
        from pipeline.steps.max_drop import int8_within

        written = int8_within(source, settings, runs=runs_folder(), progress=progress)
    found, path = written.climb, written.path
    if as_json:
        print_records(found.tries)
    else:
        _print(found, written.dataset)
    for each in found.tries:
        if each.refused:
            say(f"pipeline: {each.rung} gave no file: {each.refused}")
    if written.kept is not None:
        say(f"{written.kept.path.name} {written.kept.history}, and stays; --force replaces it.")
    if written.replaced is not None:
        say(f"pipeline: {written.replaced.words}")
    taken = next(each for each in found.tries if each.taken)
    if found.taken.artifact.input.shape[-1] == 3:  # it takes RGB alone
        say(f"the same for MediaPipe, which wants uint8: pipeline export {_settings(found.taken)}")
    if found.holds:
        verified = what_to_verify(found.taken.source, path.parent)
        say(f"took {taken.rung}: {taken.words}. Wrote {path}. Next: pipeline verify {verified}")
        return 0
    say(
        f"pipeline: nothing loses {counted(settings.max_drop, 'point')} or less; the best, {taken.rung}, "
        "loses "
        f"{taken.drop_points:.2f} and is kept as {path}. "
        + _next(found.tries, taken, trains=settings.training is not None)
    )
    return 1


def _refuse_own_quantizers(source: KerasSource, max_drop: float) -> None:
    """Refuses a run with its own quantizers: its ranges come from training, so nothing cheap can be tried."""
    if source.compression is None or not source.compression.is_quantized:
        return
    how = "clustered" if source.compression.cluster is not None else "trained quantized"
    raise UsageError(
        f"{source.export_folder.parent.name} was {how}: its int8 file uses its own trained quantizers, and "
        f"only more training can improve it. Compress {source.compression.parent} again with more "
        f"--epochs, or give that one: pipeline compress {_parent(source, source.compression)} "
        f"--max-drop {max_drop:g}"
    )


def _parent(source: KerasSource, config: CompressConfig) -> str:
    """The arguments with which `pipeline compress` takes the model that a run was compressed from."""
    if source.family is not None or not is_keras_model(config.parent):
        return quoted(config.parent)
    return _file_in_words(config.parent, config.data, setting_of(source.model_path.parent, "pixels"))


def _file_in_words(path: str, data: str, pixels: Mapping[str, Any]) -> str:
    fed = f" {convention_of(pixels).exact_options}" if pixels else ""
    return f"{quoted(path)} --data {quoted(data)}{fed}"


def _settings(taken: Candidate) -> str:
    """The options with which `pipeline export` makes the file again, with uint8 input."""
    source, artifact = taken.source, taken.artifact
    if source.family is not None or source.compression is not None:
        model = quoted(source.export_folder.parent.name)
    else:
        model = _file_in_words(str(source.model_path), str(source.data), source.knobs)
    words = [model, "--int8", "--io-dtype uint8"]
    if artifact.calibration is not None:
        settings, images = artifact.settings, artifact.calibration.data
        words += [f"--calibration {quoted(images)}"] if images else []
        words.append(f"--num-calibration {settings.num_calibration}")
        words += [f"--seed {settings.seed}"] if settings.seed else []
        words += ["--typical"] if settings.typical else []
        words += ["--equalize"] if settings.equalize else []
        words += [f"--keep-float {quoted_value(name)}" for name in artifact.float_layers]
    return " ".join(words)


def _print(found: Climb, dataset: str) -> None:
    numbers = ["lost", "bytes", "downloaded", "ms"]
    rows = table("tried", *numbers, "verdict", numbers=numbers)
    for each in found.tries:
        rows.add_row(
            each.rung,
            "-" if each.drop_points is None else f"{each.drop_points:+.2f}",
            "-" if each.size_bytes is None else f"{each.size_bytes:,}",
            "-" if each.downloaded_bytes is None else f"{each.downloaded_bytes:,}",
            "-" if each.median_ms is None else f"{each.median_ms:.3g}",
            _verdict(each),
        )
    print_table(rows)
    for each in found.tries:
        click.echo(f"{each.rung}: {each.words} ({each.seconds:,.0f} s)")
    click.echo(
        f"float: {found.float_top1:.2f}% of "
        f"{counted(found.taken.verification.num_samples, 'validation image')} of "
        f"{dataset}; lost in percentage points; ms median, one thread, here"
    )


def _verdict(each: Try) -> str:
    if each.refused:
        return "no file"
    return ("holds" if each.holds else "too much") + (", taken" if each.taken else "")


def _next(tries: Sequence[Try], taken: Try, *, trains: bool) -> str:
    if not trains:
        return "Next: the same without --no-qat, which trains it quantized."
    if any(each.rung == "qat" and each.refused for each in tries):
        return "Next: fix what kept it from being trained quantized, or allow more."
    enough = math.ceil(10 * (taken.drop_points or 0.0)) / 10
    return f"Next: more --epochs, another --learning-rate, or a larger --max-drop, such as {enough:g}."
