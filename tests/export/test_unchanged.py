"""Nothing in export/ changes a model that it is given: not its weights, its layers, or their calls."""

import contextlib
import dataclasses
import functools
import importlib
import inspect as inspection
import json
import pkgutil

import keras
import numpy as np
import pytest

import export
from export import choose_int8
from export.artifact import Equalization
from export.check import layer_errors
from export.check import verify as checking
from export.convert import Int8Graph, calibrate_int8, convert
from export.errors import ExportError
from export.exporter import SourceModel, check_class_names, export_model
from export.graph import (
    calls,
    changes,
    channel_order,
    equality,
    first_convolution,
    layer_names,
    layer_outputs,
    probabilities,
    rescaling,
    rewrite,
)
from export.plan import (
    converted_model,
    equalized,
    equalized_plan,
    int8_plan,
    normalization_in_words,
    plan_of,
)
from export.precisions import Precision
from export.quantization import channels, equalize, float_layers, typical
from export.quantization.calibrate import CalibrationImages
from export.settings import ExportSettings
from export.source import bare_tensors, keras_file, serving
from export.tflite.inspect import inspect, inspect_bytes

INT8 = ExportSettings(Precision.INT8)
PLAIN = ExportSettings(Precision.INT8, equalize=False)


def graph_of(model):
    """All that a model is: its layers with their configs, weights and numbers of calls, nested ones too."""
    found = {"model": (json.dumps(model.get_config(), sort_keys=True), *_calls(model))}
    for prefix, graph in _graphs(model, ""):
        for operation in graph.operations if hasattr(graph, "operations") else graph.layers:
            found[prefix + operation.name] = (id(operation), *_calls(operation))
    return found, [np.array(each) for each in model.weights]


def _graphs(model, prefix):
    yield prefix, model
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _graphs(layer, f"{prefix}{layer.name}/")


def _calls(operation):
    return len(operation._inbound_nodes), len(operation._outbound_nodes)


def verify(model, path, images, **options):
    return checking.verify(
        model,
        path,
        checking.Samples(
            batches=[(images.astype(np.float32), np.zeros(len(images), np.int64))],
            dataset="blocks",
            dataset_fingerprint="0" * 64,
            split="test",
        ),
        **options,
    )


class Given:
    """A model with all that the functions want beside it."""

    def __init__(self, model, pixels, folder):
        self.model, self.pixels, self.folder = model, pixels, folder
        self.path = folder / "model.tflite"
        self.path.write_bytes(convert(keras.models.clone_model(model), INT8, pixels=pixels))
        self.contents = inspect(self.path)
        self.named = inspect_bytes(self.path.read_bytes(), name="model")
        self.file = folder / "model.keras"
        model.save(self.file)
        self.layer = next(each.name for each in layer_outputs.network_steps(model) if "conv1" in each.name)
        self.images = pixels[:4].astype(np.float32)
        self._seen = {}

    def around(self, name):
        """All that the model is before and after a function sees it, which each does once for all tests."""
        if name not in self._seen:
            before = graph_of(self.model)
            USES[name](self)
            self._seen[name] = before, graph_of(self.model)
        return self._seen[name]

    def source(self):
        names = [str(number) for number in range(self.model.output_shape[-1])]
        return SourceModel(
            path=self.file, model=self.model, model_name="small", family=None, class_names=names
        )


def done_or_refused(function, model):
    """Calls the function, which may refuse a model of this kind."""
    with contextlib.suppress(ExportError):
        function(model)


USES = {
    "export.check.layer_errors.compare_layers": lambda g: layer_errors.compare_layers(
        g.model, g.path, g.contents, g.images
    ),
    "export.check.verify.KerasOutputs": lambda g: checking.KerasOutputs().of(
        g.model, g.images, len(g.images), is_whole=True
    ),
    "export.check.verify.as_exported": lambda g: checking.as_exported(g.model, g.contents),
    "export.check.verify.verify": lambda g: verify(g.model, g.path, g.pixels[:4]),
    "export.plan.converted_model": lambda g: [
        converted_model(g.model, ExportSettings(Precision.INT8, logits=True)),
        converted_model(
            g.model,
            ExportSettings(Precision.INT8),
            equalization=Equalization(factors=equalized(g.model, g.pixels)),
        ),
    ],
    "export.choose_int8.multiplications": lambda g: choose_int8.multiplications(g.model),
    "export.convert.convert": lambda g: [
        convert(g.model, settings, pixels=g.pixels)
        for settings in (
            ExportSettings(Precision.FLOAT32),
            ExportSettings(Precision.INT8, logits=True, equalize=True),
            ExportSettings(Precision.INT8, keep_float=(g.layer,)),
            ExportSettings(Precision.INT8, rewrites=()),
        )
    ],
    "export.plan.equalized": lambda g: equalized(g.model, g.pixels),
    "export.plan.plan_of": lambda g: plan_of(
        g.model, INT8, None, None, Equalization(factors=equalized(g.model, g.pixels))
    ),
    "export.choose_int8.chosen": lambda g: choose_int8.chosen(g.model, INT8, g.pixels[:32]),
    "export.choose_int8.equalization_asked": lambda g: choose_int8.equalization_asked(
        g.model, dataclasses.replace(INT8, equalize=True), g.pixels
    ),
    "export.convert.Int8Graph": lambda g: Int8Graph(
        plan_of(g.model, INT8, g.pixels[:2], None, Equalization()), g.model, INT8, g.pixels[:1]
    ).calibrated(),
    "export.plan.equalized_plan": lambda g: equalized_plan(g.model, INT8, g.pixels[:4]),
    "export.graph.probabilities.class_scores": lambda g: probabilities.class_scores(g.model)(
        g.pixels[:2].astype(np.float32)
    ),
    "export.convert.calibrate_int8": lambda g: calibrate_int8(g.model, INT8, g.pixels[:4], Equalization()),
    "export.quantization.equalize.scaled": lambda g: equalize.scaled(
        g.model, equalize.equalize(g.model, g.pixels).factors
    ),
    "export.plan.int8_plan": lambda g: int8_plan(g.model),
    "export.exporter.check_class_names": lambda g: check_class_names(
        ["a"] * g.model.output_shape[-1], g.model
    ),
    "export.exporter.export_model": lambda g: export_model(
        g.source(), g.folder / "again.tflite", PLAIN, images=CalibrationImages(pixels=g.pixels)
    ),
    "export.graph.calls.CallGraph": lambda g: calls.CallGraph(g.model),
    "export.graph.calls.graphs_within": lambda g: list(calls.graphs_within(g.model)),
    "export.graph.changes.Changes": lambda g: changes.Changes().carried_out(g.model),
    "export.source.serving.is_serving_function": lambda g: serving.is_serving_function(g.model),
    "export.graph.probabilities.head_of_model": lambda g: probabilities.head_of_model(g.model),
    "export.source.bare_tensors.with_bare_tensors": lambda g: bare_tensors.with_bare_tensors(g.model),
    "export.source.keras_file.check_image_classifier": lambda g: keras_file.check_image_classifier(
        g.model, "it"
    ),
    "export.graph.layer_outputs.LayerOutputs": lambda g: layer_outputs.LayerOutputs(
        g.model, [each.name for each in layer_outputs.network_steps(g.model)]
    )(g.images),
    "export.graph.layer_outputs.network_steps": lambda g: list(layer_outputs.network_steps(g.model)),
    "export.graph.rescaling.add_rescaling": lambda g: rescaling.add_rescaling(g.model, 1 / 255, 0.0),
    "export.graph.rescaling.in_one_operator": lambda g: rescaling.in_one_operator(g.model),
    "export.graph.rescaling.folded_rescaling": lambda g: rescaling.folded_rescaling(g.model),
    "export.graph.rescaling.why_not_folded": lambda g: rescaling.why_not_folded(g.model),
    "export.graph.first_convolution.chain": lambda g: list(first_convolution.chain(g.model)),
    "export.graph.first_convolution.first_convolution": lambda g: first_convolution.first_convolution(
        g.model, ()
    ),
    "export.plan.normalization_in_words": lambda g: normalization_in_words(g.model, INT8),
    "export.graph.rescaling.rescaling_of": lambda g: rescaling.rescaling_of(g.model),
    "export.graph.rescaling.split_rescaling": lambda g: rescaling.split_rescaling(g.model),
    "export.graph.rescaling.without_rescaling": lambda g: rescaling.without_rescaling(g.model, rescaling.RAW),
    "export.graph.equality.check_equal": lambda g: equality.check_equal(g.model, g.model, g.pixels),
    "export.graph.equality.effect_of_rounding": lambda g: equality.effect_of_rounding(g.model, g.pixels),
    "export.graph.probabilities.ends_in": lambda g: probabilities.ends_in(g.model),
    "export.graph.equality.largest_difference": lambda g: equality.largest_difference(
        g.model, g.model, g.pixels
    ),
    "export.graph.rewrite.rewrite": lambda g: rewrite.rewrite(g.model),
    "export.graph.rewrite.with_depthwise_before_norms": lambda g: rewrite.with_depthwise_before_norms(
        g.model
    ),
    "export.graph.probabilities.without_probabilities": lambda g: probabilities.without_probabilities(
        g.model
    ),
    "export.quantization.channels.Channels": lambda g: channels.Channels(g.model, "", only_free=False),
    "export.quantization.equalize.equalize": lambda g: equalize.equalize(g.model, g.pixels),
    "export.quantization.equalize.equalize_freely": lambda g: equalize.equalize_freely(g.model, g.pixels),
    "export.quantization.float_layers.check_names": lambda g: float_layers.check_names(g.model, [g.layer]),
    "export.graph.layer_names.LayerNames": lambda g: layer_names.LayerNames(g.model).layers(
        "small_1/conv1_1/convolution"
    ),
    "export.graph.layer_names.layer_named": lambda g: layer_names.layer_named(g.model, g.layer),
    "export.quantization.float_layers.layers_in_float": lambda g: float_layers.layers_in_float(
        g.named, g.model
    ),
    "export.graph.channel_order.with_channels_reversed": lambda g: done_or_refused(
        channel_order.with_channels_reversed, g.model
    ),
    "export.graph.rewrite.with_norms_in_dense": lambda g: rewrite.with_norms_in_dense(g.model),
    "export.quantization.float_layers.layers_around": lambda g: float_layers.layers_around(
        g.named, g.model, g.layer
    ),
    "export.quantization.float_layers.operators_of": lambda g: float_layers.operators_of(
        g.named, g.model, g.layer
    ),
    "export.quantization.float_layers.operators_to_keep": lambda g: float_layers.operators_to_keep(
        g.named, g.model, [g.layer]
    ),
    "export.quantization.typical.typical_images": lambda g: typical.typical_images(g.model, g.pixels),
}
"""Public function of export/ that takes a model -> a call of it."""


def sequential(nets):
    """A Sequential model with layers of another one, which calls them too."""
    others = nets.small_net().layers[1:4]
    last = keras.layers.Dense(5, activation="softmax", name="out")
    layers = [keras.Input((32, 32, 3)), *others, keras.layers.Flatten(), last]
    return keras.Sequential(layers, name="row")


def nested(nets):
    image = keras.Input((32, 32, 3))
    x = keras.applications.mobilenet_v2.preprocess_input(image)
    return keras.Model(image, nets.small_net(None)(x), name="outer")


def sure(nets):
    """A net whose probabilities are all but 0 and 1, so that they hide what its scores show."""
    model = nets.small_net()
    logits = model.get_layer("logits")
    logits.set_weights([1000 * each for each in logits.get_weights()])
    return model


NETS = {
    "functional": sure,
    "a scale a channel": lambda nets: nets.small_net(nets.PER_CHANNEL),
    "sequential": sequential,
    "nested": nested,
}


@pytest.fixture(scope="module")
def given_of(nets, calibration_pixels, tmp_path_factory):
    @functools.cache
    def make(name):
        return Given(NETS[name](nets), calibration_pixels, tmp_path_factory.mktemp("given"))

    return make


@pytest.fixture(scope="module", params=NETS)
def given(request, given_of):
    return given_of(request.param)


def wrong_by_five_percent(model):
    """The model, with class scores that are 5% too large."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    logits = copy.get_layer("logits")
    logits.set_weights([1.05 * each for each in logits.get_weights()])
    return copy


@pytest.fixture
def sure_net(given_of):
    return given_of("functional")


# before the tests of all nets, so that each function has just seen the model
@pytest.mark.parametrize("name", [None, *USES])
def test_a_wrong_rewrite_is_refused_whatever_has_seen_the_model(sure_net, name):
    if name is not None:
        sure_net.around(name)
    model, images = sure_net.model, sure_net.pixels[:8]
    wrong = wrong_by_five_percent(model)
    assert equality.largest_difference(model, wrong, images) == pytest.approx(0.05, rel=0.05)
    with pytest.raises(ExportError, match=r"differs by 0\.0\d+ of the largest output"):
        equality.check_equal(model, wrong, images)


@pytest.mark.parametrize("name", USES)
def test_a_model_is_afterwards_what_it_was(given, name):
    (layers, weights), (layers_after, weights_after) = given.around(name)
    assert layers_after == layers
    for before, after in zip(weights, weights_after, strict=True):
        np.testing.assert_array_equal(after, before)


def test_every_public_function_that_takes_a_model_is_tried():
    found = set()
    for module in pkgutil.walk_packages(export.__path__, "export."):
        loaded = importlib.import_module(module.name)
        for name, member in vars(loaded).items():
            if name.startswith("_") or getattr(member, "__module__", None) != module.name:
                continue
            if inspection.isfunction(member) and _takes_a_model(member):
                found.add(f"{module.name}.{name}")
            if inspection.isclass(member) and any(map(_takes_a_model, _methods(member))):
                found.add(f"{module.name}.{name}")
    # with a SourceModel, which holds a model
    assert found | {"export.exporter.export_model"} == set(USES)


def _methods(kind):
    made = "__init__" if not dataclasses.is_dataclass(kind) else ""
    functions = {name: each for name, each in vars(kind).items() if inspection.isfunction(each)}
    return [each for name, each in functions.items() if name == made or not name.startswith("_")]


def _takes_a_model(function):
    hints = inspection.get_annotations(function)  # as written: some are imported for type checks alone
    return any(hint == "keras.Model" for name, hint in hints.items() if name != "return")
