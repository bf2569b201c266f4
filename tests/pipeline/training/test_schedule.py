"""The learning rate over a training, and the recipes, against what the papers print."""

from __future__ import annotations

import pytest

from models.family import SMALL_MODEL_PARAMETERS
from models.registry import FAMILIES
from pipeline.errors import UsageError
from pipeline.training.schedule import SCHEDULES, LearningRate


def rate(**settings: object) -> LearningRate:
    defaults = {"epochs": 300, "steps_per_epoch": 1, "highest": 0.1}
    return LearningRate(**(defaults | settings))


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0, 0.1), (149, 0.1), (150, 0.01), (224, 0.01), (225, 0.001), (299, 0.001)]
)
def test_steps_are_densenets_on_cifar(epoch: int, expected: float):
    # Huang et al. 2017, section 4.2: 0.1, divided by 10 at 50% and 75% of 300 epochs
    assert rate(schedule="steps").at(epoch) == pytest.approx(expected)


def test_linear_is_caffes_poly_of_power_one():
    # base_lr * (1 - iter / max_iter) ** power, SqueezeNet's solver.prototxt
    rates = [rate(schedule="linear", highest=0.04).at(step) for step in (0, 75, 150, 300)]
    assert rates == pytest.approx([0.04, 0.03, 0.02, 0.0])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rate_warms_up_from_near_zero_and_never_rises_again(schedule: str):
    warming = rate(schedule=schedule, warmup_epochs=5.0, steps_per_epoch=10)
    rates = [warming.at(step) for step in range(3000)]
    assert rates[0] < 0.1 / 40
    top = rates.index(max(rates))
    assert 4.0 <= top / 10 <= 5.0
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_warm_up_takes_at_most_a_quarter_of_a_short_training():
    short = rate(epochs=2, steps_per_epoch=4, warmup_epochs=5.0, schedule="steps")
    assert [short.at(step) for step in (0, 1, 2)] == pytest.approx([0.05, 0.1, 0.1])


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("epochs", "steps_per_epoch"), [(1, 1), (1, 2), (3, 7), (300, 781)])
@pytest.mark.parametrize("warmup_epochs", [0.0, 1.0])
def test_every_step_learns_the_first_and_the_last_too(
    schedule: str, epochs: int, steps_per_epoch: int, warmup_epochs: float
):
    made = rate(
        schedule=schedule, epochs=epochs, steps_per_epoch=steps_per_epoch, warmup_epochs=warmup_epochs
    )
    assert min(made.at(step) for step in range(epochs * steps_per_epoch)) > 0


def test_unknown_schedule_gets_the_nearest_name():
    with pytest.raises(UsageError, match="Did you mean 'cosine'"):
        rate(schedule="cosin")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_familys_recipe_can_be_followed(family: str):
    recipe = FAMILIES[family].recipe
    assert recipe.schedule in SCHEDULES
    assert recipe.optimizer in ("sgd", "rmsprop", "adam")
    assert recipe.learning_rate > 0 < recipe.batch_size


def test_weight_decay_is_the_papers_and_none_for_mobilenet():
    # SqueezeNet's solver.prototxt, DenseNet section 4.2, MobileNets section 3.1
    large = SMALL_MODEL_PARAMETERS
    expected = {"squeezenet": 2e-4, "densenet": 1e-4, "mobilenet": 0.0}
    assert {family: FAMILIES[family].recipe.weight_decay_for(large) for family in expected} == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_small_models_have_no_weight_decay_by_default(family: str):
    assert FAMILIES[family].recipe.weight_decay_for(SMALL_MODEL_PARAMETERS - 1) == 0.0
