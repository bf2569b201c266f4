"""The settings of an export, their defaults, and which of them exclude each other.

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
from spelling import counted


@dataclass(frozen=True)
class ExportSettings:
    """Everything that decides a file's content besides the model, its images and its class names.

    Raises SettingsError for settings that the precision does not take, or that contradict each other.
    """

    precision: Precision
    _: KW_ONLY
    io_dtype: IoDtype = None  # type: ignore[assignment]  # filled in
    """Type of input and output; by default the precision's first."""
    logits: bool = False
    """Leave out the softmax or sigmoid: the output is class scores."""
    rewrites: tuple[Rewrite, ...] = None  # type: ignore[assignment]  # filled in
    """Changes of the graph before conversion; by default the precision's."""
    sparse: bool = False
    """Store pruned 1x1 convolutions for XNNPACK's sparse kernels."""
    equalize: bool | None = None
    """Equalize channel ranges and correct biases; None: each where it lowers the error on held-out images."""
    keep_float: tuple[str, ...] = ()
    """Layers that stay in float; in a model with trained quantizers, those without one."""
    keep_names: bool = False
    """Keep tensor names in the file, not only in the sidecar."""
    num_calibration: int = 200
    """Number of training images to calibrate with, the same number from each class."""
    seed: int = 0
    """Which images these are."""
    typical: bool = False
    """Leave out the 5% of these images that widen the ranges most."""

    def __post_init__(self) -> None:
        """Fills in the defaults that depend on the precision, and checks."""
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
            raise SettingsError(f"{counted(self.num_calibration, 'calibration image')}. Expected 1 or more.")


def settings_for(precisions: Sequence[Precision], **asked: Any) -> tuple[ExportSettings, ...]:  # noqa: ANN401
    """The settings of each precision: the requested fields that it takes, and defaults.

    Raises SettingsError for a setting that none of them takes.
    """
    given = {name: value for name, value in asked.items() if not _is_default(name, value)}
    _refuse_untaken(given, precisions)
    return tuple(
        ExportSettings(each, **{name: value for name, value in given.items() if _takes(each, name, value)})
        for each in precisions
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
            option = f"--{'no-' if value is False else ''}{name.replace('_', '-')}"
            option += f" {value}" if name == "io_dtype" else ""
            taking = [each for each in Precision if _takes(each, name, value)]
            if not taking:
                raise SettingsError(f"{option}: no precision has it. Expected int8 or uint8, for int8 files.")
            raise SettingsError(
                f"{option} is for {' and '.join(taking)} files, and none is asked for. Add --{taking[0]}."
            )
