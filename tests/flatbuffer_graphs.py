"""Small .tflite files put together operator by operator, for graphs that no converter writes."""

from __future__ import annotations

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

ADD = schema.BuiltinOperator.ADD


def written(operators, *, tensors, inputs=(), outputs=(), constants=None, kind=ADD):
    """A file of operators (inputs, outputs) on float32 tensors of these shapes.

    `constants` are values by tensor.
    """
    model, graph, code = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT()
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    code.builtinCode = code.deprecatedBuiltinCode = kind
    code.version, model.operatorCodes = 1, [code]
    graph.inputs, graph.outputs = list(inputs), list(outputs)
    graph.tensors, graph.operators = [], []
    for number, shape in enumerate(tensors):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = f"t{number}".encode(), list(shape), 0
        if constants and number in constants:
            tensor.buffer = len(model.buffers)
            data = np.asarray(constants[number], np.float32).tobytes()
            model.buffers.append(schema.BufferT(data=np.frombuffer(data, np.uint8)))
        graph.tensors.append(tensor)
    for reads, writes in operators:
        operator = schema.OperatorT()
        operator.inputs, operator.outputs = list(reads), list(writes)
        graph.operators.append(operator)
    return packed(model)


def packed(model):
    """The file's content."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
