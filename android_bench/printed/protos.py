"""Classes of protocol buffers from their fields; protobuf is imported only when one is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from android_bench.errors import LogError

Fields = Mapping[str, tuple[tuple[str, int, str], ...]]
"""Of each message: a field's name, number and type; '*' behind the type of a repeated one."""


def message_class(package: str, fields: Fields, root: str) -> Any:  # noqa: ANN401 - made at run time
    """The class of the message `root`. Fields that are not listed are skipped when one is parsed."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    scalars = {
        "float": kinds.TYPE_FLOAT,
        "int32": kinds.TYPE_INT32,
        "int64": kinds.TYPE_INT64,
        "string": kinds.TYPE_STRING,
    }
    for message_name, rows in fields.items():
        message = file.message_type.add(name=message_name)
        for name, number, told in rows:
            kind = told.removesuffix("*")
            label = kinds.LABEL_REPEATED if told.endswith("*") else kinds.LABEL_OPTIONAL
            added = message.field.add(name=name, number=number, label=label)
            added.type = scalars.get(kind, kinds.TYPE_MESSAGE)
            if kind not in scalars:
                added.type_name = f".{package}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{root}"))


def parsed(kind: Any, content: bytes, what: str) -> Any:  # noqa: ANN401 - made at run time
    """The message in the content. LogError, with `what` as the file's name, if it is empty or damaged."""
    from google.protobuf.message import DecodeError

    if not content:
        raise LogError(f"{what} is empty")
    message = kind()
    try:
        message.ParseFromString(content)
    except DecodeError as error:
        raise LogError(f"{what}'s {len(content)} bytes are damaged or cut ({error})") from error
    return message
