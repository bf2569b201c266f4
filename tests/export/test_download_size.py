"""What the size on the way to the phone tells apart, which the file's own size does not."""

import brotli
import numpy as np
import pytest

from export.tflite import download_size
from export.tflite.download_size import LGWIN, QUALITY, downloaded_bytes


@pytest.fixture(scope="module")
def weights():
    return np.random.default_rng(0).normal(0, 0.05, 40_000).astype(np.float32)


def test_it_is_what_the_library_makes_of_pruned_weights_by_default(weights):
    content = np.where(np.abs(weights) > 0.05, weights, 0).astype(np.float32).tobytes()
    sent = brotli.compress(content, quality=QUALITY, lgwin=LGWIN)
    assert sent == brotli.compress(content)
    assert brotli.decompress(sent) == content
    assert downloaded_bytes(content) == len(sent)


def test_dense_weights_are_spared_the_slow_quality_which_would_gain_next_to_nothing(weights):
    content = weights.tobytes()
    fast = len(brotli.compress(content, quality=5, lgwin=LGWIN))
    assert downloaded_bytes(content) == fast < 1.02 * len(brotli.compress(content))


def test_what_is_larger_than_a_piece_takes_hardly_more_in_pieces(monkeypatch):
    monkeypatch.setattr(download_size, "_PIECE", 1 << 16)
    dense = np.random.default_rng(0).normal(0, 20, 150_000).astype(np.int8)
    pruned = np.where(np.abs(dense) > 20, dense, 0).astype(np.int8).tobytes()
    cuts = range(0, len(pruned), 1 << 16)
    pieces = [len(brotli.compress(pruned[start : start + (1 << 16)])) for start in cuts]
    assert len(pieces) == 3
    assert downloaded_bytes(pruned) == sum(pieces) < 1.01 * len(brotli.compress(pruned))


def test_half_the_weights_pruned_take_between_half_and_two_thirds(weights):
    """No less: 20,000 normal floats of full precision are left, and one bit a weight says where."""
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
