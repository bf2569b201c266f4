"""A model of class scores that is trained on a data set's images: its batches, optimizer and loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from models.registry import family_of
from pipeline.data import augment
from pipeline.records.training import BALANCED, TrainConfig
from pipeline.training import devices
from pipeline.training.decay import set_weight_decay
from pipeline.training.distillation import Loss, Taught, Teach, distilled
from pipeline.training.loop import compile_scores

if TYPE_CHECKING:
    from pipeline.data.dataset import Dataset
    from pipeline.data.spec import DatasetSpec


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """A model without its softmax, and its training data set."""

    model: keras.Model
    dataset: Dataset
    config: TrainConfig
    framework: Any = keras

    def training_batches(self, epoch: int) -> tf.data.Dataset:
        batches = self.dataset.training_batches(
            image_size=self.config.knobs["image_size"],
            batch_size=self.config.batch_size,
            augment=self._augmentation(),
            seed=self.config.seed,
            epoch=epoch,
        )
        whole, rest = divmod(self.dataset.num_examples("train"), self.config.batch_size)
        return batches.take(whole) if 0 < rest < devices.replicas_of(self.model) else batches

    def validation_batches(self) -> tf.data.Dataset:
        return self.batches("validation")

    def batches(self, split: str) -> tf.data.Dataset:
        """A split's raw pixels and labels, in its order."""
        size = devices.size_without_small_rest(
            2 * self.config.batch_size,
            num_images=self.dataset.num_examples(split),
            replicas=devices.replicas_of(self.model),
        )
        return self.dataset.batches(split, image_size=self.config.knobs["image_size"], batch_size=size)

    def callbacks(self) -> Sequence[Any]:
        return ()

    def seed_dropout(self, random: np.random.Generator) -> None:
        for layer in self.model.layers:
            if isinstance(layer, keras.layers.Dropout):
                layer.seed_generator.state.assign(random.integers(2**31, size=2))

    def _augmentation(self) -> augment.Augment:
        if not self.config.augment:
            return augment.NONE
        crop = family_of(str(self.config.family)).min_crop_area
        spec = self.dataset.spec
        return augment.suited(
            augment.preset(crop, image_size=self.config.knobs["image_size"]),
            mirror_keeps_labels=spec.mirror_keeps_labels,
            background=spec.background,
        )


def class_weights_of(config: TrainConfig, dataset: DatasetSpec) -> list[float]:
    """What an image of each class counts in the loss; 1 on average over the training images."""
    counts = [each.train for each in dataset.class_counts]
    if config.class_weights != BALANCED:
        return [1.0] * len(dataset.class_names)
    return [sum(counts) / (len(counts) * max(count, 1)) for count in counts]


def compiled_scorer(
    model: keras.Model,
    config: TrainConfig,
    class_weights: Sequence[float],
    *,
    teach: Teach | None = None,
) -> keras.Model:
    """The model without its softmax, with shared weights: cross-entropy is exact only on logits."""
    scorer = _Scores(model.input, model.get_layer("logits").output, name="scorer")
    scorer.teach = teach
    set_weight_decay(scorer, config)
    compile_scores(scorer, keras, optimizer=_optimizer(config), loss=loss_of(config, class_weights))
    return scorer


class _Scores(Taught):
    """A model whose metrics Keras makes from an image of ours when it is trained on several devices.

    Keras's own way adds up the devices' parts of the first batch, which fails where these differ in size.
    """

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:  # noqa: ANN401, ARG002
        image = np.zeros((1, *self.input_shape[1:]), np.float32)
        super()._maybe_symbolic_build(data_batch=(image, np.zeros(1, np.int32)))


def loss_of(config: TrainConfig, class_weights: Sequence[float]) -> Loss:
    """The cross-entropy; with a teacher, of its scores too."""
    loss, teacher = cross_entropy(config.label_smoothing, class_weights), config.teacher
    if teacher is not None:
        loss = distilled(
            loss, temperature=teacher.temperature, weight=teacher.weight, class_weights=class_weights
        )
    return lambda targets, scores: devices.of_all_images(loss(targets, scores))


def _optimizer(config: TrainConfig) -> keras.Optimizer:
    rate, momentum, clip = config.learning_rate, config.momentum, config.clip_norm or None
    name = config.optimizer  # Keras counts its own: the saved state would depend on the process
    makers: dict[str, Callable[[], keras.Optimizer]] = {
        "sgd": lambda: keras.optimizers.SGD(
            rate, momentum=momentum, nesterov=True, global_clipnorm=clip, name=name
        ),
        # decay 0.9 and epsilon 1, as TF-slim trained Inception and MobileNet
        "rmsprop": lambda: keras.optimizers.RMSprop(
            rate, rho=0.9, momentum=momentum, epsilon=1.0, global_clipnorm=clip, name=name
        ),
        "adam": lambda: keras.optimizers.Adam(rate, global_clipnorm=clip, name=name),
    }
    return makers[name]()


def cross_entropy(label_smoothing: float, class_weights: Sequence[float]) -> Loss:
    """A loss (b,) of labels (b,) and scores (b, classes); an image counts as its class does."""
    is_weighted = any(weight != 1.0 for weight in class_weights)

    def smoothed_cross_entropy(labels: Any, logits: Any) -> Any:  # noqa: ANN401
        classes = keras.ops.cast(keras.ops.reshape(labels, (-1,)), "int32")  # fit() gives them as floats
        targets = keras.ops.one_hot(classes, len(class_weights))
        losses = keras.losses.categorical_crossentropy(
            targets, logits, from_logits=True, label_smoothing=label_smoothing
        )
        if is_weighted:
            weights = keras.ops.convert_to_tensor(class_weights, "float32")
            losses = losses * keras.ops.take(weights, classes)
        return losses

    return smoothed_cross_entropy
