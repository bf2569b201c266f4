"""Products of matrices that are no convolution or dense layer: counted, or named as not counted."""

import keras
import numpy as np
import pytest

from models.cost import cost

layers, ops = keras.layers, keras.ops
MATRIX = np.ones((3, 7), np.float32)
KERNEL = np.ones((3, 3, 3, 2), np.float32)


def model_of(shapes, by):
    """A model that reads tensors of these shapes, for one image, and gives what `by` makes of them."""
    inputs = [keras.Input(shape) for shape in shapes]
    return keras.Model(inputs, by(*inputs))


PRODUCTS = {
    "matmul": ([(4, 3), (3, 5)], ops.matmul, 4 * 3 * 5),
    "operator": ([(4, 3), (3, 5)], lambda a, b: a @ b, 4 * 3 * 5),
    "by a constant": ([(4, 3)], lambda a: ops.matmul(a, MATRIX), 4 * 3 * 7),
    "a constant by": ([(7, 2)], lambda a: ops.matmul(MATRIX, a), 3 * 7 * 2),
    "heads": ([(2, 4, 3), (2, 3, 5)], ops.matmul, 2 * 4 * 3 * 5),
    "dot": ([(4, 3)], lambda a: ops.dot(a, MATRIX), 4 * 3 * 7),
    "einsum": ([(4, 3), (5, 3)], lambda a, b: ops.einsum("bik,bjk->bij", a, b), 4 * 3 * 5),
    "einsum of one": ([(4, 3)], lambda a: ops.einsum("bik->bki", a), 0),
    "conv": ([(8, 8, 3)], lambda a: ops.conv(a, KERNEL, padding="same"), 8 * 8 * 2 * 3 * 3 * 3),
    "depthwise": ([(8, 8, 3)], lambda a: ops.depthwise_conv(a, KERNEL, padding="same"), 8 * 8 * 6 * 3 * 3),
    "Dot": ([(4, 3), (5, 3)], lambda a, b: layers.Dot(2)([a, b]), 4 * 3 * 5),
    "Dot of two axes": ([(3, 4), (5, 3)], lambda a, b: layers.Dot((1, -1))([a, b]), 4 * 3 * 5),
    "EinsumDense": ([(4, 3)], lambda a: layers.EinsumDense("abc,cd->abd", (4, 7))(a), 4 * 3 * 7),
    "EinsumDense ...": (
        [(2, 4, 3)], lambda a: layers.EinsumDense("...x,xyz->...yz", (5, 7))(a), 2 * 4 * 3 * 5 * 7,
    ),
    "Attention": ([(4, 3), (6, 3)], lambda a, b: layers.Attention()([a, b]), 4 * 6 * (3 + 3)),
    # projections of query, key and value; products of the heads; projection back
    "MultiHeadAttention": (
        [(4, 8), (6, 8)],
        lambda a, b: layers.MultiHeadAttention(2, 5, value_dim=3)(a, b),
        2 * (4 * 8 * 5 + 6 * 8 * 5 + 6 * 8 * 3 + 4 * 6 * 5 + 4 * 6 * 3 + 4 * 3 * 8),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_of_matrices_are_counted(name):
    shapes, by, macs = PRODUCTS[name]
    found = cost(model_of(shapes, by))
    assert (found.macs, found.uncounted) == (macs, ())


class Squared(layers.Layer):
    """A user's layer, which multiplies without a weight."""

    def call(self, x):
        return ops.matmul(x, ops.transpose(x, (0, 2, 1)))


UNCOUNTED = {
    "a user's layer": lambda x: Squared()(x),
    "Lambda": lambda x: layers.Lambda(lambda y: y @ MATRIX, output_shape=(4, 7))(x),
    "AdditiveAttention": lambda x: layers.AdditiveAttention(use_scale=False)([x, x]),
    "tensordot": lambda x: ops.tensordot(x, MATRIX, axes=1),
    "inverse": lambda x: ops.inv(x),
    "three at once": lambda x: ops.einsum("bik,kn,nm->bim", x, MATRIX, MATRIX.T),
}


@pytest.mark.parametrize("name", UNCOUNTED)
def test_what_may_multiply_and_is_not_counted_is_named(name):
    size = (3, 3) if name == "inverse" else (4, 3)
    assert len(cost(model_of([size], UNCOUNTED[name])).uncounted) == 1


def test_operations_without_a_product_cost_nothing_and_are_not_named():
    found = cost(model_of([(4, 3)], lambda x: ops.relu(x * 2 + 1)[:, 1:]))
    assert (found.macs, found.uncounted) == (0, ())
