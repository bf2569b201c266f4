"""The rewrites of a graph, by name. Standard library only; export/graph/rewrite.py carries them out."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass


class Rewrite(enum.StrEnum):
    """What can be done to the graph of a model."""

    FOLD_BATCH_NORM = "fold-batch-norm"
    """A BatchNormalization behind a convolution or Dense becomes part of its weights and bias."""
    DEPTHWISE_BATCH_NORM = "depthwise-batch-norm"
    """Any other BatchNormalization of images becomes a 1x1 depthwise convolution, which takes in its ReLU."""
    DROP_IDENTITY = "drop-identity"
    """Dropout, noise, linear activations and the like, which do nothing in inference, are gone."""
    POOL_FIRST = "pool-first"
    """An average pooling behind a 1x1 convolution without activation goes before it: means and weighted sums
    may change places, and the convolution sees a quarter of the places (2x2)."""
    DEPTHWISE_POOL = "depthwise-pool"
    """An average pooling of a small window becomes a depthwise convolution, which XNNPACK has for int8, while
    it has no pooling: the file is no longer run in pieces."""
    DEPTHWISE_RELU = "depthwise-relu"
    """A ReLU or ReLU6 that no operator before it can take in becomes the activation of a 1x1 depthwise
    convolution of ones, which XNNPACK has for int8, while it has no ReLU of its own."""
    PAIR_COLUMNS = "pair-columns"
    """A first convolution of 5x5 or more with stride 2 reads two columns of the image as one of twice the
    channels (column_pairs.py)."""


@dataclass(frozen=True, kw_only=True)
class RewriteBounds:
    """How far the rewrites help in one precision; measured, see docs/compression.md."""

    max_norm_channels: float = math.inf
    """Of a BatchNormalization that becomes a depthwise convolution."""
    max_plain_norm_channels: float = math.inf
    """The same, where no ReLU follows that the convolution would take in."""
    max_pool_growth: float = math.inf
    """How many times as many channels an average pooling may get by going before a convolution, where it
    does not become a depthwise one."""
