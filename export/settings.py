"""How a file is exported: each setting with its default, and which of them go together.

Standard library only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from export.errors import SettingsError
from export.precisions import IoDtype, Precision
from export.rewrites import Rewrite


@dataclass(frozen=True)
class ExportSettings:
    """All that decides what a model's file holds, but for the model, its images and its class names.

    SettingsError for settings that the precision does not take, or that exclude each other.
    """

    precision: Precision
    _: KW_ONLY
    io_dtype: IoDtype = None  # type: ignore[assignment]  # filled in
    """Of input and output; the precision's first where none is given."""
    logits: bool = False
    """End in the class scores, without the softmax."""
    rewrites: tuple[Rewrite, ...] = None  # type: ignore[assignment]  # filled in
    """What is done to the graph before it is converted; the precision's own where none are given."""
    sparse: bool = False
    """Store pruned 1x1 convolutions as XNNPACK's sparse kernels take them."""
    equalize: bool = False
    """Bring channels to one range, and correct biases, before rounding."""
    keep_float: tuple[str, ...] = ()
    """Layers whose operators stay in float; of a model with trained quantizers those that have none."""
    keep_names: bool = False
    """Leave the tensors' names in the file, not in the sidecar alone."""
    num_calibration: int = 200
    """Training images that the ranges are read from, as many of each class."""
    seed: int = 0
    """Which images these are."""
    typical: bool = False
    """Leave out the 5% of them that widen the ranges most."""

    def __post_init__(self) -> None:
        """Fills in what hangs on the precision, and checks."""
        spec = self.precision.spec
        fill = object.__setattr__
        fill(self, "io_dtype", self.io_dtype or spec.io_dtypes[0])
        fill(self, "rewrites", spec.rewrites if self.rewrites is None else tuple(self.rewrites))
        fill(self, "keep_float", tuple(dict.fromkeys(self.keep_float)))
        asked = {name: value for name, value in _values(self).items() if not _is_default(name, value)}
        _refuse_untaken(asked, [self.precision])
        if self.equalize and not self.rewrites:
            raise SettingsError(
                "--equalize folds BatchNorms and scales weights, which --no-rewrite forbids. Leave one out."
            )
        if self.num_calibration < 1:
            raise SettingsError(f"{self.num_calibration} calibration images. Expected 1 or more.")


def settings_for(precisions: Sequence[Precision], **asked: Any) -> tuple[ExportSettings, ...]:  # noqa: ANN401
    """The settings of each precision: of what is asked for, by field, it gets what it takes.

    SettingsError for a setting that none of them takes.
    """
    given = {name: value for name, value in asked.items() if not _is_default(name, value)}
    _refuse_untaken(given, precisions)
    return tuple(
        ExportSettings(each, **{name: value for name, value in given.items() if _takes(each, name, value)})
        for each in precisions
    )


def settings_from_record(record: dict[str, Any]) -> ExportSettings:
    """ExportSettings from what asdict() and JSON made of them."""
    return ExportSettings(
        **{
            **record,
            "precision": Precision(record["precision"]),
            "rewrites": tuple(map(Rewrite, record["rewrites"])),
            "keep_float": tuple(record["keep_float"]),
        }
    )


_DEFAULTS = {field.name: field.default for field in dataclasses.fields(ExportSettings)}


def _values(settings: ExportSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in _DEFAULTS}


def _is_default(name: str, value: Any) -> bool:  # noqa: ANN401
    return value is None or (name != "rewrites" and value == _DEFAULTS[name])


def _takes(precision: Precision, name: str, value: Any) -> bool:  # noqa: ANN401
    """Whether a file of this precision can have the value."""
    if name == "io_dtype":
        return value in precision.spec.io_dtypes
    return name in precision.spec.options or not any(name in each.spec.options for each in Precision)


def _refuse_untaken(asked: dict[str, Any], precisions: Sequence[Precision]) -> None:
    for name, value in asked.items():
        if not any(_takes(each, name, value) for each in precisions):
            option = f"--{name.replace('_', '-')}" + (f" {value}" if name == "io_dtype" else "")
            taking = [each for each in Precision if _takes(each, name, value)]
            if not taking:
                raise SettingsError(f"{option}: no precision has it. Expected int8 or uint8, for int8 files.")
            raise SettingsError(
                f"{option} is for {' and '.join(taking)} files, and none is asked for. Add --{taking[0]}."
            )
