"""`pipeline verify --adb`: the files' labels on phones, compared with those on the host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from export.head import SIGMOIDS_ON_CLASSES
from export.verification import points_lost
from pipeline.commands.confusion import print_confusion
from pipeline.commands.output import print_records, print_table, say, stages, table
from pipeline.commands.phones.options import DEVICE_TROUBLE, find_fleet
from pipeline.runs import runs_folder
from pipeline.steps.phones import verify_on_phones
from pipeline.steps.settings import PhoneVerifySettings
from pipeline.store.store import open_store
from spelling import counted

if TYPE_CHECKING:
    from pipeline.records.phone_verification import PhoneVerification


@dataclass(frozen=True, kw_only=True)
class Phones:
    """The selected phones, adb servers and tools."""

    serials: tuple[str, ...]
    servers: tuple[str, ...]
    binaries: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The limits that a phone's labels must meet."""

    min_agreement: float
    """Percent of samples on which it gives the host's label."""
    max_drop: float | None
    """Percentage points of top-1 against the host."""


def show_answers(
    files: Sequence[Path],
    phones: Phones,
    settings: PhoneVerifySettings,
    gate: Gate,
    *,
    confusion: bool,
    as_json: bool,
) -> int:
    """Verifies the files on each phone with each delegate and shows the results; returns the exit status.

    1 if a phone and the host disagree, a delegate took no nodes, or the top-1 dropped too far; 4 if a phone
    was lost.
    """
    fleet, num_lost = find_fleet(phones.serials, phones.servers, phones.binaries)

    with stages() as progress:
        answered = verify_on_phones(files, fleet, settings, runs=runs_folder(), progress=progress)
    found = answered.verifications
    if as_json:
        print_records(found)
    elif found:
        _print(found, most_samples=answered.most_samples)
        if confusion:
            _print_confusion(found)
    wrong = [text for each in found if (text := _problem(each, gate))]
    for text in wrong:
        say(f"pipeline: {text}")
    if wrong:
        return 1
    if found:
        least = min(each.agreement for each in found if each.agreement is not None)
        gates = f"--min-agreement {gate.min_agreement:g} holds"
        if gate.max_drop is not None:
            gates = f"--min-agreement {gate.min_agreement:g} and --max-drop {gate.max_drop:g} hold"
        say(f"{gates}: the smallest agreement is {least:.1f}%.")
    if found and not as_json:
        say(f"stored in {runs_folder()}/results.sqlite. Next: pipeline bench --adb")
    return DEVICE_TROUBLE if num_lost or answered.problems else 0


def _problem(found: PhoneVerification, gate: Gate) -> str | None:
    who = f"{Path(found.path).name} with {found.delegate} on {found.where}"
    if not found.valid:
        return f"{who} is not valid: {'; '.join(found.reasons)}."
    assert found.agreement is not None
    assert found.phone_score is not None
    assert found.host_score is not None
    if found.agreement < gate.min_agreement:
        return (
            f"{who} gives the host's label on {found.agreement:.1f}% of "
            f"{counted(found.num_samples, 'sample')}, "
            f"less than --min-agreement {gate.min_agreement:g}. However fast it is, it is wrong: do not "
            "ship it."
        )
    drop = points_lost(found.host_score, found.phone_score)
    if gate.max_drop is not None and drop > gate.max_drop:
        allowed = f"more than --max-drop {gate.max_drop:g}"
        return f"{who} loses {drop:.2f} points of {_measure(found)} against the host, {allowed}."
    return None


def _print(found: Sequence[PhoneVerification], *, most_samples: int) -> None:
    for measure in dict.fromkeys(map(_measure, found)):
        _print_table([each for each in found if _measure(each) == measure], measure)
    if any(_measure(each) == "mAP" for each in found):
        click.echo(
            "mAP: each label is its own yes or no, so a top-1 says nothing; the mean over the labels of the "
            "average precision. agree: images on which every label is on the same side of its threshold."
        )
    if any(each.is_on_classes for each in found):
        click.echo(f"{SIGMOIDS_ON_CLASSES}.")
    click.echo(
        f"{_images(found)}, the classes in turn; as many as --budget-secs allows, since "
        "each is its own process. The host is the same file in LiteRT; a GPU that computes in float16 "
        "differs a little."
    )
    for words in dict.fromkeys(each.classes_matched for each in found):
        click.echo(words)
    few = min((each.num_samples for each in found if each.valid), default=0)
    if 0 < few < 100:
        more = ": raise --budget-secs for more" if few < most_samples else ""
        click.echo(f"With {counted(few, 'sample')} one of them is {100 / few:.1f} points{more}.")


def _print_confusion(found: Sequence[PhoneVerification]) -> None:
    with open_store(runs_folder()) as store:
        kept = [
            store.predictions(
                each.artifact_sha256,
                dataset_fingerprint=each.dataset_fingerprint,
                split=each.split,
                where=f"{each.where} {each.delegate}",
            )
            for each in found
        ]
    names = [f"{Path(each.path).name} with {each.delegate} on {each.where}" for each in found]
    print_confusion(names, kept)


def _print_table(found: Sequence[PhoneVerification], measure: str) -> None:
    numbers = ["samples", f"phone {measure}", f"host {measure}", "agree", "max diff", "s/sample"]
    rows = table("file", "phone", "delegate", *numbers, numbers=numbers)
    for each in found:
        rows.add_row(
            Path(each.path).name,
            each.where,
            each.delegate,
            f"{each.num_samples:,}",
            _percent(each.phone_score),
            _percent(each.host_score),
            _percent(each.agreement),
            "-" if each.max_abs_difference is None else f"{each.max_abs_difference:.3g}",
            f"{each.secs_per_sample:.2f}",
        )
    print_table(rows)


def _measure(found: PhoneVerification) -> str:
    return "top-1" if found.host_average_precision is None else "mAP"


def _images(found: Sequence[PhoneVerification]) -> str:
    """The images that the files ran on, per file if they are not the same for all."""
    names: dict[str, dict[str, None]] = {}
    for each in found:
        names.setdefault(f"{each.split} images of {each.dataset}", {})[Path(each.path).name] = None
    if len(names) == 1:
        return next(iter(names))
    return "; ".join(f"{', '.join(files)}: {images}" for images, files in names.items())


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}%"
