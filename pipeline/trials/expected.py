"""How long trials are expected to train on this machine, from some timed steps of some of their nets."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError
from pipeline.progress import Progress
from pipeline.trials.local import Machine, run_tasks
from pipeline.trials.tasks import Outcome
from pipeline.trials.trial import Trial, trial_as_json, trial_from_json

WORK = "pipeline.trials.expected:timed_json"
NETS_OF_A_FAMILY = 3
"""So many are timed, from the cheapest to the dearest; between them time is linear in the MACs."""
STEPS = 3
FORWARD = 1 / 3
"""What an image of the validation costs beside one that is trained on."""


def expected_secs(trials: Sequence[Trial], *, runs: Path, threads: int = 1) -> list[float]:
    """The seconds that each trial is expected to train alone, with this many threads.

    Takes some seconds for each family, in a process that is given the cores of one trial. PipelineError with
    the reason if a net cannot be trained.
    """
    task = [trial_as_json(trial) for trial in trials]
    for heard in run_tasks([task], WORK, folder=runs, machine=Machine(threads=threads)):
        if isinstance(heard, Outcome):
            if heard.failure:
                raise PipelineError(heard.failure)
            return [float(secs) for secs in heard.reply]
    raise AssertionError("a task has an outcome")


def timed_json(task: Any, runs: Path, progress: Progress) -> list[float]:  # noqa: ANN401, ARG001
    """The seconds of each trial; imports TensorFlow."""
    import numpy as np

    from models.build import build_without_weights
    from models.cost import cost
    from pipeline.steps.train import Prepared, prepare

    trials = [trial_from_json(each) for each in task]
    nets: dict[str, dict[str, tuple[int, Prepared]]] = defaultdict(dict)
    prepared = []
    for trial in trials:
        found = prepare(trial.family, trial.data, trial.settings, runs=runs)
        net = json.dumps([found.config.knobs, found.config.data])
        if net not in nets[trial.family]:
            macs = cost(build_without_weights(trial.family, **found.config.knobs)).macs
            nets[trial.family][net] = (macs, found)
        prepared.append((trial, net, found))
    lines: dict[str, Any] = {}
    for family, members in nets.items():
        ordered = sorted(members.values(), key=lambda each: each[0])
        places = np.unique(np.linspace(0, len(ordered) - 1, NETS_OF_A_FAMILY).round().astype(int))
        timed = [(ordered[place][0], _secs_of_an_image(ordered[place][1])) for place in places]
        lines[family] = np.array(timed).T
    expected = []
    for trial, net, found in prepared:
        macs, secs_of_an_image = lines[trial.family]
        secs = float(np.interp(nets[trial.family][net][0], macs, secs_of_an_image))
        spec = found.dataset.spec
        epochs = min(trial.until or found.config.epochs, found.config.epochs)
        expected.append(secs * epochs * (spec.num_train + FORWARD * spec.num_validation))
    return expected


def _secs_of_an_image(prepared: Any) -> float:  # noqa: ANN401 - a Prepared, of a module that imports TensorFlow
    from models.build import build
    from pipeline.training.scorer import Scorer, class_weights_of, compiled_scorer

    config, dataset = prepared.config, prepared.dataset
    scorer = compiled_scorer(
        build(str(config.family), **config.knobs), config, class_weights_of(config, dataset.spec)
    )
    batches = Scorer(model=scorer, dataset=dataset, config=config).training_batches(0)
    secs = []
    for pixels, labels in batches.take(1 + STEPS):
        begun = time.perf_counter()
        scorer.train_on_batch(pixels, labels)
        secs.append((time.perf_counter() - begun) / len(labels))
    return min(secs[1:] or secs)  # the first one traces; other programs only add
