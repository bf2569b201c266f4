"""Fashion-MNIST: 70,000 grey pictures of clothing, 28x28."""

from __future__ import annotations

from pipeline.data import arrays, local, splits
from pipeline.data.assembly import Described
from pipeline.data.dataset import Dataset
from pipeline.data.spec import Progress, ReadSettings

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
INSTEAD = (
    "Put a fashion_mnist.npz with x_train, y_train, x_test, y_test into ./data or the folder that "
    "PIPELINE_DATA names, or go on with --data digits, which needs no download."
)


def described(source: str) -> Described:
    """Its description. Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747."""
    return Described(
        name="fashion_mnist",
        source=source,
        class_names=CLASS_NAMES,
        image_size=28,
        licence="MIT (Zalando SE)",
        background=0,
    )


def load(*, settings: ReadSettings, progress: Progress | None = None) -> Dataset:
    """The data set, from fashion_mnist.npz in $PIPELINE_DATA or ./data, or else Keras's download."""
    del progress
    path = local.find("fashion_mnist.npz", "fashion-mnist.npz")
    if path:
        source, parts = str(path), arrays.read_npz(path)
    else:
        source = "keras.datasets.fashion_mnist"
        parts = arrays.checked(source, local.from_keras("fashion_mnist", instead=INSTEAD))
    return arrays.dataset(described(source), parts, shares=splits.VALIDATION_OF_TRAIN, settings=settings)
