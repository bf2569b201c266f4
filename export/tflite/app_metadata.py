"""Standard TFLite metadata, for MediaPipe's ImageClassifier to load a file and return class names.

A buffer named TFLITE_METADATA holds a flatbuffer with the pixel format and the name of the labels file, which
is in a zip archive after the model that runtimes ignore. Tables, field order and the identifier "M001" are
from MediaPipe's mediapipe/tasks/metadata/metadata_schema.fbs.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.artifact import ZERO_PIXEL, TensorInfo
from export.errors import ExportError
from export.head import HeadKind
from export.labels_file import labels_text
from export.tflite.content import FileContents
from export.tflite.inspect import inspect_bytes, unpacked
from export.tflite.output import gives_probabilities, head_of_file
from spelling import counted

ENTRY = "TFLITE_METADATA"
"""The name of the metadata entry, which every reader looks for."""
LABELS_FILE = "labels.txt"
SCORE_FILE = "score.txt"
"""The name of the class that the one output of a binary classifier scores: the second of its two."""

_IDENTIFIER = b"M001"
_PARSER_VERSION = "1.0.0"
"""Schema version: nothing newer is used here."""
_FEATURE_PROPERTIES, _IMAGE_PROPERTIES = 1, 2  # the union ContentProperties
_NORMALIZATION = 1  # the union ProcessUnitOptions
_COLOUR_SPACES = {3: 1, 1: 2}  # ColorSpaceType by channels: RGB, GRAYSCALE
_AXIS_LABELS = 2  # AssociatedFileType
_ALIGNMENT = 16
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The oldest time that a zip can store; it is constant so that two exports of one model are equal."""


def with_metadata_entry(content: bytes, *, model_name: str) -> bytes:
    """The .tflite file with the TFLITE_METADATA entry only; an archive after it is dropped.

    The entry needs the labels that with_labels_file() appends. Raises BadModelFileError for another file.
    """
    contents = inspect_bytes(content, name=model_name)
    model = unpacked(content, name=model_name)
    held = np.frombuffer(_described(contents, model_name), np.uint8)
    entries = {entry.name: entry for entry in model.metadata or []}
    earlier = entries.get(ENTRY.encode())
    if earlier is None:
        entry, buffer = schema.MetadataT(), schema.BufferT()
        entry.name, entry.buffer = ENTRY.encode(), len(model.buffers)
        buffer.data = held
        model.metadata = [*(model.metadata or []), entry]
        model.buffers.append(buffer)
    else:
        model.buffers[earlier.buffer].data = held
    return _packed(model, len(content))


def with_labels_file(content: bytes, class_names: Sequence[str]) -> bytes:
    """The .tflite file with labels.txt, one name per line, in a zip archive after it.

    Add the archive last: rewriting the model would lose it. `class_names` are in the order of the outputs. A
    file of one output has two; since MediaPipe names outputs, not sides of a threshold, another file in the
    archive holds the second alone.

    Raises ExportError for a name that a labels file cannot hold, or a wrong number of names.
    """
    labels = labels_text(class_names)
    num_outputs = inspect_bytes(content, name="the exported file").outputs[0].shape[-1]
    files = {LABELS_FILE: labels}
    if num_outputs == 1 and len(class_names) == 2:
        files[SCORE_FILE] = labels_text(class_names[1:])
    elif len(class_names) != num_outputs:
        raise ExportError(
            f"{counted(len(class_names), 'class name')}, but the file has {counted(num_outputs, 'output')}. "
            "Expected one name each, in the order of the outputs; two for one output."
        )
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a", compression=zipfile.ZIP_STORED) as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name, date_time=_EPOCH)
            entry.create_system = 3  # Unix, on every machine
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, text)
    return file.getvalue()


class _AlignedBuffer(schema.BufferT):
    """Constant data aligned to 16 bytes, as from the converter; otherwise LiteRT copies it on loading."""

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802 - the generated code's name
        if self.data is not None:
            builder.Prep(_ALIGNMENT, len(self.data))
        return int(super().Pack(builder))


def _packed(model: Any, size_hint: int) -> bytes:  # noqa: ANN401 - generated classes carry no types
    for number, buffer in enumerate(model.buffers):
        model.buffers[number] = _AlignedBuffer(data=buffer.data)
    builder = flatbuffers.Builder(size_hint)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _described(contents: FileContents, model_name: str) -> bytes:
    """The metadata flatbuffer."""
    builder = flatbuffers.Builder(1024)
    subgraph = _table(
        builder,
        {
            2: _tables(builder, [_input(builder, contents.inputs[0])]),
            3: _tables(builder, [_output(builder, contents)]),
        },
    )
    fields = {
        0: builder.CreateString(model_name),
        1: builder.CreateString(f"Image classifier; takes {contents.pixels or 'raw 0-255 RGB'}"),
        3: _tables(builder, [subgraph]),
        7: builder.CreateString(_PARSER_VERSION),
    }
    builder.Finish(_table(builder, fields), _IDENTIFIER)
    return bytes(builder.Output())


def _input(builder: flatbuffers.Builder, stored: TensorInfo) -> int:
    mean, std = normalization(stored)
    properties = _table(builder, {}, numbers={0: _COLOUR_SPACES.get(stored.shape[-1], 0)})
    options = _table(builder, {0: _floats(builder, mean), 1: _floats(builder, std)})
    unit = _table(builder, {1: options}, numbers={0: _NORMALIZATION})
    fields = {
        0: builder.CreateString("image"),
        1: builder.CreateString(f"The image, {stored.shape[1]} pixels high and {stored.shape[2]} wide."),
        3: _table(builder, {1: properties}, numbers={0: _IMAGE_PROPERTIES}),
        4: _tables(builder, [unit]),
        5: _table(
            builder,
            {0: _floats(builder, (255 - mean) / std), 1: _floats(builder, -mean / std)},
        ),
    }
    return _table(builder, fields)


def _output(builder: flatbuffers.Builder, contents: FileContents) -> int:
    head = head_of_file(contents)
    is_binary = head.kind is HeadKind.BINARY
    name, words = (
        (SCORE_FILE, "The scored class.") if is_binary else (LABELS_FILE, "The classes, one a line.")
    )
    file = _table(
        builder,
        {0: builder.CreateString(name), 1: builder.CreateString(words)},
        numbers={2: _AXIS_LABELS},
    )
    properties = _table(builder, {})
    fields = {
        0: builder.CreateString("score"),
        1: builder.CreateString(f"{head.in_words[0].upper()}{head.in_words[1:]}."),
        3: _table(builder, {1: properties}, numbers={0: _FEATURE_PROPERTIES}),
        6: _tables(builder, [file]),
    }
    if gives_probabilities(contents):
        fields[5] = _table(builder, {0: _floats(builder, 1.0), 1: _floats(builder, 0.0)})
    return _table(builder, fields)


def normalization(stored: TensorInfo) -> tuple[float, float]:
    """(mean, std) of a raw pixel, such that (pixel - mean) / std is the real value that the input stores.

    A float file takes the pixel itself: (0, 1). For an integer file the schema requires the float model's
    input, which its own quantization turns into pixel - 128 (int8) or the pixel (uint8).
    """
    if stored.dtype not in ZERO_PIXEL or not stored.scale:
        return 0.0, 1.0
    return float(stored.zero_point - ZERO_PIXEL[stored.dtype]), 1 / stored.scale


def _table(
    builder: flatbuffers.Builder, offsets: Mapping[int, int], *, numbers: Mapping[int, int] | None = None
) -> int:
    """A table with fields by number: offsets of other objects, or single bytes."""
    small = numbers or {}
    builder.StartObject(max([*offsets, *small], default=-1) + 1)
    for field, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(field, offset, 0)
    for field, number in small.items():
        builder.PrependInt8Slot(field, number, 0)
    return int(builder.EndObject())


def _tables(builder: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    """A vector of tables."""
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _floats(builder: flatbuffers.Builder, value: float) -> int:
    """A vector of one float, which applies to all channels."""
    return int(builder.CreateNumpyVector(np.array([value], np.float32)))
