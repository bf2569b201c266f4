"""Mutations of files: bits, bytes, cuts, splices, extreme numbers; .tflite and zip archives by structure."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import h5py
from ai_edge_litert import schema_py_generated as schema

EXTREMES = (0, 1, -1, 2, 7, 127, 128, 255, 32_767, 65_535, 10**6, 2**31 - 1, -(2**31), 2**24)
Mutation = Callable[[bytes, Sequence[bytes], random.Random], bytes]


def mutated(sources: Sequence[bytes], mutations: Sequence[Mutation], seed: int, number: int) -> bytes:
    """Mutation NUMBER: one to three mutations of one source."""
    chance = random.Random(f"{seed}-{number}")
    content = chance.choice(sources)
    for _ in range(chance.choice((1, 1, 2, 3))):
        try:
            content = chance.choice(mutations)(content, sources, chance)
        except Exception:  # whatever a damaged file makes its writer raise
            continue  # the last mutation has left nothing to find
    return content


def flip_bits(content: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    """A few bits."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 2, 8, 64))):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def swap_bytes(content: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    """Two stretches, exchanged."""
    size = chance.choice((1, 4, 32))
    one, other = sorted(chance.randrange(max(1, len(content) - size)) for _ in range(2))
    if other - one < size:
        return content[:one] + content[one : one + size][::-1] + content[one + size :]
    return (
        content[:one]
        + content[other : other + size]
        + content[one + size : other]
        + content[one : one + size]
        + content[other + size :]
    )


def cut(content: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    """The end lost, or a stretch of the middle."""
    start = chance.randrange(len(content))
    if chance.random() < 0.5:
        return content[:start]
    return content[:start] + content[start + chance.randrange(1, 200) :]


def splice(content: bytes, sources: Sequence[bytes], chance: random.Random) -> bytes:
    """The beginning of one, the end of another."""
    other = chance.choice(sources)
    place = chance.randrange(len(content))
    return content[:place] + other[place if chance.random() < 0.7 else chance.randrange(len(other)) :]


def set_number(content: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    """Four aligned bytes, as an extreme number."""
    return _with_number(content, 4 * chance.randrange(max(1, len(content) // 4)), chance)


BYTES: tuple[Mutation, ...] = (flip_bits, swap_bytes, cut, splice, set_number)


def set_field(content: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    """A field of a table of the flatbuffer, a vector's length or a number in it."""
    return _with_number(content, chance.choice(_fields(content)), chance)


def drop_field(content: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    """A field of a table left out, or taken for another."""
    table = chance.choice(_tables(content))
    vtable = table.Pos - struct.unpack_from("<i", content, table.Pos)[0]
    (size,) = struct.unpack_from("<H", content, vtable)
    slot = vtable + chance.randrange(4, max(6, size), 2)
    other = vtable + chance.randrange(4, max(6, size), 2)
    value = b"\0\0" if chance.random() < 0.5 else content[other : other + 2]
    return content[:slot] + value + content[slot + 2 :]


TFLITE: tuple[Mutation, ...] = (*BYTES, set_field, set_field, set_field, set_field, drop_field)


def _with_number(content: bytes, place: int, chance: random.Random) -> bytes:
    value = chance.choice((*EXTREMES, len(content), chance.randrange(64), chance.randrange(64)))
    return content[:place] + struct.pack("<i", value) + content[place + 4 :]


def _tables(content: bytes) -> list[Any]:
    """The tables of a .tflite file that its graph is made of."""
    model = schema.Model.GetRootAs(content, 0)
    found = [model]
    for each in ("OperatorCodes", "Subgraphs", "Buffers", "Metadata", "SignatureDefs"):
        found += _children(model, each)
    for graph in _children(model, "Subgraphs"):
        found += _children(graph, "Tensors") + _children(graph, "Operators")
        found += [each.Quantization() for each in _children(graph, "Tensors") if each.Quantization()]
    return [each._tab for each in found]


def _children(table: Any, name: str) -> list[Any]:  # noqa: ANN401 - generated classes carry no types
    return [getattr(table, name)(index) for index in range(min(2000, getattr(table, f"{name}Length")()))]


def _fields(content: bytes) -> list[int]:
    """The places of fields, of vectors' lengths, and of a few numbers in vectors."""
    places = []
    for table in _tables(content):
        vtable = table.Pos - struct.unpack_from("<i", content, table.Pos)[0]
        (size,) = struct.unpack_from("<H", content, vtable)
        for slot in range(4, size, 2):
            (offset,) = struct.unpack_from("<H", content, vtable + slot)
            if not offset:
                continue
            place = table.Pos + offset
            places.append(place)
            (target,) = struct.unpack_from("<I", content, place)
            if 0 < target < len(content) - place - 4:
                places += [place + target + 4 * item for item in range(4)]
    return [place for place in places if place + 4 <= len(content)]


def in_archive(change: Mutation) -> Mutation:
    """The mutation of one member of a zip archive, which stays whole: its checksum is right."""

    def changed(content: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {each: archive.read(each) for each in archive.namelist()}
        name = chance.choice(sorted(members))
        members[name] = change(members[name], [members[name]], chance)
        return rezipped(members, chance)

    return changed


def in_hdf5(change: Mutation) -> Mutation:
    """The mutation of the model's configuration in an HDF5 file, which stays whole."""

    def changed(content: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
        packed = io.BytesIO(content)
        with h5py.File(packed, "r+") as file:
            config = file.attrs["model_config"].encode()
            file.attrs["model_config"] = change(config, [config], chance).decode(errors="replace")
        return packed.getvalue()

    return changed


def rezipped(members: dict[str, bytes], chance: random.Random) -> bytes:
    """A zip archive of these members, stored or deflated."""
    packed = io.BytesIO()
    method = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(packed, "w", method) as archive:
        for each, member in members.items():
            archive.writestr(each, member)
    return packed.getvalue()


def change_json(content: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    """A value of a JSON document changed, dropped or exchanged for one of another type."""
    document = json.loads(content)
    places = list(_places(document))
    holder, key = chance.choice(places)
    action = chance.random()
    if action < 0.15:
        del holder[key]
    elif action < 0.5 and isinstance(holder[key], int | float):
        holder[key] = chance.choice((*EXTREMES, 0.5, 1e308, float("nan"), 10**30))
    else:
        other, its = chance.choice(places)
        holder[key] = chance.choice((other[its], None, "", [], {}, -1, 10**9, True, "float16", "Lambda"))
    return json.dumps(document).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401
    ahead = [value]
    while ahead:
        each = ahead.pop()
        keys = list(each) if isinstance(each, dict) else range(len(each)) if isinstance(each, list) else ()
        for key in keys:
            yield each, key
            ahead.append(each[key])
