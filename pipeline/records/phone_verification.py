"""A file's labels on a phone compared with those on the host. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

MIN_AGREEMENT = 95.0
"""Percent of samples on which a phone must give the host's label; float16 on a GPU turns few."""


@dataclass(frozen=True, kw_only=True)
class PhoneVerification:
    """One file with one delegate on one phone, on samples of a data set."""

    artifact_sha256: str
    path: str
    where: str
    """The phone's name."""
    machine: str
    """The phone's model, SoC and Android build."""
    delegate: str
    """cpu, gpu, nnapi."""
    tool_sha256: str
    dataset: str
    dataset_fingerprint: str
    split: str
    num_samples: int
    phone_top1: float | None
    """Percent; None if the phone gave no outputs."""
    host_top1: float | None
    """Percent, of the same file in LiteRT on the host, on the same samples."""
    agreement: float | None
    """Percent of samples on which phone and host give the same label."""
    max_abs_difference: float | None
    """The largest difference of any output value, after dequantization."""
    secs_per_sample: float
    """One process of the tool runs one sample."""
    valid: bool
    reasons: tuple[str, ...]
    """Why it is not valid, such as a delegate that took no node; empty when it is."""
    verified_utc: str
    phone_average_precision: float | None = None
    """Percent: mean over the labels of several sigmoids; None for classes that exclude each other."""
    host_average_precision: float | None = None
    is_on_classes: bool = False
    """Whether several sigmoids were judged on images of one class each."""
    classes_matched: str = ""
    """How the data set's classes were found among the outputs, in words."""

    @property
    def phone_score(self) -> float | None:
        """The percentage that the phone is judged by: mean average precision of labels, else top-1."""
        return self.phone_top1 if self.phone_average_precision is None else self.phone_average_precision

    @property
    def host_score(self) -> float | None:
        """The same of the host."""
        return self.host_top1 if self.host_average_precision is None else self.host_average_precision
