"""The rewrites of a graph, by name. Standard library only; export/graph/rewrite.py applies them."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass


class Rewrite(enum.StrEnum):
    """A change of a model's graph that does not change its output."""

    FOLD_BATCH_NORM = "fold-batch-norm"
    """Fold a BatchNormalization after a convolution or Dense into its weights and bias."""
    DEPTHWISE_BATCH_NORM = "depthwise-batch-norm"
    """Replace any other BatchNormalization of images by a 1x1 depthwise convolution, which fuses its ReLU."""
    DROP_IDENTITY = "drop-identity"
    """Remove dropout, noise, linear activations and other layers that do nothing in inference."""
    POOL_FIRST = "pool-first"
    """Move an average pooling after a 1x1 convolution without activation before it: the two commute, and the
    convolution then computes a quarter of the positions (2x2)."""
    DEPTHWISE_POOL = "depthwise-pool"
    """Replace an average pooling with a small window by a depthwise convolution: XNNPACK supports it in int8,
    but no pooling, so the file is no longer split into parts."""
    DEPTHWISE_RELU = "depthwise-relu"
    """Replace a ReLU or ReLU6 that cannot be fused into the operator before it by a 1x1 depthwise convolution
    of ones with that activation: XNNPACK supports it in int8, but no separate ReLU."""
    PAIR_COLUMNS = "pair-columns"
    """Let a first convolution of 5x5 or more with stride 2 read two columns of the image as one with twice
    the channels (column_pairs.py)."""


@dataclass(frozen=True, kw_only=True)
class RewriteBounds:
    """The measured bounds up to which rewrites help in one precision; see docs/compression.md."""

    max_norm_channels: float = math.inf
    """Most channels of a BatchNormalization that becomes a depthwise convolution."""
    max_plain_norm_channels: float = math.inf
    """The same, if no ReLU follows that the convolution would fuse."""
    max_pool_growth: float = math.inf
    """Largest growth of an average pooling's channels by moving it before a convolution, if the pooling does
    not become a depthwise convolution."""
