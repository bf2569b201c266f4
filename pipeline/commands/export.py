"""`pipeline export`: converts a trained model into .tflite files with their sidecars."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from export.artifact import ExportArtifact
from export.precisions import Precision
from export.settings import ExportSettings, settings_for
from pipeline.commands.calibration import calibration_option
from pipeline.commands.newest import say_newest
from pipeline.commands.output import json_option, print_records, print_table, say, stages, table
from pipeline.commands.phones.options import given, option_name
from pipeline.commands.pixels import NAMES, pixel_options
from pipeline.data.registry import check_there
from pipeline.errors import UsageError
from pipeline.lineage import find_source, with_pixels
from pipeline.runs import runs_folder
from pipeline.shell import quoted
from spelling import counted

if TYPE_CHECKING:
    from pipeline.lineage import KerasSource
    from pipeline.steps.export import Exported, Place

_SETTINGS = [field.name for field in fields(ExportSettings) if field.name not in ("precision", "rewrites")]
"""Options with the name of their setting."""

_BESIDE_LIKE = ("like", "target", "data", "calibration", "out", "as_json", "android_kit", "force")
"""Options that a sidecar does not record, and that --like therefore allows."""


def _default(setting: str) -> Any:  # noqa: ANN401
    return next(field.default for field in fields(ExportSettings) if field.name == setting)


def _precision_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """A flag for each precision."""
    for each in reversed(Precision):
        names = [f"--{name}" for name in (each.value, *each.spec.aliases)]
        command = click.option(*names, each.value, is_flag=True, help=each.spec.help)(command)
    return command


@click.command(name="export", short_help="Export a trained model to TFLite files.")
@click.argument("target", required=False, metavar="[RUN|MODEL]")
@_precision_options
@click.option("--data", metavar="NAME|FOLDER", help="The training's images.  [default: those of the run]")
@calibration_option
@click.option(
    "--num-calibration",
    type=click.IntRange(min=1),
    default=_default("num_calibration"),
    show_default=True,
    help="Training images that the ranges are read from, as many of each class.",
)
@click.option("--seed", type=int, default=_default("seed"), show_default=True, help="Which images these are.")
@click.option("--typical", is_flag=True, help="Leave out the 5% of them that widen the ranges most.")
@click.option("--keep-names", is_flag=True, help="Leave the tensors' names in the file.  [default: sidecar]")
@click.option(
    "--sparse", is_flag=True, help="Store pruned 1x1 convolutions of --float32 for XNNPACK's sparse kernels."
)
@click.option(
    "--equalize/--no-equalize",
    default=None,
    help="--int8: bring channels to one range and correct biases.  [default: each where it lowers the error]",
)
@click.option(
    "--keep-float", multiple=True, metavar="LAYER", help="--int8: leave a layer in float; may be repeated."
)
@click.option("--logits", is_flag=True, help="End in the class scores, without softmax or sigmoid.")
@click.option(
    "--rewrite/--no-rewrite",
    default=True,
    show_default=True,
    help="Fold BatchNorm, write it as a 1x1 depthwise convolution, drop what does nothing; proven equal.",
)
@click.option(
    "--io-dtype",
    type=click.Choice(["int8", "uint8"]),
    help="Input and output of --int8.  [default: int8; for --android-kit uint8, which MediaPipe needs]",
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Class names for the app, one a line in the order of the outputs, or JSON.  "
    "[default: the training's]",
)
@click.option(
    "--android-kit",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Also write what an Android app needs: file, labels, Gradle lines, Kotlin, README.",
)
@pixel_options
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder.  [default: the run's export/]"
)
@click.option("--force", is_flag=True, help="Replace files that were verified, measured or put into a kit.")
@click.option(
    "--like",
    type=click.Path(path_type=Path),
    metavar="FILE.json",
    help="Make a file again from its sidecar: same model, settings and images, the same bytes.",
)
@json_option
@click.pass_context
def command(context: click.Context, /, *, as_json: bool, **options: Any) -> int:  # noqa: ANN401
    """Export a trained model to TFLite files.

    RUN is a run's name or folder (default: the newest), MODEL a model of your own: a .keras or .h5 file of
    Keras 3 or 2, or a SavedModel's folder. Without a precision, float32 and int8 are exported. Every file
    takes raw 0-255 RGB; its sidecar (.json) says how.

    \b
    pipeline export --int8
    pipeline export mobilenet_alpha0.5_160-photos-1 --float32 --float16 --dynamic --int8 --int16x8
    pipeline export mine.keras --int8 --data photos/ --scale 0.00784314 --offset -1
    pipeline export mine.keras --int8 --calibration camera-roll/ --labels names.txt
    pipeline export --int8 --labels names.txt --android-kit app-kit
    pipeline export --like runs/mobilenet_alpha0.5_160-photos-1/export/mobilenet_alpha0.5_160_int8.json
    """

    exported = _exported_like(context) if options["like"] is not None else _exported(**context.params)
    artifacts, folder = exported.artifacts, exported.folder
    if as_json:
        print_records(artifacts)
    elif artifacts:
        _print(artifacts)
    for message in exported.notes:
        say(message)
    for message in exported.refused:
        say(f"pipeline: {message}")
    _say_what_sparse_brings(artifacts, folder)
    if any(each.input.dtype == "int8" and each.input.shape[-1] == 3 for each in artifacts):
        say("MediaPipe's ImageClassifier refuses int8 input: for an app that uses it, give --io-dtype uint8.")
    if exported.kit:
        kit = options["android_kit"]
        say(f"wrote an Android kit of {exported.kit} in {kit}. Next: read {kit / 'README.md'}")
    if exported.unchanged:
        say(f"unchanged, the same bytes as before: {', '.join(exported.unchanged)}")
    for replaced in exported.replaced:
        say(f"pipeline: {replaced.words}")
    if artifacts and not as_json:
        count = counted(len(artifacts), "file")
        say(f"wrote {count} in {folder}. Next: pipeline verify {what_to_verify(exported.source, folder)}")
    return 1 if exported.refused else 0


def _exported(target: str | None, *, data: str | None, **options: Any) -> Exported:  # noqa: ANN401

    settings = _settings(options, for_kit=options["android_kit"] is not None)
    if data is not None:
        check_there(data)
    say_newest(target)
    source = find_source(target, data=data, folder=runs_folder())
    source = with_pixels(source, **{name: options[name] for name in NAMES})
    source = replace(source, calibration=options["calibration"])
    with stages() as progress:
        from pipeline.steps.export import export  # takes seconds

        return export(
            source,
            settings,
            runs=runs_folder(),
            place=_place(options),
            labels=options["labels"],
            progress=progress,
        )


def _place(options: Mapping[str, Any]) -> Place:
    from pipeline.steps.export import Place

    return Place(folder=options["out"], kit=options["android_kit"], force=options["force"])


def _exported_like(context: click.Context) -> Exported:
    asked = context.params
    fixed = [name for name in asked if name not in _BESIDE_LIKE and given(context, name)]
    if fixed:
        names = ", ".join(option_name(context, name) for name in fixed)
        raise UsageError(f"{names}: the sidecar of --like says that already. Leave it out, or --like.")
    from pipeline.steps.export_like import MadeAgain, export_like

    again = MadeAgain(
        sidecar=asked["like"],
        model=asked["target"],
        data=asked["data"],
        calibration=asked["calibration"],
        place=_place(asked),
    )
    with stages() as progress:
        return export_like(again, runs=runs_folder(), progress=progress)


def _settings(options: dict[str, Any], *, for_kit: bool) -> tuple[ExportSettings, ...]:
    """The settings of each file that the options request."""
    precisions = [each for each in Precision if options[each]]
    precisions = precisions or [each for each in Precision if each.spec.is_default]
    asked = {name: options[name] for name in _SETTINGS}
    if not options["rewrite"]:
        asked["rewrites"] = ()
    if for_kit and asked["io_dtype"] is None and any("uint8" in each.spec.io_dtypes for each in precisions):
        asked["io_dtype"] = "uint8"
    return settings_for(precisions, **asked)


def _say_what_sparse_brings(artifacts: Sequence[ExportArtifact], folder: Path) -> None:
    """Says whether the sparse float32 file is faster at all, and on this machine."""
    for artifact in artifacts:
        if artifact.settings.sparse:
            from export.sparse.verdict import sparse_verdict

            say(sparse_verdict(folder / artifact.path).words)


def what_to_verify(source: KerasSource, folder: Path) -> str:
    """The arguments with which `pipeline verify` checks these files."""
    if folder == source.export_folder:
        target = quoted(folder.parent.name if source.family else str(folder.parent))
    else:
        target = f"{quoted(folder)}/*.tflite"
    return target if source.family else f"{target} --data {quoted(source.data or 'FOLDER')}"


def _print(artifacts: Sequence[ExportArtifact]) -> None:
    numbers = ["bytes", "downloaded"]
    rows = table("file", *numbers, "oldest runtime", "tflite-runtime 2.14", numbers=numbers)
    loads = {True: "loads it", False: "refuses it", None: "not installed"}
    for artifact in artifacts:
        rows.add_row(
            artifact.path,
            f"{artifact.size_bytes:,}",
            f"{artifact.downloaded_bytes:,}",
            artifact.min_runtime_version,
            loads[artifact.tflite_runtime_loads],
        )
    print_table(rows)
    for pixels in dict.fromkeys(artifact.pixels for artifact in artifacts):
        takers = [artifact.precision for artifact in artifacts if artifact.pixels == pixels]
        click.echo(f"{', '.join(takers)}: takes {pixels}")
    click.echo("downloaded: compressed, as app stores send it; pruned and clustered weights show there alone")
