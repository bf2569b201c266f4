"""A readable data set: batches for training and evaluation, pixels for calibration."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from export.artifact import Calibration
from export.labels_file import fault_of_name
from pipeline.data import distort
from pipeline.data.augment import Augment
from pipeline.data.reader import Reader, Source
from pipeline.data.spec import SPLITS, ClassCount, DatasetSpec, ImageShape, ReadSettings, shape_of
from pipeline.errors import PipelineError, UsageError, unknown_name
from pipeline.shell import quoted
from spelling import counted, some

if TYPE_CHECKING:
    import numpy.typing as npt
    import tensorflow as tf

    Integers = npt.NDArray[np.int64]


ALL = "all"
"""The images of every split."""


class Dataset:
    """A data set's spec and images. Pixels are as in pixels.py: the central part, RGB or grey, 0-255.

    An `image_size` is the shape of an image, or the side of a square RGB one.
    """

    def __init__(
        self,
        spec: DatasetSpec,
        source: Source,
        *,
        labels: Sequence[int] | npt.NDArray[np.integer[Any]],
        splits: Sequence[str] | npt.NDArray[np.str_],
        settings: ReadSettings,
        label_sets: Sequence[Sequence[int]] | None = None,
    ) -> None:
        """`labels` and `splits` have one entry for each image of the source.

        A label is the number of a class or, with `label_sets`, of a set of classes. Batches have numbers of
        classes (b,), or 0 and 1 for each class (b, classes).
        """
        self.spec = spec
        self._labels = np.asarray(labels, np.int32)
        self._targets = self._labels
        if label_sets is not None:
            held = np.zeros((len(label_sets), len(spec.class_names)), np.int32)
            for row, numbers in zip(held, label_sets, strict=True):
                row[list(numbers)] = 1
            self._targets = held[self._labels]
        self._members = {split: np.flatnonzero(np.asarray(splits) == split) for split in SPLITS}
        self._members[ALL] = np.arange(len(labels))
        self._reader = Reader(source, settings)

    @property
    def failure(self) -> PipelineError | None:
        """Why an epoch failed (its images are gone); TensorFlow reports it as its own error."""
        return self._reader.failure

    def check_trainable(self) -> None:
        """Raises PipelineError for one class, an impossible name, or a split or class without images."""
        spec = self.spec
        for name in spec.class_names:
            if fault := fault_of_name(name):
                raise PipelineError(
                    f"{spec.source}: the class {name!r} {fault}, and an exported file's labels are a name a "
                    "line. Rename it, then train."
                )
        if len(spec.class_names) < 2:
            raise PipelineError(
                f"{spec.source} has one class, '{spec.class_names[0]}'; two or more are needed to train."
                f"{spec.hint_to_classes} Such a data set can calibrate, and verify a trained model."
            )
        untrained = [count.name for count in spec.class_counts if not count.train]
        empty = [split for split in SPLITS if not self.num_examples(split)]
        if not untrained and not empty:
            return
        what = f"its {' and '.join(empty)} split would be empty"
        if not empty:
            what = f"class {some(untrained, quoted=True)} would have no training image"
        left = (
            f" ({counted(len(spec.left_out), 'file')} left out: pipeline data shows why)"
            if spec.left_out
            else ""
        )
        raise PipelineError(
            f"{spec.source} has {counted(sum(map(self.num_examples, SPLITS)), 'image')} of "
            f"{len(spec.class_names)} "
            f"classes{left}, and {what}. Add images (30 a class is a start), or sort them yourself into "
            "train/CLASS, validation/CLASS and test/CLASS folders."
        )

    def check_one_label(self, doing: str) -> None:
        """Raises PipelineError if an image can have several labels."""
        if self.spec.has_several_labels:
            raise PipelineError(
                f"the images of {self.spec.name} have several labels each, and {doing} expects one class an "
                "image. Give such a data set. Several labels are for exporting, verifying and compressing a "
                "model that ends in several sigmoids."
            )

    def num_examples(self, split: str) -> int:
        """How many images the split has."""
        return len(self._indices(split))

    def filled_split(self, split: str) -> str:
        """The split, or 'all' where it has no image, as of a folder with too few to be divided."""
        return split if self.num_examples(split) else ALL

    def batches(
        self, split: str, *, image_size: ImageShape | int, batch_size: int, limit: int | None = None
    ) -> tf.data.Dataset:
        """(float32 (b, height, width, channels) raw 0-255, int32 (b,) labels), in one fixed order.

        `limit` takes only the first ones. Images that have become unreadable since the scan are left out,
        with a warning, not replaced: no figure counts an image twice.
        """
        import tensorflow as tf

        indices, shape = self._indices(split)[:limit], shape_of(image_size)

        def read(chosen: Integers) -> tuple[Any, Any]:
            rows, good = self._reader.read(chosen, shape)
            if not good.any():
                self._reader.check_not_gone(indices)
            return rows[good], self._targets[chosen[good]]

        def fetch(chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return _call(read, chosen, shape, self._targets)

        return (
            tf.data.Dataset.from_tensor_slices(indices)
            .batch(batch_size)
            .map(
                lambda chosen: _call(read, chosen, shape, self._targets), num_parallel_calls=tf.data.AUTOTUNE
            )
            .map(
                lambda rows, labels: (tf.cast(rows, tf.float32), labels), num_parallel_calls=tf.data.AUTOTUNE
            )
            .filter(lambda rows, _: tf.shape(rows)[0] > 0)
            .prefetch(tf.data.AUTOTUNE)
        )

    def read_names(self, split: str, *, limit: int | None = None) -> tuple[str, ...]:
        """Of each image that batches() gave, in their order, the file's path or its place in an array."""
        return self._reader.names(self._indices(split)[:limit])

    def array_images(
        self, split: str, places: Sequence[int], *, image_size: ImageShape | int, limit: int | None = None
    ) -> npt.NDArray[np.uint8] | None:
        """(n, height, width, channels) uint8 images by their number in read_names(); None of image files."""
        good = self._reader.readable(self._indices(split)[:limit])
        if not len(good) or self._reader.is_of_file(int(good[0])):
            return None
        return self._reader.read(good[list(places)], shape_of(image_size))[0]

    def training_batches(
        self, *, image_size: ImageShape | int, batch_size: int, augment: Augment, seed: int, epoch: int
    ) -> tf.data.Dataset:
        """One epoch of the training split, shuffled and augmented; the last batch may be smaller.

        Order and augmentation depend on (seed, epoch) only, so two runs, or a resumed one, see the same
        pixels. An image that has become unreadable is replaced by the next readable one, with a warning.
        """
        import tensorflow as tf

        indices, shape = self._indices("train"), shape_of(image_size)
        order = indices[distort.shuffled(len(indices), seed=seed, epoch=epoch)]
        draws = distort.draw(augment, num=len(order), seed=seed, epoch=epoch)

        def read(places: Integers) -> tuple[Any, Any]:
            rows, chosen = self._reader.read_replacing(order[places], shape, spare=order)
            drawn = {name: values[places] for name, values in draws.items()}
            return distort.move(rows, drawn, fill=augment.fill), self._targets[chosen]

        def fetch(places: tf.Tensor, drawn: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
            rows, labels = _call(read, places, shape, self._targets)
            return distort.crop_and_colour(rows, drawn), labels

        return (
            tf.data.Dataset.from_tensor_slices((np.arange(len(order)), draws))
            .batch(batch_size)
            .map(fetch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            .prefetch(tf.data.AUTOTUNE)
        )

    def calibration_pixels(
        self,
        *,
        image_size: ImageShape | int,
        num_samples: int,
        seed: int,
        choose: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.intp]] | None = None,
    ) -> tuple[npt.NDArray[np.uint8], Calibration]:
        """(n, height, width, channels) uint8 training images without augmentation, and which they were.

        The classes take turns, each in its own seeded order, so that their counts differ by at most one while
        every class has images left. There are fewer than `num_samples` if the training split has fewer;
        Calibration.num_samples is the number. `choose` returns the indices of those to keep.
        """
        if num_samples < 1:
            raise UsageError(f"{num_samples} calibration samples were asked for; 1 or more was expected.")
        split = self.filled_split("train")
        pixels, taken = self._read_balanced(split, shape_of(image_size), num_samples, seed)
        kept = np.arange(len(taken)) if choose is None else choose(pixels)
        pixels = pixels[kept]
        held = self._targets[taken][kept]
        if held.ndim == 1:
            held = np.eye(len(self.spec.class_names), dtype=np.int32)[held]
        counted = dict(zip(self.spec.class_names, held.sum(axis=0).tolist(), strict=True))
        return pixels, Calibration(
            dataset=self.spec.name,
            split=split,
            num_samples=len(kept),
            seed=seed,
            samples_per_class=counted,
            sha256=hashlib.sha256(pixels.tobytes()).hexdigest(),
            left_out=len(taken) - len(kept),
        )

    def balanced_samples(
        self, split: str, *, image_size: ImageShape | int, num_samples: int, seed: int
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
        """(n, height, width, channels) uint8 images of a split, their labels (n,); the classes in turn."""
        pixels, labels, _ = self.named_samples(
            split, image_size=image_size, num_samples=num_samples, seed=seed
        )
        return pixels, labels

    def named_samples(
        self, split: str, *, image_size: ImageShape | int, num_samples: int, seed: int
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32], tuple[str, ...]]:
        """The same, and of each image the file's path or its place in an array."""
        pixels, taken = self._read_balanced(split, shape_of(image_size), num_samples, seed)
        return pixels, self._targets[taken], self._reader.names(np.asarray(taken))

    def _read_balanced(
        self, split: str, shape: ImageShape, num_samples: int, seed: int
    ) -> tuple[npt.NDArray[np.uint8], list[int]]:
        """The pixels and the indices of readable images, the classes in turn."""
        queue = self._class_balanced(split, seed)
        rows: list[npt.NDArray[np.uint8]] = []
        taken: list[int] = []
        while len(taken) < num_samples and len(queue):
            chosen, queue = np.split(queue, [min(num_samples - len(taken), len(queue))])
            found, good = self._reader.read(chosen, shape)
            rows.append(found[good])
            taken.extend(chosen[good].tolist())
        if not taken:
            if not self.num_examples(split):
                raise PipelineError(
                    f"the {split} split of {self.spec.source} has no image. Add images, and see how many "
                    f"each split has: pipeline data {quoted(self.spec.source)}"
                )
            self._reader.check_not_gone(self._indices(split))
        return np.concatenate(rows), taken

    def _class_balanced(self, split: str, seed: int) -> Integers:
        """A split's indices, one of each class in turn."""
        indices = self._indices(split)
        random = np.random.default_rng([abs(seed), 2])
        shuffled = indices[random.permutation(len(indices))]
        labels = self._labels[shuffled]
        by_class = np.argsort(labels, kind="stable")
        _, starts, sizes = np.unique(labels[by_class], return_index=True, return_counts=True)
        turn = np.empty(len(shuffled), np.int64)
        turn[by_class] = np.arange(len(shuffled)) - np.repeat(starts, sizes)
        in_turn: Integers = shuffled[np.lexsort((labels, turn))]
        return in_turn

    def _indices(self, split: str) -> Integers:
        if split not in self._members:
            raise unknown_name("split", split, SPLITS)
        return self._members[split]


def class_counts(
    class_names: Sequence[str],
    labels: Sequence[int] | npt.NDArray[np.integer[Any]],
    splits: Sequence[str] | npt.NDArray[np.str_],
) -> tuple[ClassCount, ...]:
    """The number of images of each class in each split."""
    numbers = np.asarray(labels, np.int64)
    counts: Mapping[str, Any] = {
        split: np.bincount(numbers[np.asarray(splits) == split], minlength=len(class_names))
        for split in SPLITS
    }
    return tuple(
        ClassCount(name=name, **{split: int(counts[split][label]) for split in SPLITS})
        for label, name in enumerate(class_names)
    )


def _call(
    read: Any,  # noqa: ANN401
    chosen: tf.Tensor,
    shape: ImageShape,
    targets: npt.NDArray[np.int32],
) -> tuple[tf.Tensor, tf.Tensor]:
    """Runs a Python reader inside tf.data and gives its results their shapes."""
    import tensorflow as tf

    rows, labels = tf.numpy_function(read, [chosen], (tf.uint8, tf.int32))
    return tf.ensure_shape(rows, (None, *shape)), tf.ensure_shape(labels, (None, *targets.shape[1:]))
