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
from pipeline.labels import read_labels
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
@click.option("--typical", is_flag=True, help="Leave out the 5% of them that widen the ranges most.")
@click.option("--keep-names", is_flag=True, help="Leave the tensors' names in the file.  [default: sidecar]")
@click.option(
    "--sparse", is_flag=True, help="Store pruned 1x1 convolutions of --float32 for XNNPACK's sparse kernels."
)
@click.option(
    "--equalize", is_flag=True, help="--int8: bring channels to one range and correct biases before rounding."
)
@click.option(
    "--keep-float", multiple=True, metavar="LAYER", help="--int8: leave a layer in float; may be repeated."
)
@click.option("--logits", is_flag=True, help="End in the class scores, without the softmax.")
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
    help="Class names for the app, one a line in the order of the outputs.  [default: the training's]",
)
@click.option(
    "--android-kit",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Also write what an Android app needs: file, labels, Gradle lines, Kotlin, README.",
)
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
    pipeline export --int8 --labels names.txt --android-kit app-kit
    """
    from pipeline.android_kit.kit import check_folder
    from pipeline.lineage import find_source, with_pixels

    if options["sparse"] and not options["float32"]:
        raise UsageError("--sparse is for float32 files: the others have no sparse kernels. Add --float32.")
    precisions = [precision for precision in Precision if options[precision.value]]
    precisions = precisions or [Precision.FLOAT32, Precision.INT8]
    if (options["equalize"] or options["keep_float"]) and Precision.INT8 not in precisions:
        raise UsageError("--equalize and --keep-float are for int8 files, and none is asked for. Add --int8.")
    if options["equalize"] and not options["rewrite"]:
        raise UsageError(
            "--equalize folds BatchNorms and scales weights, which --no-rewrite forbids. Leave one out."
        )
    kit: Path | None = options["android_kit"]
    if kit is not None:
        check_folder(kit)
    source = find_source(target, data=data, folder=runs_folder())
    source = with_pixels(source, scale=options["scale"], offset=options["offset"])
    artifacts, refused = export_source(
        source,
        precisions,
        num_calibration=options["num_calibration"],
        seed=options["seed"],
        typical=options["typical"],
        io_dtype=options["io_dtype"] or ("uint8" if kit else "int8"),
        out=out,
        labels=options["labels"],
        keep_names=options["keep_names"],
        rewrite=options["rewrite"],
        logits=options["logits"],
        sparse=options["sparse"],
        equalize=options["equalize"],
        keep_float=options["keep_float"],
    )
    folder = out or source.export_folder
    if as_json:
        print_records(artifacts)
    elif artifacts:
        _print(artifacts)
    for message in refused:
        say(f"pipeline: {message}")
    if options["sparse"]:
        _say_what_sparse_brings(artifacts, folder)
    if any(artifact.input.dtype == "int8" for artifact in artifacts):
        say("MediaPipe's ImageClassifier refuses int8 input: for an app that uses it, give --io-dtype uint8.")
    if kit is not None and artifacts:
        _write_kit(kit, artifacts, folder)
    if artifacts and not as_json:
        count = "a file" if len(artifacts) == 1 else f"{len(artifacts)} files"
        say(f"wrote {count} in {folder}. Next: pipeline verify {what_to_verify(source, folder)}")
    return 1 if refused else 0


def _say_what_sparse_brings(artifacts: Sequence[ExportArtifact], folder: Path) -> None:
    """Whether the sparse float32 file is faster anywhere, and on this machine."""
    from export.sparse.verdict import sparse_verdict

    for artifact in artifacts:
        if artifact.precision is Precision.FLOAT32:
            say(sparse_verdict(folder / artifact.path).words)


def _write_kit(kit: Path, artifacts: Sequence[ExportArtifact], folder: Path) -> None:
    """Writes the Android kit of the int8 file, or else of the smallest, and says of which."""
    from pipeline.android_kit.kit import write_kit

    integer = [artifact for artifact in artifacts if artifact.precision is Precision.INT8]
    artifact = min(integer or artifacts, key=lambda each: each.size_bytes)
    write_kit(kit, folder / artifact.path, artifact)
    say(f"wrote an Android kit of {artifact.path} in {kit}. Next: read {kit / 'README.md'}")


def what_to_verify(source: KerasSource, folder: Path) -> str:
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
    typical: bool = False,
    io_dtype: str = "int8",
    out: Path | None = None,
    labels: Path | None = None,
    keep_names: bool = False,
    rewrite: bool = True,
    logits: bool = False,
    sparse: bool = False,
    equalize: bool = False,
    keep_float: Sequence[str] = (),
) -> tuple[list[ExportArtifact], list[str]]:
    """Exports the source in each precision into its folder and the store; says what was refused, and why.

    One precision that fails keeps none of the others from being written. `labels` names a file whose class
    names stand in place of the source's; without `rewrite` the graph goes to the converter as it is; `logits`
    leaves out the softmax; `sparse` is for float32, `equalize` and `keep_float` (layers' names) for int8.
    """
    with working(f"reading {source.model_path}"):
        from export.exporter import export_model
        from pipeline.lineage import load_model_of

        model = load_model_of(source)
    class_names = read_labels(labels, model.output_shape[-1]) if labels else None
    pixels, calibration, source = _calibration(
        source, model, precisions, num_calibration, seed=seed, typical=typical
    )
    class_names = class_names or source.class_names or tuple(map(str, range(model.output_shape[-1])))
    trained = trained_quantizers(source, model) if Precision.INT8 in precisions else None
    keep_float = float_layers(source, keep_float)
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
                    class_names=class_names,
                    dataset_class_names=source.class_names if labels else None,
                    dataset=calibration.dataset if calibration else source.dataset,
                    calibration=calibration,
                    pixels=pixels,
                    io_dtype="uint8" if io_dtype == "uint8" else "int8",
                    model=model,
                    keep_names=keep_names,
                    trained=trained,
                    rewrites=None if rewrite else (),
                    logits=logits,
                    sparse=sparse,
                    equalize=equalize,
                    keep_float=keep_float,
                    progress=lambda done, total: update(f"calibrating, image {done} of {total}"),
                )
            except ExportError as error:
                refused.append(str(error))
                continue
        artifacts.append(artifact)
    _store(artifacts, folder)
    return artifacts, refused


def float_layers(source: KerasSource, asked: Sequence[str] = ()) -> tuple[str, ...]:
    """The layers that stay in float in the source's int8 file: those asked for, or skipped in its training.

    Raises UsageError for others than these where the run has quantizers of its own.
    """
    if source.compression is None or not source.compression.is_quantized:
        return tuple(dict.fromkeys(asked))
    skipped = source.compression.skip_layers
    for name in asked:
        if name not in skipped:
            raise UsageError(
                f"--keep-float {name}: this run was trained with a quantizer there, which stays. Compress "
                f"{source.compression.parent} again with --skip-layer {name}, or export that run."
            )
    return skipped


def trained_quantizers(source: KerasSource, model: keras.Model) -> Any:  # noqa: ANN401 - tf_keras carries no types
    """The network with the quantizers that it was trained with; None for a run without."""
    if source.compression is None or not source.compression.is_quantized:
        return None
    with working("reading the trained quantizers"):
        from pipeline.compression.compress import load_quantized

        return load_quantized(model, source.compression, source.model_path.parent)


def _calibration(
    source: KerasSource,
    model: keras.Model,
    precisions: Sequence[Precision],
    num_samples: int,
    *,
    seed: int,
    typical: bool,
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
        from export.quantization.typical import typical_images

        pixels, calibration = dataset.calibration_pixels(
            image_size=image_size,
            num_samples=num_samples,
            seed=seed,
            choose=(lambda pixels: typical_images(model, pixels)) if typical else None,
        )
    there_are = calibration.num_samples + calibration.left_out
    if there_are < num_samples:
        say(f"calibrating with {there_are} images: the training split has no more.")
    return pixels, calibration, source


def _store(artifacts: Sequence[ExportArtifact], folder: Path) -> None:
    from pipeline.store.store import open_store

    with open_store(runs_folder()) as store:
        for artifact in artifacts:
            store.add_artifact(artifact, folder)


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
