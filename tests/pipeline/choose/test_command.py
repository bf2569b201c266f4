"""`pipeline choose` from end to end, on a data set that trains in seconds."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from export.check.paired import mcnemar_p
from export.files import sha256_of
from models.build import build_without_weights
from models.cost import cost
from pipeline.cli import run
from pipeline.store.store import open_store

QUICK = (
    "--num-rounds",
    "6",
    "--num-runs",
    "6",
    "--min-secs",
    "0",
    "--warmup-min-secs",
    "0",
    "--max-wait",
    "99",
)
NETS = ("--families", "densenet", "--depth", "10", "--growth-rate", "4,8", "--epochs", "2")


def choose(data, *words):
    """The exit status of the command."""
    return run(["choose", str(data), *NETS, *QUICK, *words])


def histories(folder):
    """Training -> its epochs, with the seconds that each took."""
    entries = map(json.loads, (path.read_text() for path in (folder / "runs" / "trials").glob("*.json")))
    return {entry["key"]: entry["history"] for entry in entries}


@pytest.fixture(scope="module")
def killed(tiny_npz, runs_of_module):
    """What a choice had trained when it was killed, as soon as one net was."""
    words = ["choose", str(tiny_npz), *NETS, *QUICK, "--max-mb", "1", "--json"]
    program = Path(sys.executable).with_name("pipeline")
    with subprocess.Popen([program, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not histories(runs_of_module):
            assert process.poll() is None
            time.sleep(0.1)
        process.kill()
    return histories(runs_of_module)


@pytest.fixture(scope="module")
def chosen(tiny_npz, runs_of_module, killed):
    """The same command again, which goes on: a choice between two small DenseNets, as JSON."""
    assert killed
    out = runs_of_module / "out.json"
    with out.open("w") as stream, contextlib.redirect_stdout(stream):
        assert choose(tiny_npz, "--max-mb", "1", "--json") == 0
    return json.loads(out.read_text())


def test_a_killed_choice_goes_on_and_trains_nothing_twice(killed, chosen, runs_of_module):
    after = histories(runs_of_module)
    assert len(after) == 2
    assert {key: after[key] for key in killed} == killed  # to the second that each epoch took


def test_the_advised_file_is_there_with_the_figures_of_its_verification(chosen, runs_of_module):
    (verdict,) = chosen["verdicts"]
    advised = next(each for each in verdict["judged"] if each["name"] == verdict["advised"])
    path = Path(advised["path"])
    assert sha256_of(path) == advised["sha256"]
    assert path.stat().st_size == advised["size_bytes"] <= 1_000_000
    with open_store(runs_of_module / "runs") as store:
        (verified,) = store.verifications(advised["sha256"])
        measured = store.measurements(advised["sha256"])
    assert verified.tflite_top1 == pytest.approx(advised["top1"])
    assert measured[-1].median_ms == advised["median_ms"]


def test_the_ties_are_those_of_mcnemars_test(chosen, runs_of_module):
    (verdict,) = chosen["verdicts"]
    winner = next(each for each in verdict["judged"] if each["name"] == verdict["winner"])
    with open_store(runs_of_module / "runs") as store:
        right = {}
        for each in verdict["judged"]:
            fingerprint = store.verifications(each["sha256"])[0].dataset_fingerprint
            kept = store.predictions(each["sha256"], dataset_fingerprint=fingerprint, split="test")
            right[each["name"]] = kept.found.file.label == kept.found.truth
    best = right[winner["name"]]
    for each in verdict["judged"]:
        if each["name"] != winner["name"]:
            ours = right[each["name"]]
            p = mcnemar_p(int((ours & ~best).sum()), int((best & ~ours).sum()))
            assert each["accuracy_p"] == pytest.approx(p)


def test_every_candidate_was_measured_before_training(chosen):
    names = {each["name"]: each for each in chosen["candidates"]}
    assert set(names) == {
        f"densenet_bc10k{rate}_16 {each}" for rate in (4, 8) for each in ("float16", "int8")
    }
    for each in names.values():
        assert each["median_ms"]["host"] > 0
        assert each["size_bytes"] > 0
    net = build_without_weights(
        "densenet", depth=10, bottleneck=True, growth_rate=8, image_size=16, num_classes=3
    )
    assert names["densenet_bc10k8_16 int8"]["macs"] == cost(net).macs


def test_the_untrained_file_has_the_size_of_the_trained_one(chosen):
    sizes = {each["name"]: each["size_bytes"] for each in chosen["candidates"]}
    (verdict,) = chosen["verdicts"]
    for each in verdict["judged"]:
        assert (
            abs(each["size_bytes"] - sizes[each["name"]]) <= 0.02 * sizes[each["name"]]
        )  # its int8 ranges are others


def test_the_page_works_offline_and_links_every_figure_to_its_measurement(chosen):
    page = Path(chosen["page"]).read_text()
    assert "http" not in page.replace("http-equiv", "")
    (verdict,) = chosen["verdicts"]
    for each in verdict["judged"]:
        assert f'id="f-{each["sha256"][:16]}"' in page
        assert each["sha256"][:16] in page.partition("<h2>Measurements</h2>")[2]
    targets = {part.partition('"')[0] for part in page.split('href="#')[1:]}
    assert targets
    assert all(f'id="{target}"' in page for target in targets)


def test_asked_again_nothing_is_trained_or_measured_again(chosen, tiny_npz, runs_of_module, capsys):
    trained = sorted((runs_of_module / "runs").glob("*/last-*.npz"))
    times = [path.stat().st_mtime_ns for path in trained]
    with open_store(runs_of_module / "runs") as store:
        before = [len(store.measurements(each["sha256"])) for each in chosen["verdicts"][0]["judged"]]
        assert choose(tiny_npz, "--max-mb", "1", "--json") == 0
        after = [len(store.measurements(each["sha256"])) for each in chosen["verdicts"][0]["judged"]]
    again = json.loads(capsys.readouterr().out)
    assert again["verdicts"] == chosen["verdicts"]
    assert [path.stat().st_mtime_ns for path in trained] == times
    assert before == after


def test_a_budget_that_nothing_meets_is_one_line_with_the_nearest(chosen, tiny_npz, capsys):
    assert choose(tiny_npz, "--max-mb", "0.001") == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("pipeline: ")
    assert "--max-mb 0.001" in said


def test_the_plan_says_what_is_stored_and_how_long_the_rest_takes(chosen, tiny_npz, capsys):
    assert choose(tiny_npz, "--dry-run", "--json") == 0
    first, *others = json.loads(capsys.readouterr().out)
    assert (first["count"], first["seconds"]) == (0, 0.0)
    assert "4 of 4 are stored" in first["how"]
    assert [each["what"] for each in others] == ["train to epoch 2", "export, verify, measure in turns"]
    assert all(each["seconds"] > 0 for each in others)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--families", "mobilnet"), "Did you mean 'mobilenet'"),
        (("--max-ms", "0"), "--max-ms is 0"),
        (("--also", "no.keras"), "there is no such file"),
        (("--benchmark-model", "x"), "for phones"),
        (("--on", "host", "--on", "all"), "two choices"),
    ],
)
def test_a_mistake_is_one_line(tiny_npz, runs_of_module, capsys, words, said):
    assert run(["choose", str(tiny_npz), *words]) == 2
    assert said in capsys.readouterr().err


def test_no_data_is_one_line(capsys):
    assert run(["choose", "--max-ms", "5"]) == 2
    assert "which images is the net for" in capsys.readouterr().err


def test_a_trained_model_of_ones_own_is_judged_beside_the_grid(chosen, tiny_npz, runs_of_module, capsys):
    model = next((runs_of_module / "runs").glob("densenet_bc10k4_16-tiny-*/model.keras"))
    mine = runs_of_module / "mine.keras"
    mine.write_bytes(model.read_bytes())
    words = ("--growth-rate", "4", "--precisions", "float16", "--also", str(mine), "--json")
    assert choose(tiny_npz, *words) == 0
    answer = json.loads(capsys.readouterr().out)
    (verdict,) = answer["verdicts"]
    tops = {each["name"]: each["top1"] for each in verdict["judged"]}
    assert set(tops) == {"densenet_bc10k4_16 float16", "mine float16"}
    assert tops["mine float16"] == tops["densenet_bc10k4_16 float16"]  # the same net and weights


def test_without_time_one_net_is_trained_and_the_others_are_named(chosen, tiny_npz, capsys):
    # the nets of this choice are trained already: with no second left, the first alone is looked at
    assert choose(tiny_npz, "--hours", "0.000001", "--precisions", "float16", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert len(answer["verdicts"][0]["judged"]) == 1
    assert list(answer["left_out"].values()) == ["left out for --hours"]
