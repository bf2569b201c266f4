"""Images that look alike, beside a comparison of every two."""

import itertools
import random
import time

from pipeline.data.looks import MAX_DIFFERENT_BITS, alike, in_other_parts


def every_pair(looks):
    return {
        frozenset(pair)
        for pair in itertools.combinations(looks, 2)
        if (pair[0] ^ pair[1]).bit_count() <= MAX_DIFFERENT_BITS
    }


def noisy(look, bits, chance):
    return look ^ sum(1 << bit for bit in chance.sample(range(64), bits))


def test_all_pairs_are_found_once_that_a_comparison_of_every_two_finds():
    chance = random.Random(1)
    scenes = [chance.getrandbits(64) for _ in range(60)]
    looks = list({noisy(scene, chance.randrange(4), chance) for scene in scenes for _ in range(4)})
    found = [frozenset(pair) for pair in alike(looks)]
    assert len(found) == len(set(found))
    assert set(found) == every_pair(looks)
    assert len(found) > 60


def test_each_image_is_told_with_one_of_another_split():
    looks = [5, 5, None, 4, 2**40 - 1, 2**40 - 1]
    parts = ["train", "test", "test", "train", "train", "train"]
    assert sorted(in_other_parts(looks, parts)) == [(0, 1), (1, 0), (3, 1)]


def test_the_frames_of_a_resting_camera_are_found_however_many_they_are():
    chance = random.Random(2)
    scene = chance.getrandbits(64)
    looks = [noisy(scene, chance.randrange(2), chance) for _ in range(3000)]
    parts = ["test" if place % 10 == 0 else "train" for place in range(3000)]
    found = dict(in_other_parts(looks, parts))
    assert len(found) == 3000
    assert all(parts[one] != parts[other] for one, other in found.items())


def test_many_images_of_simple_shapes_take_seconds():
    chance = random.Random(3)
    looks = [chance.getrandbits(12) << 20 for _ in range(50_000)]  # the other bands are equal in all
    began = time.process_time()
    list(in_other_parts(looks, ["train", "test"] * 25_000))
    assert time.process_time() - began < 20
