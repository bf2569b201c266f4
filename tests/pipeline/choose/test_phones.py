"""`pipeline choose --on all` on the lab's phones: three of different speed, of which one dies midway."""

from __future__ import annotations

import json
import threading
import time

import pytest
from device_lab.fixtures import lab

from pipeline.cli import run

__all__ = ["lab"]
QUICK = (
    *("--num-rounds", "6", "--num-runs", "12", "--min-secs", "0", "--warmup-min-secs", "0"),
    *("--max-drift", "99", "--reconnect-secs", "1"),  # other tests share the machine
)
NETS = ("--families", "densenet", "--depth", "10", "--growth-rate", "4", "--epochs", "2")


@pytest.fixture
def choose(lab, tiny_npz, tmp_path, monkeypatch, capsys):
    """Runs the command on all phones: its exit status, the answer, and what it said."""
    monkeypatch.setenv("PIPELINE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def call(*words):
        tool = ("--benchmark-model", str(lab.benchmark_model))
        status = run(
            ["choose", str(tiny_npz), *NETS, *QUICK, *tool, "--on", "all", "--precisions", "int8", *words]
        )
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


def test_one_budget_has_another_answer_on_another_phone_and_a_dead_one_is_named(lab, choose):
    with lab.inside():
        fast, slow, dying = lab.phone("pixel7"), lab.phone("redmi_note_8"), lab.phone("galaxy_s21")
        slow.set_faults(slow=3000.0)

        def die():
            while len(dying.runs()) < 4:
                time.sleep(0.02)
            dying.kill()

        thread = threading.Thread(target=die)
        thread.start()
        try:
            status, out, err = choose("--max-ms", "2", "--json")
        finally:
            thread.join()
            for each in (fast, slow, dying):
                each.remove()
    assert status == 4, err
    answer = json.loads(out)
    by_phone = {each["target"].split()[0]: each for each in answer["verdicts"]}
    assert set(by_phone) == {"Google", "Xiaomi", "Samsung"}
    (lost,) = answer["lost"]
    assert lost.startswith("Samsung")
    assert by_phone["Samsung"]["advised"] is None
    assert "was given up" in err
    (there,), (here,) = by_phone["Xiaomi"]["judged"], by_phone["Google"]["judged"]
    assert by_phone["Google"]["advised"] == here["name"]
    assert (by_phone["Xiaomi"]["advised"], by_phone["Xiaomi"]["nearest"]) == (None, there["name"])
    assert there["median_ms"] > 5 * here["median_ms"]
    assert "is over --max-ms 2" in there["fate"]["why"]


def test_no_phone_is_one_line(lab, choose):
    with lab.inside():
        status, _, err = choose("--max-ms", "2")
    assert status == 4
    assert "no phone" in err
