"""What is said before a training, and what is not."""

import dataclasses

import pytest
from pictures import fill

from pipeline.data.advice import advice
from pipeline.data.registry import load
from pipeline.errors import PipelineError


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    return load(str(fill(tmp_path_factory.mktemp("photos") / "p", per_class=12))).spec


def test_nothing_is_said_of_a_large_even_set(spec):
    many = dataclasses.replace(spec, num_test=2000, notes=(), class_counts=())
    assert list(advice(many, image_size=40, made_for=224)) == []


def test_the_majoritys_top1_is_told_where_a_class_has_many_more_images(spec):
    counts = tuple(
        dataclasses.replace(each, train=train, test=test)
        for each, train, test in zip(spec.class_counts, (19, 237), (6, 31), strict=True)
    )
    uneven = dataclasses.replace(spec, class_counts=counts, num_test=37)
    [told] = [each for each in advice(uneven, image_size=40, made_for=224) if "training images" in each]
    assert "a net that always says 'dog' would have a top-1 of 84%" in told  # 31 of 37


@pytest.mark.parametrize(("size", "told"), [(96, "enlarged"), (10, "10 pixels are little"), (40, None)])
def test_sizes_larger_than_the_photos_or_far_below_the_nets_are_told(spec, size, told):
    many = dataclasses.replace(spec, num_test=2000, notes=(), class_counts=())
    found = list(advice(many, image_size=size, made_for=224))
    assert len(found) == bool(told)
    assert told is None or told in found[0]


def test_a_small_test_split_is_told_with_its_uncertainty(spec):
    few = dataclasses.replace(spec, num_test=72, notes=(), class_counts=())
    assert "within 7 points" in next(advice(few, image_size=40, made_for=224))  # 1.96 * sqrt(.09 / 72)


def test_too_few_images_stop_a_training_and_nothing_else(tmp_path):
    dataset = load(str(fill(tmp_path / "few", per_class=2)))
    with pytest.raises(PipelineError, match="Add images"):
        dataset.check_trainable()
    pixels, _ = dataset.calibration_pixels(image_size=16, num_samples=4, seed=0)
    assert 0 < len(pixels) <= 4
