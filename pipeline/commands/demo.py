"""`pipeline demo`: the main job from images to a report, on a data set that needs no download."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.output import json_option, print_records, say, stages

if TYPE_CHECKING:
    from export.verification import Verification

FAMILY = "mobilenet"
DATA = "digits"
ALPHA = 0.25
EPOCHS = 18
MIN_TOP1 = 97.0
MAX_DROP_POINTS = 1.0


@click.command(name="demo", short_help="Train, export, verify, benchmark and report on digits, in a minute.")
@json_option
def command(*, as_json: bool) -> int:
    """Train, export, verify, benchmark and report on digits, in a minute.

    Trains MobileNet alpha 0.25 on scikit-learn's digits drawn at 32x32 RGB, exports it as float32 and int8,
    verifies both files on the test split, measures both on this machine and writes a page that compares
    them. Nothing is downloaded. Each step says the command that does it alone.

    \b
    pipeline demo
    """
    from export.precisions import Precision
    from export.settings import settings_for
    from pipeline.bench.host import run_rounds
    from pipeline.bench.settings import BenchSettings
    from pipeline.commands.bench import store_result
    from pipeline.commands.report import rendered, rows_of, write_report
    from pipeline.commands.train import train_new
    from pipeline.lineage import find_source
    from pipeline.runs import exported_files, runs_folder
    from pipeline.steps.export import export
    from pipeline.steps.verify import verify

    started = time.monotonic()
    say(f"1/5  pipeline train {FAMILY} --alpha {ALPHA} --data {DATA} --epochs {EPOCHS}")
    run, record = train_new(FAMILY, DATA, alpha=ALPHA, epochs=EPOCHS)
    say(f"     test top-1 {record.test_top1:.2f}% after {record.seconds:.0f} s")
    say(f"2/5  pipeline export {run.name} --float32 --int8")
    source = find_source(str(run), data=None, folder=runs_folder())
    settings = settings_for([Precision.FLOAT32, Precision.INT8])
    with stages() as progress:
        exported = export(source, settings, runs=runs_folder(), progress=progress)
    for message in exported.refused:
        say(f"pipeline: {message}")
    files = exported_files(run)
    say(f"3/5  pipeline verify {run.name}")
    with stages() as progress:
        verified = verify(files, runs=runs_folder(), progress=progress)
    say(f"4/5  pipeline bench {run.name}")
    result = run_rounds(files, BenchSettings())
    store_result(result)
    if result.stopped:
        raise click.Abort
    say(f"5/5  pipeline report {run.name} --format html")
    page = runs_folder() / "report.html"
    rows = rows_of((run.name,), runs_folder())
    write_report(rows, "html", page)
    if as_json:
        print_records(rows)
    else:
        click.echo(rendered(rows, "table", to_terminal=True), nl=False)
        click.echo(f"The page: {page}")
    say(
        f"done in {time.monotonic() - started:.0f} s. Next, with your own images: "
        "pipeline train mobilenet --data FOLDER"
    )
    return 1 if exported.refused or not _holds(verified) else 0


def _holds(verified: Sequence[Verification]) -> bool:
    """Whether every file is as good as this job always was; what is not is said on stderr."""
    good = True
    for found in verified:
        if found.tflite_top1 < MIN_TOP1 or found.drop_points > MAX_DROP_POINTS:
            good = False
            say(
                f"pipeline: {Path(found.path).name} reaches {found.tflite_top1:.2f}%, "
                f"{found.drop_points:.2f} points below Keras; at least {MIN_TOP1:g}%, "
                f"{MAX_DROP_POINTS:g} point below, was expected. "
                "Something is wrong with this installation: pipeline doctor"
            )
    return good
