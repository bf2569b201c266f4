"""Models x threads x delegates on many phones at once: one thread a phone, one job at a time on each.

On a phone the jobs take turns in rounds, every second round in reverse order, so that drift of the phone
affects all of them equally. A lost phone is waited for; its finished rounds are kept.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from android_bench.errors import (
    ConnectionLostError,
    DeviceError,
    NoPhoneError,
    NotReadyError,
    StorageError,
    TimeLimitError,
    ToolError,
)
from android_bench.phone.adb import Phone, answer_secs
from android_bench.phone.device import DeviceInfo, Heat, read_heat
from android_bench.phone.session import LocalFile, Session
from android_bench.reasons import Reason
from android_bench.settings import MatrixSettings
from android_bench.tool.runner import RunOutcome, RunRequest, ToolFlags, failed, prepare, run
from spelling import counted

POLL_SECS = 1.0
"""Polling interval for a warm or a lost phone."""
HEAT_SECS = 2.0
"""Interval of temperature readings while a phone works; it is also read after each job's last round."""
SHUTDOWN_SECS = 0.5
"""Time between the end of all processes on a phone that shuts down and the loss of its connection."""
NUM_LOSSES = 3
"""A job is given up after this many connection losses: it may be what crashes the phone."""
NUM_REPEATS = 2
"""How many times a round is measured again, if the phone throttled or was busy."""
_LEAVE_SECS = 30.0
_GONE = (ConnectionLostError, TimeLimitError, NoPhoneError, NotReadyError)

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One file with one setting on one phone, measured in rounds."""

    key: str
    """The job's name in the store."""
    label: str
    rounds: tuple[RunRequest, ...]
    done: frozenset[int] = frozenset()
    """The rounds that are already measured."""


@dataclass(frozen=True, kw_only=True)
class PhonePlan:
    """The jobs of one phone."""

    phone: Phone
    info: DeviceInfo
    tool: LocalFile
    jobs: tuple[Job, ...]

    @property
    def num_runs(self) -> int:
        """The number of runs still to be made."""
        return sum(len(job.rounds) - len(job.done) for job in self.jobs)


@dataclass(frozen=True, kw_only=True)
class RoundDone:
    """A round that was measured or failed."""

    plan: PhonePlan
    job: Job
    round_index: int
    outcome: RunOutcome
    celsius: float | None
    """The last temperature reading."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """A short description of what a phone is doing."""

    plan: PhonePlan
    text: str


@dataclass(frozen=True, kw_only=True)
class PhoneLost:
    """A phone that is given up; its unfinished jobs are not measured."""

    plan: PhonePlan
    reason: str


@dataclass(frozen=True, kw_only=True)
class _Ended:
    """A worker is done; holds its unexpected error, if any."""

    error: BaseException | None = None


Event = RoundDone | Status | PhoneLost
Listener = Callable[[Event], None]


def run_matrix(plans: Sequence[PhonePlan], settings: MatrixSettings, listen: Listener) -> None:
    """Runs every phone's jobs; calls `listen(event)` for each event, in the caller's thread.

    KeyboardInterrupt ends the runs on the phones, cleans up there, passes the finished rounds to `listen`,
    and is raised again. An unexpected error is raised when the other phones are done.
    """
    events: queue.Queue[Event | _Ended] = queue.Queue()
    stop = threading.Event()
    workers = [_Worker(plan, settings, events, stop) for plan in plans]
    threads = [threading.Thread(target=worker.work, daemon=True) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        error = _listen(events, len(threads), listen)
    except BaseException:
        stop.set()
        for plan in plans:
            plan.phone.interrupt()
        deadline = time.monotonic() + _LEAVE_SECS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        _drain(events, listen)
        raise
    if error is not None:
        raise error


def too_warm(heat: Heat, max_celsius: float) -> str | None:
    """Why the phone is too warm to start a run; None if it is not."""
    if heat.throttled:
        return Reason.THROTTLED.text(status=heat.throttled)
    if heat.celsius is not None and heat.celsius > max_celsius:
        return Reason.TOO_WARM.text(celsius=f"{heat.celsius:.1f}", limit=f"{max_celsius:g}")
    return None


def _listen(events: queue.Queue[Event | _Ended], num_workers: int, listen: Listener) -> BaseException | None:
    """Passes on events until all workers have ended; returns the first unexpected error."""
    error: BaseException | None = None
    while num_workers:
        event = events.get()
        if isinstance(event, _Ended):
            num_workers -= 1
            error = error or event.error
            continue
        try:
            listen(event)
        except KeyboardInterrupt:
            events.put(event)  # _drain passes it to `listen` again
            raise
    return error


def _drain(events: queue.Queue[Event | _Ended], listen: Listener) -> None:
    """Passes on the finished rounds that are still in the queue."""
    while not events.empty():
        event = events.get()
        if isinstance(event, RoundDone):
            listen(event)


class _StoppedError(Exception):
    """All work must end now."""


class _UnstableError(DeviceError):
    """The phone's connection is lost repeatedly."""


class _Worker:
    """The thread that works one phone."""

    def __init__(
        self,
        plan: PhonePlan,
        settings: MatrixSettings,
        events: queue.Queue[Event | _Ended],
        stop: threading.Event,
    ) -> None:
        self._plan = plan
        self._phone = plan.phone
        self._settings = settings
        self._events = events
        self._stop = stop
        self._heat: Heat | None = None
        self._heat_read = 0.0

    def work(self) -> None:
        unforeseen: BaseException | None = None
        try:
            with Session(self._phone, keep=self._settings.keep) as session:
                self._take_turns(session)
            self._say("done")
        except _StoppedError:
            pass
        except (DeviceError, ToolError) as error:
            if not self._stop.is_set():
                self._events.put(PhoneLost(plan=self._plan, reason=str(error)))
        except BaseException as error:  # run_matrix raises it in the caller's thread
            unforeseen = error
        finally:
            self._events.put(_Ended(error=unforeseen))

    def _take_turns(self, session: Session) -> None:
        flags = self._patiently(session, lambda: prepare(session, self._plan.tool))
        over: set[str] = set()
        for job, round_index in _turns(self._plan.jobs):
            if job.key in over:
                continue
            outcome = self._play(session, flags, job, round_index)
            if outcome.failure or outcome.reasons:
                over.add(job.key)
            self._events.put(
                RoundDone(
                    plan=self._plan,
                    job=job,
                    round_index=round_index,
                    outcome=outcome,
                    celsius=self._heat.celsius if self._heat else None,
                )
            )

    def _play(self, session: Session, flags: ToolFlags, job: Job, round_index: int) -> RunOutcome:
        """One round, repeated if the phone throttled or was busy."""
        request = job.rounds[round_index]
        is_last = round_index == len(job.rounds) - 1
        what = f"{job.label}, round {round_index + 1} of {len(job.rounds)}"
        for repeat in range(1 + NUM_REPEATS):
            warm = self._cool(session)
            try:
                outcome = self._patiently(session, lambda: self._run(session, flags, job, request, what))
            except (StorageError, ToolError, _UnstableError) as error:
                return failed(str(error))
            if outcome.failure:
                return outcome
            if is_last or repeat or time.monotonic() - self._heat_read > HEAT_SECS:
                self._read_heat(session)
            throttled = self._heat.throttled if self._heat else None
            if warm is None and throttled is not None:
                warm = Reason.THROTTLED.text(status=throttled)
            elif warm is not None or not outcome.beside:
                break
            elif repeat < NUM_REPEATS:
                self._say(f"waiting: {outcome.beside[0]}")
                self._wait(POLL_SECS)
        found = [*outcome.reasons, *([warm] if warm else [])]
        if is_last:
            found += self._patiently(session, lambda: _changed(session, request.model))
        return replace(outcome, reasons=tuple(dict.fromkeys(found)))

    def _run(
        self, session: Session, flags: ToolFlags, job: Job, request: RunRequest, what: str
    ) -> RunOutcome:
        session.put([self._plan.tool, request.model], progress=self._pushing(job))
        self._say(what)
        outcome = run(session, self._plan.tool, flags, request)
        if outcome.failure:
            self._check_there()
        return outcome

    def _check_there(self) -> None:
        """Raises if the phone is shutting down: its processes end first, and the tool did not fail."""
        self._wait(SHUTDOWN_SECS)
        self._phone.shell("true")

    def _read_heat(self, session: Session) -> Heat:
        self._heat = self._patiently(session, lambda: read_heat(self._phone))
        self._heat_read = time.monotonic()
        return self._heat

    def _cool(self, session: Session) -> str | None:
        """Waits until the phone is cool; after cool_secs returns why it is still warm."""
        heat = self._heat or self._read_heat(session)
        deadline = time.monotonic() + self._settings.cool_secs
        while (warm := too_warm(heat, self._settings.max_celsius)) is not None:
            left_secs = deadline - time.monotonic()
            if left_secs <= 0:
                return f"{warm}, and after cooling {self._settings.cool_secs:g} s it still was"
            self._say(f"cooling, {left_secs:.0f} s at most: {warm}")
            self._wait(min(POLL_SECS, left_secs))
            heat = self._read_heat(session)
        return None

    def _patiently(self, session: Session, action: Callable[[], Answer]) -> Answer:
        """The action's result; it is retried when the phone was lost and came back."""
        reason = ""
        for _ in range(NUM_LOSSES):
            self._check_stop()
            try:
                return action()
            except _GONE as error:
                self._check_stop()
                reason = str(error)
                if not self._comes_back(session, reason):
                    raise
        raise _UnstableError(Reason.PHONE_LEFT.text(times=counted(NUM_LOSSES, "time"), why=reason))

    def _comes_back(self, session: Session, reason: str) -> bool:
        deadline = time.monotonic() + self._settings.reconnect_secs
        while (left_secs := deadline - time.monotonic()) > 0:
            self._say(f"gone, waiting {left_secs:.0f} s at most: {reason}")
            self._phone.reconnect()
            if self._phone.is_ready() and self._opens(session, min(left_secs, answer_secs())):
                return True
            self._wait(min(POLL_SECS, left_secs))
        return False

    def _opens(self, session: Session, limit_secs: float) -> bool:
        try:
            self._phone.shell("true", limit_secs=limit_secs)
            session.end_tool()
            session.open()
        except DeviceError:
            return False
        return True

    def _pushing(self, job: Job) -> Callable[[int, int], None]:
        def show(done: int, total: int) -> None:
            self._say(f"pushing {job.label}, {done / 1e6:.1f} of {total / 1e6:.1f} MB")

        return show

    def _wait(self, secs: float) -> None:
        self._stop.wait(secs)
        self._check_stop()

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise _StoppedError

    def _say(self, text: str) -> None:
        self._events.put(Status(plan=self._plan, text=text))


def _turns(jobs: Sequence[Job]) -> Iterator[tuple[Job, int]]:
    """Every round of every job to run, every second round in reverse order."""
    for round_index in range(max((len(job.rounds) for job in jobs), default=0)):
        for job in jobs if round_index % 2 == 0 else reversed(jobs):
            if round_index < len(job.rounds) and round_index not in job.done:
                yield job, round_index


def _changed(session: Session, model: LocalFile) -> list[str]:
    """The reason, if the file on the phone changed during the rounds."""
    place = session.path_of(model)
    there = session.checksums([place]).get(place)
    if there == model.sha256:
        return []
    return [Reason.OTHER_FILE.text(found=f"its sha256 is {(there or 'missing')[:12]}")]
