"""`pipeline verify --adb`: what the files answer on phones, beside what they answer here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.output import print_records, print_table, say, table, working
from pipeline.commands.phones.options import DEVICE_TROUBLE, find_fleet
from pipeline.errors import PipelineError, UsageError
from pipeline.runs import runs_folder

if TYPE_CHECKING:
    from pipeline.bench.fleet import FleetPhone
    from pipeline.bench.phone_answers import Samples
    from pipeline.records.phone_verification import PhoneVerification

MOST_SAMPLES = 1000
SEED = 0


def verify_on_phones(
    files: Sequence[Path],
    *,
    serials: tuple[str, ...],
    servers: tuple[str, ...],
    binaries: tuple[Path, ...],
    delegates: tuple[str, ...],
    data: str | None,
    split: str,
    limit: int | None,
    model: Path | None,
    budget_secs: float,
    min_agreement: float,
    max_drop: float | None,
    as_json: bool,
) -> int:
    """Verifies the files on each phone with each delegate; each result is in the store before the next.

    1 when a phone and the host disagree, a delegate took no node, or the top-1 dropped too far; 4 when a
    phone was lost.
    """
    from android_bench.errors import DeviceError, ToolError

    if model is not None:
        raise UsageError("--model is for the host: on a phone the file is held against itself. Leave it out.")
    if not math.isfinite(budget_secs):
        raise UsageError(f"--budget-secs is {budget_secs}. Give a number of seconds, such as 60.")
    fleet, num_lost = find_fleet(serials, servers, binaries)
    samples = [_samples(path, data, split, limit or MOST_SAMPLES) for path in files]
    found: list[PhoneVerification] = []
    problems: list[Exception] = []
    for member in fleet:
        try:
            for verified in _verify_on(member, samples, delegates, budget_secs=budget_secs):
                found.append(verified)
        except (DeviceError, ToolError, PipelineError) as error:
            problems.append(error)
            say(f"pipeline: gave up {member.info.where}: {error}")
    if problems and not found:
        raise problems[0]
    if as_json:
        print_records(found)
    elif found:
        _print(found, most_samples=max(len(each.labels) for each in samples))
    wrong = [text for each in found if (text := _problem(each, min_agreement, max_drop))]
    for text in wrong:
        say(f"pipeline: {text}")
    if wrong:
        return 1
    if found and not as_json:
        say(f"stored in {runs_folder()}/results.sqlite. Next: pipeline bench --adb")
    return DEVICE_TROUBLE if num_lost or problems else 0


def _samples(path: Path, data: str | None, split: str, num_samples: int) -> Samples:
    from pipeline.data.progress import load_shown
    from pipeline.lineage import artifact_of, data_of_file
    from pipeline.steps.dataset import check_classes

    artifact = artifact_of(path)
    dataset = load_shown(data_of_file(path, data))
    check_classes(path, artifact.dataset_class_names or artifact.class_names, dataset.spec.class_names)
    with working(f"running {path.name} here"):
        from pipeline.bench.phone_answers import answer_here

        return answer_here(path, artifact, dataset, split=split, num_samples=num_samples, seed=SEED)


def _verify_on(
    member: FleetPhone, samples: Sequence[Samples], delegates: Sequence[str], *, budget_secs: float
) -> Iterator[PhoneVerification]:
    """Each result as it comes, in the store. DeviceError when the phone goes away."""
    from android_bench.phone.session import Session
    from android_bench.tool.runner import prepare
    from pipeline.bench.phone_answers import answer_there
    from pipeline.store.store import open_store

    with Session(member.phone) as session:
        flags = prepare(session, member.tool)
        for each in samples:
            for delegate in delegates:
                with working(f"running {each.path.name} with {delegate} on {member.info.where}") as update:
                    verified = answer_there(
                        session,
                        member,
                        flags,
                        each,
                        delegate=delegate,
                        budget_secs=budget_secs,
                        progress=lambda done, total: update(f"{done:,} of {total:,} images"),
                    )
                with open_store(runs_folder()) as store:
                    store.add_phone_verification(verified)
                yield verified


def _problem(found: PhoneVerification, min_agreement: float, max_drop: float | None) -> str | None:
    who = f"{Path(found.path).name} with {found.delegate} on {found.where}"
    if not found.valid:
        return f"{who} is not valid: {'; '.join(found.reasons)}."
    assert found.agreement is not None
    assert found.phone_top1 is not None
    assert found.host_top1 is not None
    if found.agreement < min_agreement:
        return (
            f"{who} gives the host's label on {found.agreement:.1f}% of {found.num_samples} samples, "
            f"less than --min-agreement {min_agreement:g}. However fast it is, it is wrong: do not ship it."
        )
    drop = found.host_top1 - found.phone_top1
    if max_drop is not None and drop > max_drop:
        return f"{who} loses {drop:.2f} points of top-1 against the host, more than --max-drop {max_drop:g}."
    return None


def _print(found: Sequence[PhoneVerification], *, most_samples: int) -> None:
    numbers = ["samples", "phone top-1", "host top-1", "agree", "max diff", "s/sample"]
    rows = table("file", "phone", "delegate", *numbers, numbers=numbers)
    for each in found:
        rows.add_row(
            Path(each.path).name,
            each.where,
            each.delegate,
            f"{each.num_samples:,}",
            _percent(each.phone_top1),
            _percent(each.host_top1),
            _percent(each.agreement),
            "-" if each.max_abs_difference is None else f"{each.max_abs_difference:.3g}",
            f"{each.secs_per_sample:.2f}",
        )
    print_table(rows)
    one = found[0]
    click.echo(
        f"{one.split} images of {one.dataset}, the classes in turn; as many as --budget-secs allows, since "
        "each is a process of its own. The host is the same file in LiteRT; a GPU that computes in float16 "
        "differs a little."
    )
    few = min((each.num_samples for each in found if each.valid), default=0)
    if 0 < few < 100:
        more = ": raise --budget-secs for more" if few < most_samples else ""
        click.echo(f"With {few} samples one of them is {100 / few:.1f} points{more}.")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}%"
