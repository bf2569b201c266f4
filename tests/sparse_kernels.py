"""Which kernels LiteRT runs a file's sparse weights on, told by its outputs."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from export import native_output
from export.errors import ExportError
from export.sparse.graph import Graph, read_graph, replace_input

_TRIED_IMAGES = 16
"""So many that sparse kernels do not return the dense ones' bits for all of them by chance."""
_ROW_BY_ROW = schema.DimensionType.SPARSE_CSR


def litert_runs_sparse(content: bytes, *, seed: int = 0) -> bool | None:
    """Whether LiteRT on this machine really runs the file's sparse weights on other kernels than dense ones.

    It compares the outputs for a few random images with those of the same file with dense weights: dense
    kernels are given the same weights either way and return the same bits, sparse ones add up in another
    order. None where the file gives one output for all images, which tells nothing. Takes a file with one
    float32 input; one without sparse weights is not run. Raises ExportError as with_dense_weights does.
    """
    graph = read_graph(content, name="the file")
    if all(tensor.sparsity is None for tensor in graph.subgraph.tensors):
        return False
    sparse, dense = _outputs(content, seed), _outputs(with_dense_weights(content), seed)
    if np.ptp(dense, axis=0).max() == 0:
        return None
    return not np.array_equal(sparse, dense)


def with_dense_weights(content: bytes, *, name: str = "the file") -> bytes:
    """The file with its sparse float32 weights stored densely, and no DENSIFY before them.

    Undoes with_sparse_weights but for the paddings. Raises ExportError where weights are stored in blocks or
    in another order than rows, BadModelFileError for no whole .tflite file.
    """
    graph = read_graph(content, name=name)
    stored_of: dict[int, int] = {}
    operators = []
    for operator in graph.subgraph.operators:
        tensor = int(operator.inputs[0]) if graph.kind(operator) == schema.BuiltinOperator.DENSIFY else -1
        if tensor >= 0 and graph.subgraph.tensors[tensor].type == schema.TensorType.FLOAT32:
            graph.set_data(tensor, _dense(graph, tensor, name))
            graph.subgraph.tensors[tensor].sparsity = None
            stored_of[int(operator.outputs[0])] = tensor
        else:
            operators.append(operator)
    for operator in operators:
        for place, tensor in enumerate(operator.inputs):
            if int(tensor) in stored_of:
                replace_input(operator, place, stored_of[int(tensor)])
    graph.subgraph.operators = operators
    return graph.packed()


def _dense(graph: Graph, tensor: int, name: str) -> npt.NDArray[np.float32]:
    """The dense values of weights that are sparse in their last axis."""
    described, shape = graph.subgraph.tensors[tensor], graph.shape(tensor)
    sparsity = described.sparsity
    if (
        sparsity is None
        or list(sparsity.traversalOrder) != list(range(len(shape)))
        or [each.format for each in sparsity.dimMetadata]
        != [0] * (len(shape) - 1) + [schema.DimensionType.SPARSE_CSR]
    ):
        raise ExportError(
            f"{name} stores {(described.name or b'').decode()} sparsely, but not row by row. Expected what "
            "with_sparse_weights writes; export the model again without sparse weights."
        )
    stored = graph.constant(tensor, np.float32)
    last = sparsity.dimMetadata[-1]
    ends = np.asarray(last.arraySegments.values, np.int64)
    rows = np.zeros((math.prod(shape[:-1]), shape[-1]), np.float32)
    if stored is not None:
        places = np.repeat(np.arange(len(rows)), np.diff(ends))
        rows[places, np.asarray(last.arrayIndices.values, np.int64)] = stored
    return rows


def _outputs(content: bytes, seed: int) -> npt.NDArray[np.float32]:
    with native_output.captured():
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
    entry, output = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    random = np.random.default_rng(seed)
    found = []
    for _ in range(_TRIED_IMAGES):
        interpreter.set_tensor(entry["index"], random.uniform(0, 255, entry["shape"]).astype(entry["dtype"]))
        interpreter.invoke()
        found.append(interpreter.get_tensor(output["index"]))
    return np.concatenate(found)
