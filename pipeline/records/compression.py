"""The settings of a compression and its results. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.errors import UsageError

PATTERNS = ("unstructured", "2:4", "1x16")
PAPER_PRESET = "squeezenet-paper"
FIRE_KEPT = {
    # Iandola et al. 2016, arXiv:1602.07360, Table 1, the columns of the pruned net: (squeeze, expand 1x1,
    # expand 3x3), shares of weights KEPT. For fire8's 3x3 it prints 33%, but its count of 77,581 fits 30%
    "fire2": (1.0, 1.0, 0.33),
    "fire3": (1.0, 1.0, 0.33),
    "fire4": (1.0, 1.0, 0.33),
    "fire5": (1.0, 1.0, 0.33),
    "fire6": (1.0, 0.5, 0.33),
    "fire7": (0.5, 1.0, 0.33),
    "fire8": (1.0, 0.5, 0.30),
    "fire9": (0.5, 1.0, 0.30),
}
CONV10_KEPT = 0.2


@dataclass(frozen=True, kw_only=True)
class CompressConfig:
    """The settings of a compression."""

    parent: str = ""
    """The compressed run or model file; filled in at the start, like the next two."""
    parent_sha256: str = ""
    """Of its model.keras."""
    data: str = ""
    """A data set's name, or a path."""
    prune: float | None = None
    """Share of zeros in each pruned layer, between 0 and 1; None: not pruned, or by `prune_layers` alone."""
    prune_layers: dict[str, float] = field(default_factory=dict)
    """Layer -> share of zeros, instead of `prune`."""
    prune_pattern: str = "unstructured"
    """unstructured, 2:4 (two zeros in each four in a row) or 1x16 (blocks; 1x1 convolutions and Dense)."""
    cluster: int | None = None
    """Distinct weight values per layer, including the zero of a pruned layer."""
    qat: bool = False
    """Quantization-aware training."""
    freeze_norms: bool = True
    """In quantization-aware training, BatchNorms use the final statistics of the float training.

    Statistics of a few batches are noisier (Krishnamoorthi 2018, arXiv:1806.08342, freezes them towards the
    end).
    """
    skip_layers: tuple[str, ...] = ()
    """Neither pruned, nor clustered, nor trained quantized."""
    float_layers: tuple[str, ...] = ()
    """Found before a quantized training: they stay in float, since int8 has no operators for them."""
    kept_clusters: tuple[str, ...] = ()
    """Found before a quantized training alone: layers that came clustered, whose values stay as few."""
    epochs: int = 3
    """Epochs of fine-tuning for each step."""
    steps_per_epoch: int | None = None
    """Batches per epoch; None: all images once."""
    learning_rate: float | None = None
    """Maximum in every step; None: LEARNING_RATES of the step."""
    batch_size: int = 64
    momentum: float = 0.9
    clip_norm: float = 1.0
    """Maximum global norm of the gradients; 0 turns clipping off."""
    augment: bool = True
    seed: int = 0

    @property
    def steps(self) -> tuple[str, ...]:
        """The requested steps, in the order in which each preserves the result of the one before."""
        asked = {
            "prune": self.prune is not None or bool(self.prune_layers),
            "cluster": self.cluster is not None,
            "qat": self.qat,
        }
        return tuple(step for step, wanted in asked.items() if wanted)

    @property
    def kept_in_float(self) -> tuple[str, ...]:
        """The layers that may compute in float in an int8 file made from trained quantizers."""
        return tuple(dict.fromkeys([*self.skip_layers, *self.float_layers]))

    @property
    def is_quantized(self) -> bool:
        """Whether the run has its own quantizers for int8; clusters would not survive calibration."""
        return self.qat or self.cluster is not None


LEARNING_RATES = {"prune": 0.01, "cluster": 0.002, "qat": 0.002}
"""SGD with momentum; a cosine to zero within each step."""


@dataclass(frozen=True, kw_only=True)
class LayerReached:
    """The result of a compression for one layer's kernel."""

    layer: str
    num_weights: int
    sparsity_asked: float | None
    """Requested share of zeros; None if it was not to be pruned."""
    sparsity: float
    clusters_asked: int | None
    num_values: int
    """Distinct weight values, zero included."""


@dataclass(frozen=True, kw_only=True)
class StepReached:
    """The model's top-1 after a step, in percent of the validation split."""

    step: str
    validation_top1: float
    """Of the epoch that was kept; with quantizers after qat."""
    train_top1: float
    best_epoch: int
    """Counted from 1."""
    epochs_run: int
    seconds: float
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class CompressionRecord:
    """The compression in a run's train.json."""

    config: CompressConfig
    parent_validation_top1: float
    steps: tuple[StepReached, ...]
    layers: tuple[LayerReached, ...]


def paper_sparsities() -> dict[str, float]:
    """Layer -> share of zeros, from Table 1 of the SqueezeNet paper, for version 1.0."""
    sparsities = {
        f"{fire}_{part}": round(1 - kept, 4)
        for fire, shares in FIRE_KEPT.items()
        for part, kept in zip(("squeeze1x1", "expand1x1", "expand3x3"), shares, strict=True)
        if kept < 1
    }
    return sparsities | {"conv10": round(1 - CONV10_KEPT, 4)}


def check(config: CompressConfig) -> None:
    """Raises UsageError for impossible settings."""
    if not config.steps:
        raise UsageError(
            "nothing to do: give one or more of --prune, --cluster and --qat, such as "
            "pipeline compress --prune 0.67 --cluster 64 --qat"
        )
    for where, sparsity in (("--prune", config.prune), *config.prune_layers.items()):
        if sparsity is not None and not 0 < sparsity < 1:
            raise UsageError(
                f"{where} {sparsity:g} would leave {'nothing' if sparsity >= 1 else 'everything'} of a "
                "layer. It is the share of weights that become zero: above 0, below 1, such as 0.67."
            )
    if config.prune_pattern == "2:4" and (config.prune, config.prune_layers) != (0.5, {}):
        raise UsageError(
            "the pattern 2:4 makes two of each four weights zero: give it with --prune 0.5, no other share."
        )
    if config.prune_pattern != PATTERNS[0] and "prune" not in config.steps:
        raise UsageError(
            f"--prune-pattern {config.prune_pattern} says how to prune, but not how much. "
            "Give --prune SHARE, or leave it out."
        )
    if config.cluster is not None and config.cluster < 2:
        raise UsageError(
            f"--cluster {config.cluster} would leave one value for all weights of a layer. "
            "Expected 2 to 256, such as 64."
        )
    if config.cluster is not None and config.cluster > 256:
        raise UsageError(f"--cluster {config.cluster}: int8 has 256 values. Expected 2 to 256, such as 64.")
    both = sorted(set(config.skip_layers) & set(config.prune_layers))
    if both:
        raise UsageError(f"{', '.join(both)}: given both to be pruned and to be skipped. Leave one out.")
