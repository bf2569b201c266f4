"""Where `choose` measures: this machine, or phones through the matrix."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pipeline.bench.child import runtime_version
from pipeline.bench.fleet import FleetPhone, measure
from pipeline.bench.host import BenchResult, MeasuredFile, machine_name, run_rounds
from pipeline.bench.settings import HOST_ONLY, BenchSettings, FleetSettings
from pipeline.choose.settings import HOST
from pipeline.progress import Doing, Note, Progress
from pipeline.steps.bench import keep
from pipeline.store.store import open_store

Found = Mapping[str, Mapping[Path, MeasuredFile]]
"""Target -> file -> its measurement."""


@dataclass
class Targets:
    """This machine, or some phones. A phone that is lost is not measured again."""

    bench: BenchSettings
    fleet: tuple[FleetPhone, ...] = ()
    """Empty: this machine."""
    phones: FleetSettings = field(default_factory=FleetSettings)
    """How phones are measured; `bench` is part of it."""
    lost: dict[str, str] = field(default_factory=dict)
    """Target -> why it was given up."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of all targets, those that were lost included."""
        return tuple(each.info.where for each in self.fleet) or (HOST,)

    @property
    def alive(self) -> tuple[str, ...]:
        """Of the targets that were not lost."""
        return tuple(name for name in self.names if name not in self.lost)

    def settings(self) -> dict[str, str]:
        """Target -> what decides a file's latency there, as JSON."""
        bench = {name: value for name, value in asdict(self.bench).items() if name != "patience_secs"}
        if not self.fleet:
            runtime = {"version": runtime_version(self.bench.runtime), "machine": machine_name()}
            return {HOST: _text({"where": HOST, **runtime, **bench})}
        shared = {name: value for name, value in bench.items() if name not in HOST_ONLY}
        shared |= {**asdict(self.phones.phone), "max_celsius": self.phones.matrix.max_celsius}
        return {
            each.info.where: _text(
                {"where": each.info.where, "build": each.info.machine, "tool": each.tool.sha256, **shared}
            )
            for each in self.fleet
        }

    def measure(self, files: Sequence[Path], *, store: Path, progress: Progress) -> Found:
        """Measures the files in turns on every target; a phone's rounds are kept in the store in `store`."""
        if not self.fleet:
            return {HOST: self._here(files, progress)}
        return self._there(files, store, progress)

    def measure_and_keep(self, files: Sequence[Path], *, runs: Path, progress: Progress) -> Found:
        """The same, with every measurement added to the results in `runs`."""
        found = self.measure(files, store=runs, progress=progress)
        if not self.fleet:
            keep(BenchResult(measured=tuple(found[HOST].values()), stopped=False), runs=runs)
        return found

    def _here(self, files: Sequence[Path], progress: Progress) -> dict[Path, MeasuredFile]:
        def turn(done: int, total: int, name: str) -> None:
            progress(Doing("measuring", name, done, total))

        result = run_rounds(files, self.bench, progress=turn)
        if result.stopped:
            raise KeyboardInterrupt
        return {Path(each.measurement.path): each for each in result.measured}

    def _there(
        self, files: Sequence[Path], store_folder: Path, progress: Progress
    ) -> dict[str, dict[Path, MeasuredFile]]:
        fleet = [each for each in self.fleet if each.info.where not in self.lost]
        progress(Doing(f"measuring on {', '.join(each.info.where for each in fleet)}"))
        with open_store(store_folder) as store:
            result = measure(fleet, files, self.phones, store=store, listen=lambda event, phone: None)  # noqa: ARG005
        if result.stopped:
            raise KeyboardInterrupt
        for phone in result.phones:
            if phone.lost is not None:
                self.lost[phone.info.where] = phone.lost
                progress(Note(f"pipeline: gave up {phone.info.where}: {phone.lost}"))
        return {
            phone.info.where: {Path(each.measurement.path): each for each in phone.measured}
            for phone in result.phones
        }


def _text(setting: Mapping[str, object]) -> str:
    return json.dumps(setting, sort_keys=True, separators=(",", ":"))
