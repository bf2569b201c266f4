"""Named text entries in a .tflite file's metadata, such as the pixels that it takes."""

from __future__ import annotations

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

PIXELS = "pixels"
"""The name of the entry with the expected input."""


def with_note(content: bytes, name: str, text: str) -> bytes:
    """The .tflite file with one more metadata entry, in UTF-8; the graph is unchanged.

    Takes a file as written by the converter.
    """
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    note, buffer = schema.MetadataT(), schema.BufferT()
    note.name, note.buffer = name.encode(), len(model.buffers)
    buffer.data = np.frombuffer(text.encode(), np.uint8)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), note]
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
