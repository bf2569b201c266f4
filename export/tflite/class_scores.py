"""A .tflite file up to its class scores, which are finer than int8 probabilities."""

from __future__ import annotations

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from export.tflite.inspect import inspect_bytes
from export.tflite.output import CONVERSIONS, PROBABILITIES, network_output


def up_to_class_scores(content: bytes) -> bytes:
    """The converter's file without its last softmax or sigmoid; unchanged if it has none."""
    contents = inspect_bytes(content, name="the converted file")
    output = network_output(contents)
    place = next(place for place, each in enumerate(contents.graph) if output in each.outputs)
    after = contents.graph[place + 1 :]
    if contents.graph[place].name not in PROBABILITIES or any(each.name not in CONVERSIONS for each in after):
        return content
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    graph.operators = graph.operators[:place]
    graph.outputs = list(contents.graph[place].inputs[:1])
    model.signatureDefs = None
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
