"""A SavedModel's folder, checked before TensorFlow loads it: its sizes, and what its graph asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from export.errors import BadModelFileError
from export.limits import MODEL_BYTES, SAVED_MODEL_GRAPH_BYTES, SAVED_MODEL_NODES
from export.model_format import SAVED_MODEL_FILE
from export.reading import OutOfBoundsError, read_bytes, size_in_words

_FIX = "Expected the folder of an image classifier: copy it again from where it came, or save it again."
_TOUCHES_FILES = ("WriteFile", "ReadFile", "MatchingFiles", "PyFunc", "PyFuncStateless", "EagerPyFunc")
"""Operations that read or write files of this machine, or call Python."""


def check_saved_model(path: Path) -> None:
    """Raises BadModelFileError for a folder that is too large, or a graph that grows or touches files.

    Thirty functions, each of which calls the next one twice, are a billion operations in a few kilobytes.
    """
    total = sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    if total > MODEL_BYTES:
        raise BadModelFileError(
            f"{path} holds {size_in_words(total)}, more than {size_in_words(MODEL_BYTES)}. {_FIX}"
        )
    saved = SavedModel()
    try:
        saved.ParseFromString(read_bytes(path / SAVED_MODEL_FILE, at_most=SAVED_MODEL_GRAPH_BYTES))
    except OutOfBoundsError as error:
        raise BadModelFileError(f"{path / SAVED_MODEL_FILE} is {error}. {_FIX}") from error
    except Exception as error:  # protobuf's own classes of errors differ by version
        raise BadModelFileError(
            f"{path / SAVED_MODEL_FILE} is damaged ({error}). Copy the whole folder again."
        ) from error
    for graph in (each.graph_def for each in saved.meta_graphs):
        functions = {each.signature.name: each.node_def for each in graph.library.function}
        for nodes in (graph.node, *functions.values()):
            _refuse_files(path, nodes)
        _check_growth(path, {**functions, "": graph.node})


def _refuse_files(path: Path, nodes: Iterable[Any]) -> None:
    for node in nodes:
        prints = node.op == "PrintV2" and node.attr["output_stream"].s.startswith(b"file:")
        if node.op in _TOUCHES_FILES or prints:
            raise BadModelFileError(
                f"{path}: its operation '{node.name}' ({node.op}) would read or write files of this machine, "
                "or call Python. Expected a classifier that computes with its image alone: save it without."
            )


def _check_growth(path: Path, functions: Mapping[str, Any]) -> None:
    """Counts the operations of each function with those that it calls, however deep, each function once."""
    calls = {name: list(_called(nodes, functions)) for name, nodes in functions.items()}
    found: dict[str, int] = {}
    for first in functions:
        stack, inside = [first], set[str]()
        while stack:
            name = stack[-1]
            waiting = [each for each in calls[name] if each not in found]
            if waiting and name not in inside:
                inside.add(name)
                stack += dict.fromkeys(waiting)
                continue
            stack.pop()
            if waiting:
                raise BadModelFileError(f"{path}: its function '{waiting[0]}' calls itself. {_FIX}")
            found[name] = len(functions[name]) + sum(found[each] for each in calls[name])
            if found[name] > SAVED_MODEL_NODES:
                raise BadModelFileError(
                    f"{path}: its graph has more than {SAVED_MODEL_NODES:,} operations. {_FIX}"
                )


def _called(nodes: Iterable[Any], functions: Mapping[str, Any]) -> Iterator[str]:
    """The functions that operations call, as often as they do."""
    for node in nodes:
        named = [node.op]
        for value in node.attr.values():
            named += [value.func.name, *(each.name for each in value.list.func)]
        yield from (name for name in named if name in functions and name)
