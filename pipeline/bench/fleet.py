"""Measures files on many phones at once; every round is stored when it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from android_bench.errors import DeviceError, ToolError
from android_bench.matrix import Event, PhoneLost, PhonePlan, RoundDone, run_matrix
from android_bench.phone.adb import ListedPhone, Phone
from android_bench.phone.device import DeviceInfo, identify
from android_bench.phone.session import LocalFile
from android_bench.tool.binary import Progress, Tool, cache_folder, choose, fetch
from pipeline.bench.host import MeasuredFile
from pipeline.bench.phone import PhoneSeries, local_file, plan_phone, plan_series
from pipeline.bench.settings import FleetSettings
from pipeline.sessions import new_session
from pipeline.store.store import Store


@dataclass(frozen=True, kw_only=True)
class FleetPhone:
    """A ready phone and its benchmark binary."""

    phone: Phone
    info: DeviceInfo
    tool: LocalFile


@dataclass(frozen=True, kw_only=True)
class Absent:
    """A selected phone that cannot take part."""

    serial: str
    reason: str


@dataclass
class PhoneResult:
    """The measurements of one phone."""

    info: DeviceInfo
    series: list[PhoneSeries]
    from_store: list[MeasuredFile] = field(default_factory=list)
    """Measurements of earlier calls with the same artifact, phone, tool and settings."""
    complete: dict[str, MeasuredFile] = field(default_factory=dict)
    """By the series' key, earlier calls included."""
    lost: str | None = None
    """Why the phone was given up, if it was."""
    unfit: bool = False
    """Whether it can never do what was requested."""
    celsius: float | None = None
    """The last temperature reading."""

    @property
    def measured(self) -> list[MeasuredFile]:
        """The measurements, in the requested order."""
        return [self.complete[each.key] for each in self.series if each.key in self.complete]

    @property
    def not_measured(self) -> list[PhoneSeries]:
        """The incomplete series; their finished rounds are kept."""
        return [each for each in self.series if each.key not in self.complete]


@dataclass(frozen=True, kw_only=True)
class FleetResult:
    """The measurements of one call."""

    phones: tuple[PhoneResult, ...]
    stopped: bool
    """Whether Ctrl-C ended it early."""


def gather(
    listed: Sequence[ListedPhone], tools: Sequence[Tool], *, progress: Progress | None = None
) -> tuple[list[FleetPhone], list[Absent]]:
    """Identifies all phones in parallel and finds a binary for each.

    DeviceError or ToolError if none of them can take part.
    """
    phones = [Phone(each.server, each.serial) for each in listed]
    with ThreadPoolExecutor(len(phones)) as pool:
        answers = list(pool.map(_identity, phones))
    ready: list[FleetPhone] = []
    absent: list[Absent] = []
    problems: list[Exception] = []
    for phone, answer in zip(phones, answers, strict=True):
        try:
            if isinstance(answer, DeviceError):
                raise answer
            _refuse_twin(answer, ready)
            tool = choose(tools, answer) or fetch(answer, cache_folder(), progress=progress)
            ready.append(FleetPhone(phone=phone, info=answer, tool=_executable(tool)))
        except (DeviceError, ToolError) as error:
            problems.append(error)
            absent.append(Absent(serial=phone.serial, reason=str(error)))
    if not ready:
        raise problems[0]
    return ready, absent


def measure(
    fleet: Sequence[FleetPhone],
    files: Sequence[Path],
    settings: FleetSettings,
    *,
    store: Store,
    listen: Callable[[Event, PhoneResult], None],
) -> FleetResult:
    """Measures every file on every phone; each round and each measurement is stored when it is done.

    Measurements in the store with the same artifact, phone, tool and settings are reused, unless
    `settings.again`.
    """
    session = new_session()
    models = [local_file(file) for file in files]
    matrix = settings.matrix
    results = {
        each.phone: _open_result(
            planned_series(models, each, settings),
            each.info,
            store,
            again=settings.again,
        )
        for each in fleet
    }
    plans = [plan for phone, result in results.items() if (plan := _plan(phone, result)) is not None]

    def take(event: Event) -> None:
        result = results[event.plan.phone]
        if isinstance(event, RoundDone):
            _take_round(event, result, store, session)
        elif isinstance(event, PhoneLost):
            result.lost = event.reason
        listen(event, result)

    stopped = False
    try:
        run_matrix(plans, matrix, take)
    except KeyboardInterrupt:
        stopped = True
    return FleetResult(phones=tuple(results.values()), stopped=stopped)


def planned_series(
    models: Sequence[LocalFile], member: FleetPhone, settings: FleetSettings
) -> list[PhoneSeries]:
    """The series to measure on one phone of the fleet."""
    celsius = settings.matrix.max_celsius
    return plan_series(models, member.info, member.tool, settings.bench, settings.phone, max_celsius=celsius)


def _executable(tool: Tool) -> LocalFile:
    return LocalFile(path=tool.path, sha256=tool.sha256, executable=True)


def _identity(phone: Phone) -> DeviceInfo | DeviceError:
    try:
        return identify(phone)
    except DeviceError as error:
        return error


def _refuse_twin(info: DeviceInfo, others: Sequence[FleetPhone]) -> None:
    """DeviceError for a phone that takes part already, by cable or over the network."""
    for other in others:
        if other.info.own_serial == info.own_serial:
            raise DeviceError(
                f"it is the same phone as {other.info.serial}, reached another way. Name one: -s SERIAL"
            )


def _open_result(series: list[PhoneSeries], info: DeviceInfo, store: Store, *, again: bool) -> PhoneResult:
    result = PhoneResult(info=info, series=series)
    for each in series:
        if again:
            store.forget_rounds(each.key)
            continue
        known = store.measurement_of(each.key)
        if known is not None:
            found = MeasuredFile(
                measurement=replace(known, path=str(each.file)),  # its present path
                round_medians_ms=known.round_medians_ms,
                size_bytes=each.size_bytes,
            )
            result.complete[each.key] = found
            result.from_store.append(found)
        else:
            each.resume(store.rounds(each.key))
            _finish(each, result, store)
    return result


def _plan(phone: Phone, result: PhoneResult) -> PhonePlan | None:
    """The phone's jobs; None if there are none, or if the phone does not have the cores."""
    try:
        plan = plan_phone(phone, result.series, result.not_measured)
    except DeviceError as error:
        result.lost, result.unfit = str(error), True
        return None
    return plan if plan.jobs else None


def _take_round(event: RoundDone, result: PhoneResult, store: Store, session: str) -> None:
    series = next(each for each in result.series if each.key == event.job.key)
    result.celsius = event.celsius
    kept = series.take(event.round_index, event.outcome, event.celsius, session=session)
    if kept is not None and not kept.reasons:
        store.add_round(series.key, event.round_index, asdict(kept))
    _finish(series, result, store)


def _finish(series: PhoneSeries, result: PhoneResult, store: Store) -> None:
    """Stores a measurement whose rounds are over; good rounds of an invalid one stay for the next call."""
    if series.is_over:
        found = series.measured()
        store.add_measurement(found.measurement)
        if found.measurement.valid or len(series.rounds) == series.num_rounds:
            store.forget_rounds(series.key)
        result.complete[series.key] = found
