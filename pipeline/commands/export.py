"""`pipeline export`: a trained model in, .tflite files with their sidecars out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from export.artifact import Calibration, ExportArtifact, Precision
from export.errors import ExportError
from pipeline.commands.numbers import Finite
from pipeline.commands.output import json_option, print_records, print_table, say, table, working
from pipeline.errors import UsageError
from pipeline.runs import runs_folder

if TYPE_CHECKING:
    import keras
    import numpy as np
    import numpy.typing as npt

    from pipeline.lineage import KerasSource

CALIBRATED = (Precision.INT8, Precision.INT16X8)
NUM_CALIBRATION = 200


@click.command(name="export", short_help="Export a trained model to TFLite files.")
@click.argument("target", required=False, metavar="[RUN|MODEL]")
@click.option("--float32", "--fp32", is_flag=True, help="Weights and activations as trained.")
@click.option("--float16", "--fp16", is_flag=True, help="Weights in half the bytes.")
@click.option("--dynamic", is_flag=True, help="int8 weights, activations quantized while it runs.")
@click.option("--int8", is_flag=True, help="Integers throughout, in and out; calibrated.")
@click.option("--int16x8", is_flag=True, help="int16 activations, int8 weights; calibrated.")
@click.option("--data", metavar="NAME|FOLDER", help="Calibration images.  [default: those of the training]")
@click.option(
    "--num-calibration",
    type=click.IntRange(min=1),
    default=NUM_CALIBRATION,
    show_default=True,
    help="Training images that the ranges are read from, as many of each class.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Which images these are.")
@click.option("--io-dtype", type=click.Choice(["int8", "uint8"]), default="int8", show_default=True)
@click.option("--scale", type=Finite(), help="A model from elsewhere was fed pixel * SCALE + OFFSET.")
@click.option(
    "--offset",
    type=Finite(),
    help="See --scale. 0..1: 0.00392157 and 0; -1..1: 0.00784314 and -1.",
)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder.  [default: the run's export/]"
)
@json_option
def command(
    target: str | None,
    *,
    as_json: bool,
    data: str | None,
    out: Path | None,
    **options: Any,  # noqa: ANN401
) -> int:
    """Export a trained model to TFLite files.

    RUN is a run's name or folder (default: the newest), MODEL a .keras or .h5 file of your own. Without a
    precision, float32 and int8 are exported. Every file takes raw 0-255 RGB; its sidecar (.json) says how.

    \b
    pipeline export --int8
    pipeline export mobilenet_alpha0.5_160-photos-1 --float32 --float16 --dynamic --int8 --int16x8
    pipeline export mine.keras --int8 --data photos/ --scale 0.00784314 --offset -1
    """
    from pipeline.lineage import find_source, with_pixels

    source = find_source(target, data=data, folder=runs_folder())
    source = with_pixels(source, scale=options["scale"], offset=options["offset"])
    chosen = [precision for precision in Precision if options[precision.value]]
    artifacts, refused = export_source(
        source,
        chosen or [Precision.FLOAT32, Precision.INT8],
        num_calibration=options["num_calibration"],
        seed=options["seed"],
        io_dtype=options["io_dtype"],
        out=out,
    )
    folder = out or source.export_folder
    if as_json:
        print_records(artifacts)
    elif artifacts:
        _print(artifacts)
    for message in refused:
        say(f"pipeline: {message}")
    if artifacts and not as_json:
        count = "a file" if len(artifacts) == 1 else f"{len(artifacts)} files"
        say(f"wrote {count} in {folder}. Next: pipeline verify {_what_to_verify(source, folder)}")
    return 1 if refused else 0


def _what_to_verify(source: KerasSource, folder: Path) -> str:
    """What `pipeline verify` must be given to take these very files."""
    if folder == source.export_folder:
        target = folder.parent.name if source.family else str(folder.parent)
    else:
        target = f"{folder}/*.tflite"
    return target if source.family else f"{target} --data {source.data or 'FOLDER'}"


def export_source(
    source: KerasSource,
    precisions: Sequence[Precision],
    *,
    num_calibration: int = NUM_CALIBRATION,
    seed: int = 0,
    io_dtype: str = "int8",
    out: Path | None = None,
) -> tuple[list[ExportArtifact], list[str]]:
    """Exports the source in each precision into its folder and the store; says what was refused, and why.

    One precision that fails keeps none of the others from being written.
    """
    with working(f"reading {source.model_path}"):
        from export.exporter import export_model
        from pipeline.lineage import load_model_of

        model = load_model_of(source)
    pixels, calibration, source = _calibration(source, model, precisions, num_calibration, seed)
    folder = out or source.export_folder
    artifacts: list[ExportArtifact] = []
    refused: list[str] = []
    for precision in precisions:
        with working(f"converting {source.model_name} to {precision}") as update:
            try:
                artifact = export_model(
                    source.model_path,
                    folder / f"{source.model_name}_{precision}.tflite",
                    precision,
                    model_name=source.model_name,
                    family=source.family,
                    knobs=source.knobs,
                    class_names=source.class_names or [str(n) for n in range(model.output_shape[-1])],
                    dataset=calibration.dataset if calibration else source.dataset,
                    calibration=calibration,
                    pixels=pixels,
                    io_dtype="uint8" if io_dtype == "uint8" else "int8",
                    model=model,
                    progress=lambda done, total: update(f"calibrating, image {done} of {total}"),
                )
            except ExportError as error:
                refused.append(str(error))
                continue
        artifacts.append(artifact)
    _store(artifacts, folder)
    return artifacts, refused


def _calibration(
    source: KerasSource, model: keras.Model, precisions: Sequence[Precision], num_samples: int, seed: int
) -> tuple[npt.NDArray[np.uint8] | None, Calibration | None, KerasSource]:
    """Pixels and which they are, None where no precision needs any; and the source with its class names."""
    import dataclasses

    needing = [precision for precision in precisions if precision in CALIBRATED]
    if not needing and source.class_names is not None:
        return None, None, source
    if source.data is None:
        if needing:
            raise UsageError(
                f"{' and '.join(needing)} must see training images to choose their ranges, and "
                f"{source.model_path} comes without any. Give them: --data NAME or FOLDER."
            )
        return None, None, source
    from pipeline.data.progress import load_shown
    from pipeline.lineage import image_size_of

    dataset = load_shown(source.data)
    if source.class_names is None:
        source = dataclasses.replace(source, class_names=dataset.spec.class_names, dataset=dataset.spec.name)
    if not needing:
        return None, None, source
    image_size = image_size_of(model, source.model_path)
    with working("choosing calibration images"):
        pixels, calibration = dataset.calibration_pixels(
            image_size=image_size, num_samples=num_samples, seed=seed
        )
    if calibration.num_samples < num_samples:
        say(f"calibrating with {calibration.num_samples} images: the training split has no more.")
    return pixels, calibration, source


def _store(artifacts: Sequence[ExportArtifact], folder: Path) -> None:
    from pipeline.store.store import open_store

    with open_store(runs_folder()) as store:
        for artifact in artifacts:
            store.add_artifact(artifact, folder)


def _print(artifacts: Sequence[ExportArtifact]) -> None:
    rows = table("file", "bytes", "oldest runtime", "tflite-runtime 2.14", numbers=["bytes"])
    loads = {True: "loads it", False: "refuses it", None: "not installed"}
    for artifact in artifacts:
        rows.add_row(
            artifact.path,
            f"{artifact.size_bytes:,}",
            artifact.min_runtime_version,
            loads[artifact.tflite_runtime_loads],
        )
    print_table(rows)
    for pixels in dict.fromkeys(artifact.pixels for artifact in artifacts):
        takers = [artifact.precision for artifact in artifacts if artifact.pixels == pixels]
        click.echo(f"{', '.join(takers)}: takes {pixels}")
