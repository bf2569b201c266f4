"""Part five of a choice: the last nets trained to the end, exported, verified, and measured in turns."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from export.check.paired import CHANCE_P, mcnemar_p
from export.files import sha256_of
from export.precisions import Precision
from export.settings import ExportSettings
from pipeline.bench.host import MeasuredFile
from pipeline.choose.candidates import Net
from pipeline.choose.race import Race
from pipeline.choose.targets import Targets
from pipeline.choose.verdict import Final
from pipeline.errors import PipelineError
from pipeline.lineage import find_source
from pipeline.progress import Note, Progress
from pipeline.records.measurement import measurement_from_record
from pipeline.steps.export import file_name
from pipeline.steps.max_drop import int8_within
from pipeline.steps.settings import MaxDropSettings, VerifySettings
from pipeline.steps.verify import verify
from pipeline.store.store import open_store
from pipeline.trials.trial import TrialFile, TrialResult
from spelling import counted

Kept = dict[str, dict[str, Any]]
"""Target -> SHA-256 -> a final measurement, as JSON."""


def finished(race: Race, names: Sequence[str]) -> tuple[list[Final], dict[str, str]]:
    """The files of the finalists and of the user's own nets, verified on the test split.

    Second, net -> why it is not among them. Without any file PipelineError.
    """
    finals: list[Final] = []
    results, left_out = _trained(race, names)
    for result in results:
        for file in result.files:
            path, name = race.runs / file.path, f"{result.name} {file.precision}"
            finals.append(_final(race, name, result.name, path))
            if file.precision is Precision.INT8 and _loses(race, file):
                finals += _within(race, result, finals[-1])
        left_out |= {f"{result.name}, a file": why for why in result.refused}
    for net in race.found.nets:
        if net.is_own:
            finals += _own(race, net)
    if not finals:
        why = next(iter(left_out.values()), "no net was trained to the end")
        raise PipelineError(f"there is no file to choose: {why}")
    return finals, left_out


def _trained(race: Race, names: Sequence[str]) -> tuple[list[TrialResult], dict[str, str]]:
    nets = {net.name: net for net in race.found.nets}
    trials = [
        race.trial(
            nets[name],
            until=None,
            precisions=tuple(each.precision for each in race.found.racing(name)),
        )
        for name in names
    ]
    return race.train(trials, share=1.0, until=race.ends[-1])


def _loses(race: Race, file: TrialFile) -> bool:
    """Whether a file loses more than --max-drop, and more than chance: one image of 69 is 1.4 points."""
    if (file.drop_points or 0.0) <= race.settings.max_drop:
        return False
    with open_store(race.runs) as store:
        found = store.verifications(file.sha256)[-1]
    only = found.num_only_keras_right, found.num_only_tflite_right
    return only[0] is None or only[1] is None or mcnemar_p(only[0], only[1]) < CHANCE_P


def _within(race: Race, result: TrialResult, plain: Final) -> list[Final]:
    """The int8 file of the ladder, verified, which may be larger than the plain one; none if no better."""
    source = find_source(str(race.runs / str(result.run)), data=None, folder=race.runs)
    settings = MaxDropSettings(max_drop=race.settings.max_drop, seed=race.settings.seed)
    written = int8_within(source, settings, runs=race.runs, progress=race.progress)
    if not written.climb.holds:
        race.progress(Note(f"{plain.name}: no int8 file loses {race.settings.max_drop:g} points or less"))
        return []
    if sha256_of(written.path) == plain.sha256:
        return []
    taken = next(each for each in written.climb.tries if each.taken)
    verify([written.path], runs=race.runs, progress=race.progress)
    return [_final(race, f"{plain.name}, {taken.rung}", plain.net, written.path, made_by=taken.rung)]


def _own(race: Race, net: Net) -> Iterable[Final]:
    """The files of a trained model of the user's own, which were exported to be measured."""
    source = find_source(str(net.path), data=race.data, folder=race.runs)
    for each in race.found.racing(net.name):
        path = source.export_folder / file_name(source, ExportSettings(each.precision))
        verify([path], VerifySettings(data=race.data), runs=race.runs, progress=race.progress)
        yield _final(race, each.name, net.name, path, run=str(net.path))


def _final(race: Race, name: str, net: str, path: Path, *, made_by: str = "", run: str = "") -> Final:
    """A verified file, with its answer on each image from the store."""
    sha256 = sha256_of(path)
    with open_store(race.runs) as store:
        kept = store.predictions(sha256, dataset_fingerprint=race.dataset.fingerprint, split="test")
    if kept is None:
        raise PipelineError(f"the predictions of {path} are not in the store. Run the same command again.")
    right = tuple(map(bool, kept.found.file.label == kept.found.truth))
    return Final(
        name=name,
        net=net,
        path=str(path),
        sha256=sha256,
        run=run or path.parent.parent.name,
        size_bytes=path.stat().st_size,
        top1=100 * sum(right) / len(right),
        right=right,
        made_by=made_by,
    )


def measured_finals(
    finals: Sequence[Final], targets: Targets, kept: Kept, *, runs: Path, progress: Progress
) -> tuple[dict[str, dict[str, MeasuredFile]], Kept]:
    """Target -> SHA-256 -> the file's measurement, all in turns; and the same as JSON, to be kept.

    A target whose files are all measured validly in `kept` is not measured again.
    """
    sizes = {each.sha256: each.size_bytes for each in finals}
    found: dict[str, dict[str, MeasuredFile]] = {}
    for target in targets.names:
        before = {
            sha256: _measured(record, sizes.get(sha256, 0)) for sha256, record in kept.get(target, {}).items()
        }
        if set(sizes) <= set(before) and all(before[each].measurement.valid for each in sizes):
            found[target] = {sha256: before[sha256] for sha256 in sizes}
    if set(targets.alive) - set(found):
        progress(Note(f"measuring {counted(len(finals), 'file')} in turns"))
        paths = [Path(each.path) for each in finals]
        for target, by_file in targets.measure_and_keep(paths, runs=runs, progress=progress).items():
            if target not in found:
                found[target] = {each.measurement.artifact_sha256: each for each in by_file.values()}
    return found, {
        target: {sha256: _record(each) for sha256, each in files.items()} for target, files in found.items()
    }


def _record(measured: MeasuredFile) -> dict[str, Any]:
    rounds = measured.round_medians_ms
    return dataclasses.asdict(dataclasses.replace(measured.measurement, round_medians_ms=rounds))


def _measured(record: Mapping[str, Any], size_bytes: int) -> MeasuredFile:
    found = measurement_from_record(dict(record))
    return MeasuredFile(measurement=found, round_medians_ms=found.round_medians_ms, size_bytes=size_bytes)
