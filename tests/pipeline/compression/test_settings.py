"""What can be asked of a compression, and what is refused before anything is read."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from export.records import read_record_as
from pipeline.cli import run
from pipeline.errors import UsageError
from pipeline.records.compression import CompressConfig, check, paper_sparsities


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to do"),
        (["--prune", "1"], "would leave nothing"),
        (["--prune", "1.5"], "would leave nothing"),
        (["--prune", "0"], "would leave everything"),
        (["--prune", "-0.5"], "would leave everything"),
        (["--prune", "nan"], "above 0, below 1"),
        (["--prune", "most"], "expected a share of zeros"),
        (["--prune-layer", "conv10"], "expected LAYER=SHARE"),
        (["--prune-layer", "conv10=all"], "expected LAYER=SHARE"),
        (["--prune-layer", "=0.5"], "expected LAYER=SHARE"),
        (["--prune-layer", "conv10=1"], "conv10 1 would leave nothing"),
        (["--cluster", "1"], "would leave one value for all"),
        (["--cluster", "257"], "int8 has 256 values"),
        (["--prune", "0.67", "--prune-pattern", "2:4"], "--prune 0.5"),
        (["--qat", "--prune-pattern", "1x16"], "--prune SHARE"),
        (["--prune-layer", "conv10=0.5", "--skip-layer", "conv10"], "both to be pruned and to be skipped"),
        (["--qat", "--epochs", "0"], "--epochs"),
        (["--qat", "--learning-rate", "0"], "--learning-rate"),
        (["--qat", "--batch-size", "0"], "--batch-size"),
        (["--resume", "some-run", "--qat"], "--qat"),
    ],
)
def test_setting_that_cannot_be_met_is_a_usage_error(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Any, monkeypatch: Any
):
    monkeypatch.setenv("PIPELINE_RUNS", str(tmp_path / "runs"))
    assert run(["compress", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def config(**settings: Any) -> CompressConfig:
    return CompressConfig(parent="", parent_sha256="", data="", **settings)


def test_steps_are_in_the_order_that_keeps_what_was_made():
    assert config(qat=True, cluster=8, prune=0.5).steps == ("prune", "cluster", "qat")
    assert config(qat=True, prune_layers={"a": 0.5}).steps == ("prune", "qat")


@pytest.mark.parametrize("clusters", [2, 256])
def test_fewest_and_most_clusters_are_taken(clusters: int):
    check(config(cluster=clusters))


def test_no_step_is_refused():
    with pytest.raises(UsageError, match="--prune, --cluster and --qat"):
        check(config(skip_layers=("a",)))


def test_config_comes_back_from_json_as_it_was():
    asked = config(prune=0.5, prune_layers={"a": 0.3}, skip_layers=("b", "c"), cluster=8)
    assert read_record_as(CompressConfig, json.loads(json.dumps(dataclasses.asdict(asked)))) == asked


def test_paper_preset_names_what_the_paper_prunes():
    # Iandola et al. 2016, Table 1: 33% or 30% of the 3x3 kept, half of four 1x1 layers, a fifth of conv10
    shares = paper_sparsities()
    assert len(shares) == 8 + 4 + 1
    assert shares["fire2_expand3x3"] == pytest.approx(0.67)
    assert shares["fire9_expand3x3"] == pytest.approx(0.70)
    assert shares["conv10"] == pytest.approx(0.8)
    halves = {name for name, share in shares.items() if share == pytest.approx(0.5)}
    assert halves == {"fire6_expand1x1", "fire7_squeeze1x1", "fire8_expand1x1", "fire9_squeeze1x1"}
