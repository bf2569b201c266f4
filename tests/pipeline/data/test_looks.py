"""Images that look alike, beside a comparison of every two."""

import itertools
import random

from pipeline.data.looks import MAX_DIFFERENT_BITS, alike


def joined(pairs, number):
    """The groups that the pairs join, as sets of places."""
    group = {place: {place} for place in range(number)}
    for first, second in pairs:
        group[first] |= group[second]
        for place in group[first]:
            group[place] = group[first]
    return {frozenset(each) for each in group.values()}


def every_pair(looks):
    return [
        (first, second)
        for first, second in itertools.combinations(range(len(looks)), 2)
        if None not in (looks[first], looks[second])
        and (looks[first] ^ looks[second]).bit_count() <= MAX_DIFFERENT_BITS
    ]


def noisy(look, bits, chance):
    return look ^ sum(1 << bit for bit in chance.sample(range(64), bits))


def test_all_pairs_are_found_that_a_comparison_of_every_two_finds():
    chance = random.Random(1)
    scenes = [chance.getrandbits(64) for _ in range(60)]
    looks = [noisy(scene, chance.randrange(3), chance) for scene in scenes for _ in range(4)] + [None]
    assert sorted(alike(looks)) == every_pair(looks)


def test_the_frames_of_a_resting_camera_are_found_however_many_they_are():
    chance = random.Random(2)
    scene = chance.getrandbits(64)
    looks = [noisy(scene, chance.randrange(2), chance) for _ in range(400)]
    found = list(alike(looks))
    assert joined(found, 400) == {frozenset(range(400))}
    assert len(found) < 100 * 400


def test_equal_looks_are_not_compared_each_with_each():
    found = list(alike([5] * 20_000))
    assert joined(found, 20_000) == {frozenset(range(20_000))}
    assert len(found) < 2 * 20_000
