"""`pipeline models`: the families, and a model's costs beside the paper's figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from models.family import PublishedFigure
from models.registry import FAMILIES, family_of, label, published_for, remarks, resolve
from pipeline.commands.knobs import given_knobs, knob_options
from pipeline.commands.output import json_option, print_records, print_table, say, table, working

if TYPE_CHECKING:
    from models.cost import Cost
    from models.file_size import FileSize


@dataclass(frozen=True, kw_only=True)
class ModelFigures:
    """A model's costs, before training; the paper's figures are None if it prints none."""

    model_name: str
    family: str
    knobs: dict[str, Any] = field(default_factory=dict)
    parameters: int
    macs: int
    """Multiply-accumulates of convolutions and dense layers, one image."""
    activation_bytes: int
    """Largest total size of activations alive at once, as float32; int8 takes a quarter."""
    float32_bytes: int
    """Expected size of the exported file."""
    int8_bytes: int
    published: tuple[PublishedFigure, ...]
    """The figures that the paper or its authors print for this model; empty if there are none."""


@dataclass(frozen=True, kw_only=True)
class FamilyKnob:
    """One knob of a family."""

    family: str
    name: str
    takes: str
    default: Any
    help: str


@click.command(
    name="models", short_help="Show the models and what they cost: parameters, MACs, memory, bytes."
)
@click.argument("family", required=False)
@knob_options()
@click.option("--layers", is_flag=True, help="A line for each layer.")
@json_option
def command(family: str | None, *, layers: bool, as_json: bool, **options: Any) -> None:  # noqa: ANN401
    """Show the models and what they cost: parameters, MACs, memory, bytes.

    Without FAMILY, the families and their knobs.

    \b
    pipeline models mobilenet --alpha 0.5 --image-size 160
    pipeline models densenet --variant 121 --layers
    """
    if family is None:
        _list(as_json)
        return
    knobs = given_knobs(family, options)
    resolve(family, knobs)
    with working(f"building {label(family, knobs)}"):
        from models.build import build
        from models.cost import cost
        from models.file_size import file_size

        model = build(family, **knobs)
        costs, size = cost(model), file_size(model)
    for sentence in remarks(family, resolve(family, knobs)):
        say(sentence)
    if as_json:
        print_records(list(costs.layers) if layers else [_figures(family, knobs, costs, size)])
    elif layers:
        _print_layers(costs)
    else:
        _print_figures(_figures(family, knobs, costs, size))


def _list(as_json: bool) -> None:
    knobs = [
        FamilyKnob(family=row.name, name=knob.name, takes=knob.range, default=knob.default, help=knob.help)
        for row in FAMILIES.values()
        for knob in row.all_knobs
    ]
    if as_json:
        print_records(knobs)
        return
    for row in FAMILIES.values():
        click.echo(f"{row.name}: {row.title}, {row.paper}")
        rows = table("option", "takes", "default", "what it is")
        for knob in row.knobs:
            shown = "-" if knob.default is None else str(knob.default)
            rows.add_row("--" + knob.name.replace("_", "-"), knob.range, shown, knob.help)
        print_table(rows)
    say("What one costs: pipeline models mobilenet --alpha 0.5 --image-size 160")


def _print_layers(costs: Cost) -> None:
    numbers = ["output", "parameters", "MACs", "output bytes"]
    rows = table("layer", "kind", *numbers, numbers=numbers)
    for layer in costs.layers:
        shape = "x".join(map(str, layer.output_shape))
        rows.add_row(
            layer.name,
            layer.kind,
            shape,
            f"{layer.parameters:,}",
            f"{layer.macs:,}",
            f"{layer.activation_bytes:,}",
        )
    print_table(rows)


def _figures(family: str, knobs: dict[str, Any], costs: Cost, size: FileSize) -> ModelFigures:
    return ModelFigures(
        model_name=label(family, knobs),
        family=family,
        knobs=resolve(family, knobs),
        parameters=costs.parameters,
        macs=costs.macs,
        activation_bytes=costs.activation_bytes,
        float32_bytes=size.float32_bytes,
        int8_bytes=size.int8_bytes,
        published=published_for(family, knobs),
    )


def _print_figures(figures: ModelFigures) -> None:
    rows = table(figures.model_name, "here", "published", "by", numbers=["here", "published"])
    for row in figures.published[:1]:
        rows.add_row("parameters", f"{figures.parameters:,}", f"{row.parameters:,}", row.source)
        rows.add_row("million MACs", f"{figures.macs / 1e6:,.1f}", f"{row.mmacs:,.1f}", row.source)
    if not figures.published:
        rows.add_row("parameters", f"{figures.parameters:,}", "-", "")
        rows.add_row("million MACs", f"{figures.macs / 1e6:,.1f}", "-", "")
    for name, in_bytes in (
        ("activations, float32", figures.activation_bytes),
        ("activations, int8", figures.activation_bytes // 4),
        ("file to expect, float32", figures.float32_bytes),
        ("file to expect, int8", figures.int8_bytes),
    ):
        rows.add_row(name, f"{in_bytes / 1e6:,.2f} MB", "-", "")
    for row in figures.published:
        if row.top1 is not None:
            rows.add_row(f"top-1 on {row.top1_dataset}", "-", f"{row.top1:g}%", row.source)
    print_table(rows)
    say(f"{family_of(figures.family).paper}. Train it: pipeline train {figures.family} --data FOLDER")
