"""What the size on the way to the phone tells apart, which the file's own size does not."""

import brotli
import numpy as np
import pytest

from export.download_size import LGWIN, QUALITY, downloaded_bytes


@pytest.fixture(scope="module")
def weights():
    return np.random.default_rng(0).normal(0, 0.05, 100_000).astype(np.float32)


def test_it_is_the_length_of_what_brotli_unpacks_again(weights):
    content = weights.tobytes()
    sent = brotli.compress(content, quality=QUALITY, lgwin=LGWIN)
    assert brotli.decompress(sent) == content
    assert downloaded_bytes(content) == len(sent)


def test_half_the_weights_pruned_take_between_half_and_two_thirds(weights):
    """No less: 50,000 normal floats of full precision are left, and one bit a weight says where."""
    pruned = weights.copy()
    pruned[np.argsort(np.abs(pruned))[: pruned.size // 2]] = 0
    assert 0.5 < downloaded_bytes(pruned.tobytes()) / downloaded_bytes(weights.tobytes()) < 0.67


def test_sixteen_clusters_take_at_least_their_entropy_and_less_than_a_byte_and_a_half_a_weight(weights):
    centres = np.random.default_rng(1).normal(0, 0.05, 16).astype(np.float32)
    clustered = centres[np.random.default_rng(2).integers(0, 16, weights.size)]
    bits = 8 * downloaded_bytes(clustered.tobytes()) / weights.size
    assert 4 <= bits < 12


def test_random_bytes_take_their_own_size_and_hardly_more():
    content = np.random.default_rng(0).integers(0, 256, 100_000, dtype=np.uint8).tobytes()
    assert 100_000 <= downloaded_bytes(content) <= 100_100


def test_nothing_takes_next_to_nothing():
    assert downloaded_bytes(b"") <= 1
    assert downloaded_bytes(bytes(1_000_000)) < 100
