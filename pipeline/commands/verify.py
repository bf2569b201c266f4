"""`pipeline verify`: an exported file over the test split, beside the Keras model it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.numbers import Finite
from pipeline.commands.output import json_option, print_records, print_table, say, table, working
from pipeline.commands.phones.options import (
    delegate_option,
    refuse_without_adb,
    serial_option,
    server_option,
    tool_option,
)
from pipeline.errors import PipelineError
from pipeline.records.phone_verification import MIN_AGREEMENT
from pipeline.runs import runs_folder, tflite_files

if TYPE_CHECKING:
    from export.verification import Verification

BATCH_SIZE = 64
PHONE_OPTIONS = ("serials", "delegates", "binaries", "servers", "budget_secs", "min_agreement")
BUDGET_SECS = 60.0
"""On a phone, where each sample is a process: as many samples as fit into it."""


@click.command(name="verify", short_help="Run exported files over the test split beside the Keras model.")
@click.argument("targets", nargs=-1, metavar="[FILE|RUN]...")
@click.option("--data", metavar="NAME|FOLDER", help="[default: that of the training]")
@click.option(
    "--split",
    type=click.Choice(["test", "validation", "train"]),
    default="test",
    show_default=True,
)
@click.option(
    "--model",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The Keras model, where it does not stand beside the file.",
)
@click.option(
    "--max-drop",
    type=Finite(),
    metavar="POINTS",
    help="A gate: exit 1 when a file's top-1 is more than so many percentage points below the Keras model's.",
)
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="The first N images of the split alone."
)
@click.option("--adb", "on_phones", is_flag=True, help="Run them on phones too, beside LiteRT here.")
@serial_option
@delegate_option
@tool_option
@server_option
@click.option(
    "--budget-secs",
    type=click.FloatRange(min=0, min_open=True),
    default=BUDGET_SECS,
    show_default=True,
    metavar="SECS",
    help="On a phone: as many samples as fit into so many seconds, for each file and delegate.",
)
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 100),
    default=MIN_AGREEMENT,
    show_default=True,
    metavar="PERCENT",
    help="On a phone: exit 1 when it gives the host's label on fewer samples.",
)
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    targets: tuple[str, ...],
    *,
    max_drop: float | None,
    on_phones: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401
) -> int:
    """Run exported files over the test split beside the Keras model.

    FILE is a .tflite file with its sidecar, RUN a run's name or folder; without either, the newest run's
    files. Shows the top-1 of both, how often they agree, the largest difference of any output, and for
    quantized files the layer where the error grows most.

    \b
    With --adb the files run on phones, and their labels there are held against LiteRT's here: a delegate that
    is fast and wrong is found so.

    \b
    pipeline verify --max-drop 1.0
    pipeline verify runs/mobilenet_alpha0.5_160-photos-1/export/mobilenet_alpha0.5_160_int8.tflite
    pipeline verify --adb --delegate cpu,gpu
    """
    files = tflite_files(targets, runs_folder())
    if on_phones:
        from pipeline.commands.phones.verify import verify_on_phones

        return verify_on_phones(files, max_drop=max_drop, as_json=as_json, **options)
    refuse_without_adb(context, PHONE_OPTIONS)
    verified = verify_files(files, **{name: options[name] for name in ("data", "split", "model", "limit")})
    if as_json:
        print_records(list(verified.values()))
    else:
        _print(verified)
    failed = [
        path for path, found in verified.items() if max_drop is not None and found.drop_points > max_drop
    ]
    for path in failed:
        found = verified[path]
        say(
            f"pipeline: {path.name} loses {found.drop_points:.2f} points of top-1, "
            f"more than --max-drop {max_drop:g}. "
            + (f"Its error grows most at {found.worst_layer}." if found.worst_layer else "")
        )
    if not as_json and not failed:
        say(f"stored in {runs_folder()}/results.sqlite. Next: {' '.join(['pipeline bench', *targets])}")
    return 1 if failed else 0


def verify_files(
    files: Sequence[Path],
    *,
    data: str | None = None,
    split: str = "test",
    model: Path | None = None,
    limit: int | None = None,
) -> dict[Path, Verification]:
    """Verifies the files one after another; each result is in the store before the next file begins."""
    from pipeline.lineage import image_size_of, load_model_of, source_of_file

    sources = {path: source_of_file(path, model=model, data=data) for path in files}
    from pipeline.data.progress import load_shown

    names = dict.fromkeys(str(source.data) for source, _ in sources.values())
    datasets = {name: load_shown(name) for name in names}
    with working("reading the model"):
        from export.check.verify import check_sidecar, verify
        from pipeline.store.store import open_store

        models = {source.model_path: load_model_of(source) for source, _ in sources.values()}
    verified = {}
    for path, (source, artifact) in sources.items():
        check_sidecar(path, artifact)
        dataset = datasets[str(source.data)]
        check_classes(path, artifact.dataset_class_names or artifact.class_names, dataset.spec.class_names)
        keras_model = models[source.model_path]
        image_size = image_size_of(keras_model, path)
        total = min(dataset.num_examples(split), limit or dataset.num_examples(split))
        with working(f"verifying {path.name}") as update:
            found = verify(
                keras_model,
                path,
                dataset.batches(split, image_size=image_size, batch_size=BATCH_SIZE, limit=limit),
                dataset=dataset.spec.name,
                dataset_fingerprint=dataset.spec.fingerprint,
                split=split,
                tensor_names=artifact.tensor_names,
                compares_layers=not artifact.settings.equalize,
                progress=lambda done: update(f"{done:,} of {total:,} images"),  # noqa: B023 - called in this turn
            )
        with open_store(runs_folder()) as store:
            store.add_artifact(artifact, path.parent)
            store.add_verification(found)
        verified[path] = found
    return verified


def check_classes(path: Path, of_file: Sequence[str], of_data: Sequence[str]) -> None:
    """Refuses a data set of other classes: its labels would mean something else."""
    if tuple(of_file) == tuple(of_data):
        return
    unnamed = tuple(of_file) == tuple(str(number) for number in range(len(of_data)))
    if unnamed:  # exported without a data set: only the count is known
        return
    raise PipelineError(
        f"{path.name} tells apart {_few(of_file)}, the data set has {_few(of_data)}. "
        "Give the data set that the model was trained on: --data NAME or FOLDER."
    )


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:4])
    return f"{shown} and {len(names) - 4} more" if len(names) > 4 else shown


def _print(verified: dict[Path, Verification]) -> None:
    numbers = ["Keras top-1", "file top-1", "drop", "agree", "max diff"]
    rows = table("file", *numbers, "error grows most at", numbers=numbers)
    for path, found in verified.items():
        rows.add_row(
            path.name,
            f"{found.keras_top1:.2f}%",
            f"{found.tflite_top1:.2f}%",
            f"{found.drop_points:+.2f}",
            f"{found.agreement:.2f}%",
            f"{found.max_abs_difference:.3g}",
            found.worst_layer or "-",
        )
    print_table(rows)
    one = next(iter(verified.values()))
    click.echo(
        f"{one.num_samples:,} {one.split} images of {one.dataset}; {one.runtime} {one.runtime_version}; "
        "drop in percentage points, max diff the largest of any output"
    )
