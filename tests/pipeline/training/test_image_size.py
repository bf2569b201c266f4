"""The image size of a training: the user's in either way of writing it, then the data set's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.cli import run


@pytest.mark.parametrize(
    ("given", "image_size"),
    [(("--rho", "0.1"), 22), (("--image-size", "22"), 22), ((), 16)],
)
def test_image_size_is_the_users_or_else_the_data_sets(
    given: tuple[str, ...],
    image_size: int,
    tiny_npz: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setenv("PIPELINE_RUNS", str(tmp_path))
    small = ("--alpha", "0.1", "--shallow", "--epochs", "1", "--data", str(tiny_npz))
    assert run(["train", "mobilenet", *small, *given, "--json"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert record["config"]["knobs"]["image_size"] == image_size
