"""The walk over Keras's graph, beside what Keras itself runs."""

import sys

import keras
import pytest

from keras_graph.walk import calls, calls_by_branch, calls_once, is_graph, last_call

layers = keras.layers
WALKS = [calls, calls_by_branch]


def names(nodes):
    return [node.operation.name for node in nodes]


def branched():
    """Two branches of two layers each, a layer that runs twice, and a nested model."""
    image = keras.Input((8, 8, 3), name="image")
    left = layers.ReLU(name="left_relu")(layers.Conv2D(4, 1, name="left")(image))
    right = layers.ReLU(name="right_relu")(layers.Conv2D(4, 1, name="right")(image))
    shared = layers.Conv2D(4, 1, name="shared")
    x = layers.Add(name="add")([shared(left), shared(right)])
    inner = keras.Input((8, 8, 4), name="inner")
    nested = keras.Model(inner, layers.ReLU(name="inside")(inner), name="nested")
    return keras.Model(image, layers.Flatten(name="flat")(nested(x)), name="branched")


@pytest.mark.parametrize("walk", WALKS)
def test_each_call_comes_once_and_after_those_it_reads(walk):
    model = branched()
    written = {id(tensor) for tensor in model.inputs}
    nodes = walk(model)
    for node in nodes:
        assert {id(tensor) for tensor in node.input_tensors} <= written
        written |= {id(tensor) for tensor in node.outputs}
    assert sorted(names(nodes)) == sorted(
        ["left", "left_relu", "right", "right_relu", "shared", "shared", "add", "nested", "flat"]
    )
    assert len({id(node) for node in nodes}) == len(nodes)


def test_calls_come_in_the_order_in_which_keras_runs_them():
    ran = []

    class Noted(layers.Layer):
        def call(self, x):
            ran.append(self.name)
            return x

    image = keras.Input((4,))
    left = Noted(name="left_2")(Noted(name="left_1")(image))
    right = Noted(name="right_2")(Noted(name="right_1")(image))
    model = keras.Model(image, [left, right])
    ran.clear()
    model(keras.ops.zeros((1, 4)))
    assert names(calls(model)) == ran


def test_a_branch_ends_before_the_next_begins():
    assert names(calls_by_branch(branched()))[:6] == [
        "left", "left_relu", "shared", "right", "right_relu", "shared",
    ]  # fmt: skip


def test_a_layer_that_runs_twice_is_not_among_those_called_once():
    assert "shared" not in names(calls_once(branched()))


def test_a_sequential_model_is_walked_as_its_functional_one():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="a"), layers.Dense(2, name="b")])
    assert names(calls(model)) == names(calls_by_branch(model)) == ["a", "b"]
    assert last_call(model).operation is model.layers[-1]


def test_a_nested_model_is_one_call_and_a_graph_itself():
    nested = next(node.operation for node in calls(branched()) if node.operation.name == "nested")
    assert is_graph(nested)
    assert not is_graph(calls(nested)[0].operation)


@pytest.mark.parametrize("walk", WALKS)
def test_a_net_deeper_than_the_stack_is_walked(walk):
    image = x = keras.Input((4,))
    for _ in range(1200):
        x = layers.Activation("relu")(x)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)  # Keras's own builder needs it
    try:
        model = keras.Model(image, x)
    finally:
        sys.setrecursionlimit(limit)
    assert len(walk(model)) == 1200


@pytest.mark.parametrize("walk", WALKS)
def test_a_part_of_a_model_is_walked_no_further_than_its_own_inputs(walk):
    model = branched()
    part = keras.Model(model.get_layer("add").output, model.outputs[0])
    assert names(walk(part)) == ["nested", "flat"]
