"""`pipeline sweep`: many trainings, one for each combination of their settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from export.precisions import Precision
from models.registry import FAMILIES
from pipeline.commands.numbers import Finite
from pipeline.commands.output import json_option, say, working
from pipeline.commands.sweep_options import ListOf, option_words, swept_options, swept_values
from pipeline.commands.train import NO_DATA, asked_training
from pipeline.errors import UsageError
from pipeline.json_values import finite
from pipeline.runs import runs_folder
from pipeline.shell import quoted
from pipeline.trials.grid import combinations, name_of, varied
from pipeline.trials.settings import EngineSettings
from spelling import counted

if TYPE_CHECKING:
    from pipeline.trials.sweep import Sweep
    from pipeline.trials.trial import Trial, TrialResult

NO_FILES = "none"
RUNTIME = ("resume", "at_once", "num_cpus", "ray", "num_gpus", "folder", "dry_run", "as_json")
"""What may be given beside --resume."""
TOP_OF_PLAN = 20


@click.command(name="sweep", short_help="Train every combination of several settings.")
@click.argument("families", metavar="FAMILY[,FAMILY]", required=False)
@swept_options
@click.option(
    "--precision",
    "precisions",
    type=ListOf(click.Choice([*(each.value for each in Precision), NO_FILES]), is_split=True),
    default=(Precision.INT8.value,),
    show_default="int8",
    metavar="P[,P]|none",
    help="Export these files of each.",
)
@click.option("--verify/--no-verify", default=True, show_default=True, help="Compare the files with Keras.")
@click.option("--bench", is_flag=True, help="Measure the files' latency here, when nothing trains any more.")
@click.option(
    "--at-once",
    type=click.IntRange(min=1),
    metavar="N",
    help="Trials at once.  [default: by cores, memory, GPUs]",
)
@click.option(
    "--num-cpus",
    type=click.IntRange(min=1),
    default=EngineSettings().threads,
    show_default=True,
    metavar="N",
    help="Cores of each trial; another number may change the last bits of its weights.",
)
@click.option(
    "--ray", metavar="HOST:PORT|auto", help="Train on the nodes of the Ray cluster whose head this is."
)
@click.option(
    "--num-gpus", type=Finite(min=0), metavar="X", help="GPUs of each trial, with --ray.  [default: 0]"
)
@click.option(
    "--runs",
    "folder",
    metavar="FOLDER",
    help="The folder of runs; with --ray one that all nodes see.  [default: runs]",
)
@click.option("--dry-run", is_flag=True, help="Show the plan and the expected time; train nothing.")
@click.option(
    "--resume",
    is_flag=False,
    flag_value="",
    metavar="[SWEEP]",
    help="Go on with a sweep that was stopped.  [default: the newest]",
)
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    families: str | None,
    *,
    resume: str | None,
    dry_run: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401
) -> int:
    """Train every combination of several settings.

    Every option of `pipeline train` takes several values, between commas; those that hold paths or texts are
    repeated instead. What an earlier sweep has trained is not trained again.

    \b
    pipeline sweep mobilenet --alpha 0.25,0.5,1 --image-size 96,128,160 --seed 0,1,2 --data photos/
    pipeline sweep mobilenet,squeezenet --learning-rate 0.05,0.1 --data photos/ --dry-run
    pipeline sweep --resume
    """
    from pipeline.commands.trial_table import shown_live
    from pipeline.trials.engine import run  # with numpy
    from pipeline.trials.sweep import find_sweep, keep_results, keep_sweep

    runs = _runs(options["folder"])
    if options["num_gpus"] is not None and options["ray"] is None:
        raise UsageError(
            "--num-gpus is for --ray; here each trial takes one GPU, if there are any. Leave it out."
        )
    if options["at_once"] is not None and options["ray"] is not None:
        raise UsageError("--at-once is for this machine; a Ray cluster counts itself. Leave one of them out.")
    if resume is None:
        sweep = _asked(families, options)
    else:
        _refuse_others(context)
        sweep = find_sweep(resume, runs)
    settings = EngineSettings(
        at_once=options["at_once"],
        threads=options["num_cpus"],
        ray=options["ray"],
        gpus=options["num_gpus"] or 0.0,
    )
    if dry_run:
        _show_plan(sweep, settings, runs, as_json=as_json)
        return 0
    keep_sweep(sweep, runs)
    say(
        f"{sweep.name}: {counted(len(sweep.trials), 'trial')}. To go on after a stop: {_how_to_resume(sweep)}"
    )
    try:
        with shown_live() as report:
            results = run(sweep.trials, settings, runs=runs, weights=_weights(sweep.trials), report=report)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(f"What was finished is kept. Go on: {_how_to_resume(sweep)}") from stop
    path = keep_results(sweep, results, runs)
    _show(results, path, sweep, as_json=as_json)
    return 1 if any(each.reason or each.refused for each in results) else 0


def _runs(folder: str | None) -> Path:
    if folder is None:
        return runs_folder()
    if "://" in folder:
        raise UsageError(
            f"--runs {folder}: an object store has neither locks nor renames, which keep a killed training "
            "whole. Give a folder that all nodes mount at the same path, such as NFS."
        )
    if Path(folder).exists() and not Path(folder).is_dir():
        raise UsageError(f"--runs {folder} is a file, where the folder of runs should be. Give a folder.")
    return Path(folder)


def _asked(families: str | None, options: dict[str, Any]) -> Sweep:
    """The sweep that the options ask for; everything that is wrong with one of its trials is said here."""
    if families is None:
        raise UsageError(
            "give a family to train, or --resume: pipeline sweep mobilenet --alpha 0.25,0.5 --data photos/. "
            f"Known: {', '.join(FAMILIES)}."
        )
    values = {"family": tuple(dict.fromkeys(families.split(","))), **swept_values(options)}
    from pipeline.trials.sweep import sweep_of
    from pipeline.trials.trial import Trial

    precisions = tuple(Precision(each) for each in options["precisions"] if each != NO_FILES)
    if options["bench"] and not precisions:
        raise UsageError("--bench measures files, and --precision none makes none. Leave one out.")
    if "data" not in values:
        say(f"no --data given: training on {NO_DATA}")
    names = varied(values)
    trials = []
    fingerprints: dict[str, str] = {}
    for chosen in combinations(values):
        asked = {name: value for name, value in chosen.items() if name not in ("family", "data")}
        data, settings = asked_training(chosen["family"], chosen.get("data"), asked)
        if data not in fingerprints:
            fingerprints[data] = _fingerprint(data)
        trials.append(
            Trial(
                name=name_of(chosen, names) or str(chosen["family"]),
                family=chosen["family"],
                settings=settings,
                data=data,
                dataset_fingerprint=fingerprints[data],
                precisions=precisions,
                verify=options["verify"],
                measure=options["bench"],
            )
        )
    return sweep_of(_once(trials))


def _once(trials: Sequence[Trial]) -> list[Trial]:
    """The trials without those that would train the same as an earlier one, as rho 0.5 and its image size."""
    found = {trial.key: trial for trial in reversed(trials)}
    kept = [trial for trial in trials if found[trial.key] is trial]
    if len(kept) < len(trials):
        say(f"{counted(len(trials) - len(kept), 'trial')} left out, which would train the same as others.")
    return kept


def _fingerprint(data: str) -> str:
    from pipeline.data.registry import load

    with working(f"reading {data}"):
        dataset = load(data)
    dataset.check_trainable()
    dataset.check_one_label("training")
    return dataset.spec.fingerprint


def _refuse_others(context: click.Context) -> None:
    given = [
        str(parameter.name)
        for parameter in context.command.params
        if parameter.name not in RUNTIME
        and context.get_parameter_source(str(parameter.name)) is not ParameterSource.DEFAULT
    ]
    if given:
        raise UsageError(
            f"--resume goes on with the sweep's own trials, so {option_words(given)} cannot be given "
            "with it. Leave it out, or start the other sweep: what is trained is not trained again."
        )


def _weights(trials: Sequence[Trial]) -> list[float]:
    """What the trials take beside one another, roughly: by epochs and pixels."""
    return [
        float(trial.settings.epochs or 30) * float(trial.settings.knobs.get("image_size", 32)) ** 2
        for trial in trials
    ]


def _show_plan(sweep: Sweep, settings: EngineSettings, runs: Path, *, as_json: bool) -> None:
    from pipeline.commands.trial_table import duration
    from pipeline.trials.engine import is_done
    from pipeline.trials.expected import expected_secs
    from pipeline.trials.machine import machine_for
    from pipeline.trials.on_ray import Cluster, places

    left = [trial for trial in sweep.trials if not is_done(trial, runs)]
    if settings.ray is None:
        at_once = machine_for(at_once=settings.at_once, threads=settings.threads).at_once
    else:
        cluster = Cluster(address=settings.ray, cpus=settings.threads, gpus=settings.gpus)
        at_once = max(1, places(cluster))
    with working("timing some steps of some nets"):
        expected = expected_secs(left, runs=runs, threads=settings.threads) if left else []
    by_key = {trial.key: secs for trial, secs in zip(left, expected, strict=True)}
    if as_json:
        rows = [
            {"name": trial.name, "key": trial.key, "expected_secs": by_key.get(trial.key, 0.0)}
            for trial in sweep.trials
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    for trial in sweep.trials[:TOP_OF_PLAN]:
        is_left = trial.key in by_key
        click.echo(f"{trial.name}: {duration(by_key[trial.key]) if is_left else 'there already'}")
    if len(sweep.trials) > TOP_OF_PLAN:
        click.echo(f"and {len(sweep.trials) - TOP_OF_PLAN:,} more")
    whole = max([sum(expected) / at_once, *expected]) if expected else 0.0
    click.echo(
        f"{counted(len(sweep.trials), 'trial')}, {len(left):,} to train, {at_once} at once: "
        f"about {duration(whole)} of training at this machine's speed, and some seconds each for its files."
    )


def _show(results: Sequence[TrialResult], path: Path, sweep: Sweep, *, as_json: bool) -> None:
    from pipeline.commands.trial_table import print_results
    from pipeline.trials.trial import FAILED, result_as_json

    if as_json:
        rows = [finite(result_as_json(each)) for each in results]
        click.echo(json.dumps(rows, indent=2, allow_nan=False))
    else:
        print_results(results)
    for each in results:
        for reason in (each.reason, *each.refused):
            if reason:
                say(f"pipeline: {each.name}: {reason}")
    good = [each for each in results if each.validation_top1 is not None]
    if good:
        best = max(good, key=lambda each: each.validation_top1 or 0.0)
        say(f"the best validation: {best.name} ({best.validation_top1:.2f}%), run {best.run}")
    failed = [each for each in results if each.status == FAILED]
    if failed:
        say(f"{counted(len(failed), 'trial')} failed. To try again: {_how_to_resume(sweep)}")
    say(f"wrote {path}. Next: pipeline report, or tensorboard --logdir {quoted(path.parents[2])}")


def _how_to_resume(sweep: Sweep) -> str:
    return f"pipeline sweep --resume {quoted(sweep.name)}"
