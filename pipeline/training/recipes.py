"""How each family is trained unless the user says otherwise: the papers' recipes. Standard library only.

The papers trained on ImageNet with batches that a laptop does not hold, so the learning rate stands for the
batch size here; `docs/training.md` tells what was changed and what it gave.
"""

from __future__ import annotations

from dataclasses import dataclass

SMALL_MODEL_PARAMETERS = 500_000
"""Below this many a model is given no weight decay: it hardly overfits (MobileNets, section 3.1)."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings in which the papers differ; the rest are TrainConfig's defaults."""

    optimizer: str
    learning_rate: float
    batch_size: int
    schedule: str
    weight_decay: float
    clip_norm: float = 0.0
    source: str


RECIPES = {
    # solver.prototxt: learning rate 0.04, falling linearly to 0; momentum 0.9, decay 2e-4. The clipping is
    # ours: without it the scores' ReLU dies on a few classes and the loss stays at that of guessing
    "squeezenet": Recipe(
        optimizer="sgd",
        learning_rate=0.04,
        clip_norm=1.0,
        batch_size=64,
        schedule="linear",
        weight_decay=2e-4,
        source="Iandola et al. 2016, arXiv:1602.07360, and forresti/SqueezeNet's solver.prototxt",
    ),
    # RMSprop as for Inception V3, "very little or no weight decay", one recipe for all sizes
    "mobilenet": Recipe(
        optimizer="rmsprop",
        learning_rate=0.045,
        batch_size=64,
        schedule="cosine",
        weight_decay=0.0,
        source="Howard et al. 2017, arXiv:1704.04861, section 3.2",
    ),
    "densenet": Recipe(
        optimizer="sgd",
        learning_rate=0.1,
        batch_size=64,
        schedule="steps",
        weight_decay=1e-4,
        source="Huang et al. 2017, arXiv:1608.06993, section 4.2",
    ),
}


def recipe_for(family: str) -> Recipe:
    """The recipe of a family; one that has no row of its own is trained as MobileNet is."""
    return RECIPES.get(family, RECIPES["mobilenet"])


def weight_decay_for(family: str, parameters: int) -> float:
    """The weight decay of the family's recipe; none for a small model, whichever family it is of."""
    return 0.0 if parameters < SMALL_MODEL_PARAMETERS else recipe_for(family).weight_decay
