"""The flags about inputs: shape, range or file of each layer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_lab.tool import spoken
from device_lab.tool.command_line import CommandLine
from device_lab.tool.model_runtime import Model, PrepareError, input_from, num_bytes, random_input


@dataclass(frozen=True)
class Layer:
    """One input in the flags."""

    name: str
    shape: list[int]
    limits: tuple[int, int] | None = None
    path: str = ""


def read_layers(options: CommandLine) -> list[Layer]:
    """A Layer for each name in --input_layer; PrepareError if the flags are inconsistent."""
    names = _split(options["input_layer"], ",")
    shapes = _split(options["input_layer_shape"], ":")
    if len(names) != len(shapes):
        raise PrepareError(
            f"The number of items in --input_layer_shape ({options['input_layer_shape']}, with {len(shapes)}"
            f" items) must match the number of items in --input_layer ({options['input_layer']}, with"
            f" {len(names)} items). For example --input_layer=input1,input2"
            " --input_layer_shape=1,224,224,4:1,20"
        )
    ranges, files = _ranges(options), _files(options)
    for name in (*ranges, *files):
        if name not in names:
            spoken.fatal(
                f"Cannot find the corresponding input_layer name({name}) in --input_layer as"
                f" {options['input_layer']}"
            )
    return [
        Layer(name, _shape(shape), ranges.get(name), files.get(name, ""))
        for name, shape in zip(names, shapes, strict=True)
    ]


def check_layers(layers: list[Layer], model: Model) -> None:
    """Warns of a wrong name; ends the tool if the numbers of inputs or dimensions differ."""
    inputs = model.inputs()
    if layers and len(layers) != len(inputs):
        spoken.fatal(f"Inputs mismatch: Model inputs #:{len(layers)} expected: {len(inputs)}")
    for layer, details in zip(layers, inputs, strict=False):
        index, rank = details["index"], len(details["shape"])
        if layer.name != details["name"]:
            spoken.warn(f"Tensor # {index} is named {details['name']} but flags call it {layer.name}")
        if len(layer.shape) != rank:
            raise PrepareError(f"Input tensor #{index} should have {rank} dimensions!")


def input_data(layers: list[Layer], model: Model) -> list[Any]:
    """An array for each input, from its file or random."""
    inputs = model.inputs()
    if not layers:
        return [random_input(details) for details in inputs]
    return [_data(layer, details) for layer, details in zip(layers, inputs, strict=True)]


def _data(layer: Layer, details: dict) -> Any:
    if layer.path:
        return input_from(_content(layer.path, num_bytes(details)), details)
    array = random_input(details)
    if layer.limits is None:
        return array
    low, high = layer.limits
    return (array.astype("int64") % (high - low + 1) + low).astype(details["dtype"])


def _content(path: str, expected: int) -> bytes:
    try:
        content = Path(path).read_bytes()
    except OSError:
        spoken.fatal(f"Failed to read the input_layer_value_file:{path}")
    if len(content) != expected:
        spoken.fatal(f"The size of {path} is {len(content)} bytes. It should be {expected} bytes.")
    return content


def _ranges(options: CommandLine) -> dict[str, tuple[int, int]]:
    found = {}
    for item in _split(options["input_layer_value_range"], ":"):
        words = item.split(",")
        if len(words) != 3:
            raise PrepareError(f"Wrong input value range item specified: {item}")
        try:
            low, high = int(words[1]), int(words[2])
        except ValueError:
            low, high = 1, 0
        if low > high:
            raise PrepareError(f"Wrong low and high value of the input value range specified: {item}")
        found[words[0]] = low, high
    return found


def _files(options: CommandLine) -> dict[str, str]:
    """Name -> path; a doubled colon means one colon in a name or a path."""
    found = {}
    for item in _split(options["input_layer_value_files"], ","):
        places = _single_colons(item)
        if len(places) != 1:
            problem = "contains more than one delimiter." if places else "doesn't contain any delimiter."
            raise PrepareError(f"{item} {problem}", f"Wrong input value file item specified: {item}", "1")
        name, path = item[: places[0]], item[places[0] + 1 :]
        found[name.replace("::", ":")] = path.replace("::", ":")
    return found


def _single_colons(item: str) -> list[int]:
    """The positions of colons that are not doubled, from the left."""
    places, index = [], 0
    while index < len(item) - 1:
        if item[index] == ":":
            if item[index + 1] == ":":
                index += 1
            else:
                places.append(index)
        index += 1
    return places


def _shape(text: str) -> list[int]:
    try:
        shape = [int(word) for word in text.split(",")]
    except ValueError:
        spoken.fatal(f"Incorrect size string specified: {text}")
    if -1 in shape:
        raise PrepareError(
            "Any unknown sizes in the shapes (-1's) must be replaced with the size you want to"
            " benchmark with."
        )
    return shape


def _split(text: str, mark: str) -> list[str]:
    return text.split(mark) if text else []
