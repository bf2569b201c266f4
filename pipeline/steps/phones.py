"""Verifies exported files on phones, compared with this machine's labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from android_bench.errors import DeviceError, ToolError
from android_bench.matrix import Event
from android_bench.phone.session import Session
from android_bench.tool.runner import prepare
from pipeline.bench.fleet import FleetPhone, FleetResult, PhoneResult, measure
from pipeline.bench.phone_answers import Samples, answer_here, answer_there
from pipeline.bench.settings import FleetSettings
from pipeline.class_names import match_file
from pipeline.errors import PipelineError
from pipeline.lineage import artifact_of, data_of_file
from pipeline.progress import Doing, Note, Progress, silent
from pipeline.records.phone_verification import PhoneVerification
from pipeline.steps.dataset import load_dataset
from pipeline.steps.settings import PhoneVerifySettings
from pipeline.store.predictions import KeptPredictions
from pipeline.store.store import open_store


@dataclass(frozen=True, kw_only=True)
class PhonesVerified:
    """The results, and a note for each phone that was given up."""

    verifications: tuple[PhoneVerification, ...]
    problems: tuple[Exception, ...]
    most_samples: int
    """The largest number of samples available for any of the files."""


def bench_on_phones(
    files: Sequence[Path],
    fleet: Sequence[FleetPhone],
    settings: FleetSettings,
    *,
    runs: Path,
    listen: Callable[[Event, PhoneResult], None] = lambda event, result: None,  # noqa: ARG005
) -> FleetResult:
    """Measures the files on the phones; each round is in the store in `runs` when it is done.

    `listen` is called with what happens on which phone, and what is known of that phone then.
    """
    with open_store(runs) as store:
        return measure(fleet, files, settings, store=store, listen=listen)


def verify_on_phones(
    files: Sequence[Path],
    fleet: Sequence[FleetPhone],
    settings: PhoneVerifySettings,
    *,
    runs: Path,
    progress: Progress = silent,
) -> PhonesVerified:
    """Verifies the files on each phone with each delegate; each result is stored before the next.

    A phone that fails is given up, with a note; its error is raised if no phone gave any result.
    """
    samples = [_answered_here(path, settings, progress) for path in files]
    found: list[PhoneVerification] = []
    problems: list[Exception] = []
    for member in fleet:
        try:
            for verified, kept in _answered_there(member, samples, settings, progress):
                with open_store(runs) as store:
                    store.add_phone_verification(verified, kept)
                found.append(verified)
        except (DeviceError, ToolError, PipelineError) as error:
            problems.append(error)
            progress(Note(f"pipeline: gave up {member.info.where}: {error}"))
    if problems and not found:
        raise problems[0]
    return PhonesVerified(
        verifications=tuple(found),
        problems=tuple(problems),
        most_samples=max((len(each.labels) for each in samples), default=0),
    )


def _answered_here(path: Path, settings: PhoneVerifySettings, progress: Progress) -> Samples:
    artifact = artifact_of(path)
    dataset = load_dataset(data_of_file(path, settings.data), progress)
    matched = match_file(artifact, dataset.spec.class_names)
    progress(Doing(f"running {path.name} here"))
    return answer_here(
        path,
        artifact,
        dataset,
        matched,
        split=dataset.filled_split(settings.split),
        num_samples=settings.num_samples,
        seed=settings.seed,
    )


def _answered_there(
    member: FleetPhone, samples: Sequence[Samples], settings: PhoneVerifySettings, progress: Progress
) -> Iterator[tuple[PhoneVerification, KeptPredictions | None]]:
    """Yields each result and its predictions when it is done. DeviceError when the phone is lost."""
    with Session(member.phone) as session:
        flags = prepare(session, member.tool)
        for each in samples:
            for delegate in settings.delegates:
                doing = f"running {each.path.name} with {delegate} on {member.info.where}"
                progress(Doing(doing))

                def count(done: int, total: int, doing: str = doing) -> None:
                    progress(Doing(doing, f"{done:,} of {total:,} images", done, total))

                yield answer_there(
                    session,
                    member,
                    flags,
                    each,
                    delegate=delegate,
                    budget_secs=settings.budget_secs,
                    progress=count,
                )
