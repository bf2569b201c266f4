"""Images that look alike, beside a comparison of every two."""

import itertools
import random
import time

import numpy as np

from pipeline.data.looks import MAX_DIFFERENT_BITS, alike, in_other_parts


def every_pair(looks):
    return {
        frozenset(pair)
        for pair in itertools.combinations(looks, 2)
        if (pair[0] ^ pair[1]).bit_count() <= MAX_DIFFERENT_BITS
    }


def arrays(looks, parts):
    """in_other_parts()'s arguments for images of one class."""
    return np.asarray(looks, np.uint64), np.zeros(len(looks), np.int64), np.asarray(parts)


def noisy(look, bits, chance):
    return look ^ sum(1 << bit for bit in chance.sample(range(64), bits))


def test_all_pairs_are_found_that_a_comparison_of_every_two_finds():
    chance = random.Random(1)
    scenes = [chance.getrandbits(64) for _ in range(60)]
    looks = list({noisy(scene, chance.randrange(4), chance) for scene in scenes for _ in range(4)})
    found = {
        frozenset((looks[one], looks[other]))
        for some in alike(*arrays(looks, [])[:2])
        for one, other in zip(*some, strict=True)
    }
    assert found == every_pair(looks)
    assert len(found) > 60


def test_each_image_is_told_with_one_of_another_split():
    looks = [5, 5, 2**60 - 2**30, 4, 2**40 - 1, 2**40 - 1]
    found = in_other_parts(*arrays(looks, [0, 1, 1, 0, 0, 0]))
    assert found.tolist() == [[0, 1], [1, 0], [3, 1]]


def test_images_of_two_classes_are_not_compared():
    looks = np.asarray([5, 5, 4], np.uint64)
    assert in_other_parts(looks, np.asarray([0, 1, 1]), np.asarray([0, 1, 0])).tolist() == [[1, 2], [2, 1]]


def test_the_frames_of_a_resting_camera_are_found_however_many_they_are():
    chance = random.Random(2)
    scene = chance.getrandbits(64)
    looks = [noisy(scene, chance.randrange(2), chance) for _ in range(3000)]
    parts = [int(place % 10 == 0) for place in range(3000)]
    found = dict(in_other_parts(*arrays(looks, parts)).tolist())
    assert len(found) == 3000
    assert all(parts[one] != parts[other] for one, other in found.items())


def test_many_images_of_simple_shapes_take_seconds():
    chance = random.Random(3)
    looks = [chance.getrandbits(12) << 20 for _ in range(50_000)]  # the other bands are equal in all
    began = time.process_time()
    in_other_parts(*arrays(looks, [0, 1] * 25_000))
    assert time.process_time() - began < 20
