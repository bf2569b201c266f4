"""What a file says of images without labels. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ClassShare:
    """A class, or a label with its own yes or no, and its probability."""

    name: str
    probability: float
    """0 to 1."""
    holds: bool
    """Whether the file says that it is this class, or that this label holds."""


@dataclass(frozen=True, kw_only=True)
class ImagePrediction:
    """One image's likeliest classes by one file."""

    file: str
    artifact_sha256: str
    image: str
    where: str
    """'host', or the phone's name."""
    delegate: str
    has_labels: bool
    """Whether each class is a label with its own yes or no, so that several may hold, or none."""
    classes: tuple[ClassShare, ...] = ()
    """The likeliest first; empty where there is no answer."""
    ms: float | None = None
    """Of one inference with one thread, after one to warm up."""
    problem: str = ""
    """Why there is no answer."""
