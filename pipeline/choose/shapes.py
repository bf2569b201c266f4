"""Size and latency of candidates before any training: of files with random weights, stored by shape."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np

from export.errors import ExportError
from export.exporter import SourceModel, export_model
from export.files import sha256_of
from export.quantization.calibrate import CalibrationImages
from export.settings import ExportSettings
from models.build import build, build_without_weights
from models.cost import cost
from pipeline.choose.candidates import OWN, Candidate, Net
from pipeline.choose.drop import Costed, too_large, weight_bytes_of
from pipeline.choose.settings import CHOICES, Budget
from pipeline.choose.targets import Targets
from pipeline.data.calibration import calibration_images
from pipeline.data.dataset import Dataset
from pipeline.errors import PipelineError
from pipeline.lineage import find_source, load_model_of
from pipeline.progress import Doing, Note, Progress
from pipeline.records.shape import ShapeMeasurement, nearest, shape_key
from pipeline.steps.export import export
from pipeline.store.store import open_store
from spelling import counted

TOGETHER = 8
"""Files that take turns in one session, after which they are stored."""
NUM_CALIBRATION = 16
"""Images that an untrained file is calibrated with: its ranges change no latency."""
TRIES = 2
"""How often a file is measured on a busy machine before it is given up."""
BIAS_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class NetCost:
    """What a net costs by its layers."""

    macs: int
    parameters: int
    num_weights: int
    """Values of kernels, which every file holds."""


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """What was measured of the candidates."""

    costed: tuple[Costed, ...]
    not_measured: Mapping[str, str]
    """Candidate -> why it has no figure on any target."""


def net_costs(nets: Iterable[Net], *, num_classes: int, data: str, runs: Path) -> dict[str, NetCost]:
    """The mult-adds and parameters of each net, by its name."""
    found = {}
    for net in nets:
        if net.path is not None:
            model = load_model_of(find_source(str(net.path), data=data, folder=runs))
        else:
            model = build_without_weights(net.family, **net.resolved(num_classes))
        costs = cost(model)
        weights = sum(math.prod(each.shape) for each in model.weights if len(each.shape) > 1)
        found[net.name] = NetCost(macs=costs.macs, parameters=costs.parameters, num_weights=weights)
    return found


def stored_shapes(
    candidates: Sequence[Candidate],
    costs: Mapping[str, NetCost],
    settings: Mapping[str, str],
    *,
    num_classes: int,
    runs: Path,
) -> dict[str, dict[str, ShapeMeasurement]]:
    """Candidate -> target -> what the store has of it, or of a file with other classes and the same work."""
    found: dict[str, dict[str, ShapeMeasurement]] = {}
    with open_store(runs) as store:
        for each in candidates:
            key, macs = _key(each), costs[each.net.name].macs
            for target, setting in settings.items():
                known = nearest(store.shapes(key, setting), num_classes=num_classes, macs=macs)
                if known is not None:
                    found.setdefault(each.name, {})[target] = known
    return found


def measure_shapes(
    candidates: Sequence[Candidate],
    costs: Mapping[str, NetCost],
    dataset: Dataset,
    targets: Targets,
    *,
    data: str,
    budget: Budget,
    runs: Path,
    progress: Progress,
) -> Shapes:
    """Measures every candidate that the store does not have; each group is stored before the next begins.

    A candidate whose weights alone are over the budget is not made.
    """
    settings, num_classes = targets.settings(), len(dataset.spec.class_names)
    large = {
        each.name: why
        for each in candidates
        if (why := too_large(each, costs[each.net.name].num_weights, budget))
    }
    tried = [each for each in candidates if each.name not in large]
    known = stored_shapes(tried, costs, settings, num_classes=num_classes, runs=runs)
    left = [each for each in tried if not set(known.get(each.name, ())) >= set(targets.names)]
    if len(left) < len(tried):
        progress(
            Note(f"{len(tried) - len(left)} of {counted(len(candidates), 'candidate')}: measured before")
        )
    exporter = Exporter(dataset=dataset, data=data, runs=runs, progress=progress)
    bench = _Bench(exporter=exporter, targets=targets, runs=runs, progress=progress)
    failed: dict[str, str] = {}
    for start in range(0, len(left), TOGETHER):
        if targets.alive:
            failed |= bench.measure(left[start : start + TOGETHER], costs, settings)
    known = stored_shapes(tried, costs, settings, num_classes=num_classes, runs=runs)
    unknown = {each.name: failed.get(each.name, "it was not measured") for each in tried}
    return Shapes(
        costed=tuple(
            _costed(each, costs[each.net.name], known.get(each.name, {}), num_classes) for each in candidates
        ),
        not_measured=large | {name: why for name, why in unknown.items() if name not in known},
    )


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """Makes the files to measure before any training."""

    dataset: Dataset
    data: str
    runs: Path
    progress: Progress

    def exported(self, candidate: Candidate, folder: Path) -> Path:
        """The candidate's file: with random weights, or a model of the user's own as it is."""
        self.progress(Doing(f"exporting {candidate.name}, untrained"))
        net, precision = candidate.net, candidate.precision
        if net.path is not None:
            source = find_source(str(net.path), data=self.data, folder=self.runs)
            exported = export(source, [ExportSettings(precision)], runs=self.runs, progress=self.progress)
            if not exported.files:
                raise PipelineError("; ".join(exported.refused))
            return exported.files[0]
        return self.random(candidate, folder)

    def random(self, candidate: Candidate, folder: Path) -> Path:
        """Its file with random weights."""
        net, spec = candidate.net, self.dataset.spec
        keras.utils.set_random_seed(0)
        model = build(net.family, **net.resolved(len(spec.class_names)))
        _as_if_trained(model)
        path = folder / f"{net.name}.keras"
        model.save(path)
        images: CalibrationImages | None = None
        is_calibrated = candidate.precision.is_calibrated(has_quantizers=False)
        if is_calibrated:
            images = calibration_images(
                model, self.dataset, num_samples=NUM_CALIBRATION, seed=0, typical=False
            )
        settings = ExportSettings(candidate.precision)
        if is_calibrated:
            settings = dataclasses.replace(settings, equalize=False, num_calibration=NUM_CALIBRATION)
        target = folder / f"{net.name}_{candidate.precision}.tflite"
        source = SourceModel(
            path=path,
            model=model,
            model_name=net.name,
            family=net.family,
            knobs=net.resolved(len(spec.class_names)),
            class_names=spec.class_names,
        )
        export_model(source, target, settings, images=images)
        path.unlink()
        keras.backend.clear_session()
        return target


@dataclass(frozen=True, kw_only=True)
class _Bench:
    """Measures and stores a group of candidates."""

    exporter: Exporter
    targets: Targets
    runs: Path
    progress: Progress

    @property
    def num_classes(self) -> int:
        """Of the files."""
        return len(self.exporter.dataset.spec.class_names)

    def measure(
        self, group: Sequence[Candidate], costs: Mapping[str, NetCost], settings: Mapping[str, str]
    ) -> dict[str, str]:
        """Exports, measures and stores the group; returns candidate -> why it has no valid figure."""
        with tempfile.TemporaryDirectory(prefix="pipeline-untrained-") as scratch:
            files: dict[Path, Candidate] = {}
            failed: dict[str, str] = {}
            for each in group:
                try:
                    files[self.exporter.exported(each, Path(scratch))] = each
                except ExportError as error:
                    failed[each.name] = str(error)
            for _ in range(TRIES):
                done = self._measured_everywhere(files.values(), settings)
                left = [path for path, each in files.items() if each.name not in done]
                if left and self.targets.alive:
                    failed |= self._measured(left, files, costs, settings)
            return failed

    def _measured_everywhere(self, group: Iterable[Candidate], settings: Mapping[str, str]) -> set[str]:
        """The names of candidates that the store has on every target that is left."""
        found = set()
        with open_store(self.runs) as store:
            for each in group:
                num = self.num_classes
                wanted = (store.shapes(_key(each), settings[target]) for target in self.targets.alive)
                if all(any(one.num_classes == num for one in known) for known in wanted):
                    found.add(each.name)
        return found

    def _measured(
        self,
        paths: Sequence[Path],
        files: Mapping[Path, Candidate],
        costs: Mapping[str, NetCost],
        settings: Mapping[str, str],
    ) -> dict[str, str]:
        failed = {}
        results = self.targets.measure(paths, store=self.runs / CHOICES, progress=self.progress)
        with open_store(self.runs) as store:
            for target, by_file in results.items():
                for path, found in by_file.items():
                    each = files[path]
                    if not found.measurement.valid:
                        failed[each.name] = "; ".join(found.measurement.reasons)
                        continue
                    rounds = found.round_medians_ms
                    net = costs[each.net.name]
                    store.add_shape(
                        ShapeMeasurement(
                            shape=_key(each),
                            setting=settings[target],
                            num_classes=self.num_classes,
                            macs=net.macs,
                            parameters=net.parameters,
                            size_bytes=found.size_bytes,
                            measurement=dataclasses.replace(found.measurement, round_medians_ms=rounds),
                        )
                    )
        return failed


def _as_if_trained(model: keras.Model) -> None:
    """Gives every BatchNorm and bias other values than its first, which a file would store once or fold."""
    random = np.random.default_rng(0)
    for weight in model.weights:
        if weight.name in ("bias", "beta", "moving_mean"):
            weight.assign(random.normal(0, 0.1, weight.shape))
        elif weight.name in ("gamma", "moving_variance"):
            weight.assign(random.uniform(0.8, 1.25, weight.shape))


def _key(candidate: Candidate) -> str:
    """A candidate's shape; of a model of the user's own its checksum."""
    net = candidate.net
    knobs = {"sha256": sha256_of(net.path)} if net.path is not None else _costly(net)
    versions = {"tensorflow": version("tensorflow"), "exporter": version("keras-mobile-pipeline")}
    return shape_key(net.family, knobs, str(candidate.precision), versions=versions)


def _costly(net: Net) -> dict[str, object]:
    """The knobs that change a file's shape, but for its number of classes; those of its pixels do not."""
    without = ("num_classes", "scale", "offset", "dropout")
    return {name: value for name, value in net.resolved(2).items() if name not in without}


def _costed(
    candidate: Candidate, net: NetCost, known: Mapping[str, ShapeMeasurement], num_classes: int
) -> Costed:
    if not known:
        return Costed(candidate=candidate, macs=net.macs, parameters=net.parameters)
    one = next(iter(known.values()))
    same = one.num_classes == num_classes or candidate.net.family == OWN
    return Costed(
        candidate=candidate,
        macs=net.macs,
        parameters=net.parameters,
        size_bytes=one.size_bytes if same else _resized(one, candidate, net, num_classes),
        size_of_classes=None if same else one.num_classes,
        measured={target: each.measurement for target, each in known.items()},
    )


def _resized(known: ShapeMeasurement, candidate: Candidate, net: NetCost, num_classes: int) -> int:
    """The size that the file has with another number of classes: the head's weights and biases differ."""
    weight_bytes = weight_bytes_of(candidate.precision)
    biases = num_classes - known.num_classes
    weights = net.parameters - known.parameters - biases
    return known.size_bytes + weights * weight_bytes + biases * BIAS_BYTES
