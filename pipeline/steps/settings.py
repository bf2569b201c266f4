"""What the steps are asked for. Standard library only: the command line takes its defaults from here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class VerifySettings:
    """On which images exported files are compared with their Keras models."""

    data: str | None = None
    """A data set's name or a folder; that of the training where none is given."""
    split: str = "test"
    limit: int | None = None
    """The first so many images alone."""
    model: Path | None = None
    """The Keras model, where it is not beside the file."""
