"""What goes wrong on phones: a named error or a row that is not valid, in time, and nothing is lost."""

from __future__ import annotations

import json
import re
import threading
import time

import pytest

from export.files import sha256_of
from pipeline.cli import run
from pipeline.records.measurement import kind_of_delegate, measurement_from_record

PATIENT = (
    "--num-runs",
    "10",
    "--min-secs",
    "0",
    "--warmup-min-secs",
    "0",
    "--num-rounds",
    "2",
    "--max-secs",
    "2",
)
QUICK = (*PATIENT, "--patience-secs", "3", "--cool-secs", "0.5", "--reconnect-secs", "1")


def only(out):
    """The one record that --json printed."""
    (record,) = json.loads(out)
    return measurement_from_record(record)


FAULTS = {
    "abort": ({"abort": True}, "aborted|SIGABRT|134"),
    "killed": ({"killed": True}, "killed|137"),
    "segfault": ({"segfault": True}, "segmentation fault|139"),
    "hang": ({"hang": True}, r"the tool hung: it was ended after \d s"),
    "output without end": ({"chatter": True}, "the tool printed more than 8 MiB"),
    "a result file without end": ({"endless_file": True}, "cannot be read .it has more than 8 MiB"),
    "half a line": ({"half_line": True}, "cut|no summary"),
    "half a line, killed": ({"half_line_killed": True}, "killed|137"),
    "fewer runs": ({"fewer_runs": 3}, "the run count fell short: 3 of 5"),
    "text and proto differ": ({"proto_differs": True}, "result file|proto|differ"),
    "a clock that stands still": ({"coarse_clock": True}, "0 microseconds: below the clock's resolution"),
    "an unconsumed flag": ({"unconsumed": "num_runs"}, "num_runs"),
}


@pytest.mark.parametrize(("faults", "reason"), FAULTS.values(), ids=list(FAULTS))
def test_a_tool_that_fails_or_does_something_else_is_not_valid(bench, files, phone, faults, reason):
    phone.set_faults(**faults)
    start = time.monotonic()
    status, out, _ = bench(files["one"], "--json", quick=QUICK)
    assert time.monotonic() - start < 20
    assert status == 1
    found = only(out)
    assert not found.valid
    assert re.search(reason, "; ".join(found.reasons), re.IGNORECASE), found.reasons
    assert phone.processes() == []
    assert list(phone.storage.iterdir()) == []


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        ({"gpu_none": True}, "GPU"),
        ({"gpu_fails": True}, "Failed to apply GPU delegate"),
    ],
)
def test_a_gpu_that_takes_no_node_is_not_valid(bench, files, phone, faults, reason):
    phone.set_faults(**faults)
    status, out, _ = bench(files["one"], "--delegate", "gpu", "--json", quick=QUICK)
    assert status == 1
    found = only(out)
    assert (found.valid, found.delegate) == (False, "gpu")
    assert re.search(reason, "; ".join(found.reasons)), found.reasons


def test_a_gpu_that_takes_a_part_is_valid_and_says_which(bench, files, phone):
    phone.set_faults(gpu_partial=True, only_for=sha256_of(files["ten"]))
    status, out, _ = bench(files["ten"], files["one"], "--delegate", "gpu", quick=QUICK)
    assert status == 0
    assert "not valid" not in out
    nodes = re.search(r"ten, 1 thread: GPU took (\d+) of (\d+) nodes, the CPU the rest", out)
    assert int(nodes[1]) == int(nodes[2]) - 1
    _, out, _ = bench(files["ten"], files["one"], "--delegate", "gpu", "--json", quick=QUICK)
    ten, one = (measurement_from_record(record) for record in json.loads(out))
    assert (ten.valid, ten.delegate) == (True, f"gpu ({nodes[1]} of {nodes[2]} nodes)")
    assert (one.valid, one.delegate) == (True, "gpu")
    assert kind_of_delegate(ten.delegate) != kind_of_delegate(one.delegate)  # they are not ranked together


def test_a_slow_net_is_valid_with_as_many_runs_as_the_longest_time_allows(bench, files, phone):
    phone.set_faults(slow=300.0)  # an inference takes some tenths of a second
    brief = (*QUICK[:-6], "--max-secs", "0.2", "--patience-secs", "60", "--cool-secs", "0.5")
    status, out, _ = bench(files["ten"], "--json", quick=brief)
    found = only(out)
    assert (status, found.valid, found.reasons) == (0, True, ())
    assert 2 <= found.num_runs < 10


def test_threads_that_are_silently_ignored_are_counted(bench, files, phone):
    phone.set_faults(threads_ignored=True, slow=3.0)
    longer = ("--num-runs", "100", "--min-secs", "1", "--warmup-min-secs", "0.3", "--num-rounds", "1")
    status, out, _ = bench(files["ten"], "--num-threads", "2", "--json", quick=longer)
    assert status == 1
    assert "the threads were ignored: 2 asked for, 1 ran" in only(out).reasons
    phone.set_faults(slow=3.0)
    status, out, _ = bench(files["ten"], "--num-threads", "2", "--json", quick=longer)
    assert (status, only(out).reasons) == (0, ())


def test_a_row_that_is_not_valid_is_never_ranked(bench, files, phone, capsys):
    phone.set_faults(fewer_runs=3)
    assert bench(files["one"], quick=QUICK)[0] == 1
    run(["report", "--format", "json"])
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["valid"], row["pareto"]) == (False, False)
    assert "the run count fell short" in row["reasons"][0]


def test_the_other_files_of_a_failing_one_are_measured(bench, files, phone):
    phone.set_faults(segfault=True, only_for=sha256_of(files["one"]))
    status, out, _ = bench(files["one"], files["ten"], "--json", quick=QUICK)
    one, ten = (measurement_from_record(record) for record in json.loads(out))
    assert (status, one.valid, ten.valid) == (1, False, True)


def test_a_tool_that_lost_its_executable_bit_is_named(bench, files, phone):
    def spoil():
        while not phone.runs():
            time.sleep(0.01)
        phone.make_tool_unexecutable()

    thread = threading.Thread(target=spoil)
    thread.start()
    status, out, _ = bench(files["ten"], "--json", quick=(*QUICK[:6], "--num-rounds", "30", *QUICK[8:]))
    thread.join()
    assert status == 1
    assert "ermission denied" in "; ".join(only(out).reasons)


def test_a_tool_for_another_processor_is_refused_before_it_is_pushed(bench, lab, files, phone):
    phone.set_property("ro.product.cpu.abi", "x86_64")
    phone.set_property("ro.product.cpu.abilist", "x86_64")
    status, out, err = bench(files["one"], tool=lab.wrong_abi_binary)
    assert (status, out) == (3, "")
    assert "the phone runs x86_64" in err
    assert "--benchmark-model PATH" in err
    assert list(phone.storage.iterdir()) == []


def test_a_tool_that_the_kernel_refuses_is_named(bench, lab, files, phone):
    # the phone's list of ABIs holds this one too, yet its processor does not run it
    status, _, err = bench(files["one"], tool=lab.wrong_abi_binary)
    assert status == 4
    assert "does not run on phone" in err
    assert "Exec format error" in err


def test_a_model_that_is_cut_on_the_phone_is_never_a_figure(bench, files, phone):
    def cut():
        while sum("--graph" in word for each in phone.runs() for word in each.argv) < 2:
            time.sleep(0.01)
        phone.truncate_models()

    thread = threading.Thread(target=cut)
    thread.start()
    status, out, _ = bench(files["ten"], "--json", quick=(*QUICK[:6], "--num-rounds", "30", *QUICK[8:]))
    thread.join()
    assert status == 1
    assert "the file on the phone is not the one asked for" in "; ".join(only(out).reasons)


def test_a_full_phone_is_named_and_the_files_that_fit_are_measured(bench, files, phone):
    phone.fill_disk(free_bytes=300_000)  # room for the tool and one layer, not for ten
    status, out, _ = bench(files["one"], files["ten"], "--json", quick=QUICK)
    one, ten = (measurement_from_record(record) for record in json.loads(out))
    assert (status, one.valid, ten.valid) == (1, True, False)
    assert "No space left on device" in ten.reasons[0]
    assert list(phone.storage.iterdir()) == []


def test_a_phone_that_dies_during_a_push_goes_on_when_it_returns(bench, files, phone, tmp_path, monkeypatch):
    large = tmp_path / "large.tflite"
    large.write_bytes(files["one"].read_bytes() + bytes(80_000_000))

    def vanish():
        while not any(path.stat().st_size > 1_000_000 for path in phone.storage.rglob("*") if path.is_file()):
            time.sleep(0.002)
        phone.kill()
        time.sleep(0.5)
        phone.restart()

    thread = threading.Thread(target=vanish)
    thread.start()
    status, out, err = bench(large, "--json", quick=(*PATIENT, "--reconnect-secs", "20"))
    thread.join()
    assert status == 0, err
    assert only(out).valid


def test_a_phone_that_freezes_is_given_up_in_time_and_what_was_measured_is_kept(
    bench, files, phone, monkeypatch
):
    monkeypatch.setenv("PIPELINE_ANSWER_SECS", "4")

    def freeze():
        while len(phone.runs()) < 4:
            time.sleep(0.01)
        phone.freeze()

    thread = threading.Thread(target=freeze)
    thread.start()
    start = time.monotonic()
    rounds = (*QUICK[:6], "--num-rounds", "4", "--max-secs", "4", *QUICK[10:])
    try:
        status, _, err = bench(files["one"], quick=rounds)
    finally:
        thread.join()
        phone.thaw()
    assert status == 4
    assert time.monotonic() - start < 60
    assert "did not answer within" in err
    assert "finished rounds of them are kept" in err


def test_a_hot_phone_cools_before_it_is_measured(bench, files, phone):
    phone.set_temperature(45.0)
    threading.Timer(2.0, phone.set_temperature, [30.0]).start()
    start = time.monotonic()
    status, out, _ = bench(files["one"], "--json", quick=(*PATIENT, "--cool-secs", "20"))
    assert (status, only(out).valid) == (0, True)
    assert time.monotonic() - start > 2


def test_a_phone_that_stays_hot_is_measured_and_not_valid(bench, files, phone):
    phone.set_temperature(45.0)
    status, out, _ = bench(files["one"], "--json", "--max-celsius", "40", quick=QUICK)
    assert status == 1
    (reason,) = only(out).reasons
    # 1.5 degrees more than the battery: the skin sensor
    assert reason.startswith("the phone is at 46.5 °C, above --max-celsius 40")


def test_a_phone_that_throttles_is_not_valid(bench, files, phone):
    phone.warm_per_run(celsius=5.0, threshold_celsius=33.0)
    status, out, _ = bench(
        files["one"], "--json", "--max-celsius", "60", quick=(*QUICK[:6], "--num-rounds", "6", *QUICK[8:])
    )
    assert status == 1
    assert any(reason.startswith("the phone throttled: thermal status ") for reason in only(out).reasons)


def test_a_round_in_which_the_phone_throttled_is_measured_again_after_cooling(bench, files, phone):
    phone.warm_per_run(celsius=6.0, threshold_celsius=33.0, cool_celsius_per_s=8.0)
    quick = (*PATIENT[:6], "--num-rounds", "3", "--cool-secs", "20")
    status, out, err = bench(files["one"], "--json", "--max-celsius", "32", quick=quick)
    assert (status, only(out).num_rounds) == (0, 3), err


def test_a_median_that_rises_over_the_rounds_is_not_valid_even_when_android_says_nothing(bench, files, phone):
    stop = threading.Event()

    def slow_down():
        # by the run, not by the clock: a busy machine then moves it no less than the noise
        while not stop.wait(0.02):
            phone.set_faults(slow=1.3 ** len(phone.runs()))

    thread = threading.Thread(target=slow_down)
    thread.start()
    try:
        rounds = (*QUICK[:6], "--num-rounds", "10", "--max-drift", "0.1")
        status, out, _ = bench(files["ten"], "--json", quick=rounds)
    finally:
        stop.set()
        thread.join()
    assert status == 1
    assert any("the median rose by" in reason for reason in only(out).reasons)


def test_every_throttled_round_is_seen_however_long_it_lasts(bench, files, phone):
    # each run outlasts the time between two looks at the phone, mostly waiting
    phone.set_faults(slow=30.0)
    phone.set_thermal_status(0)
    longer = ("--num-runs", "10", "--min-secs", "9", "--warmup-min-secs", "0", "--num-rounds", "3")

    def throttle():
        while len(phone.runs()) < 2:
            time.sleep(0.01)
        phone.set_thermal_status(2)

    thread = threading.Thread(target=throttle)
    thread.start()
    status, out, _ = bench(files["one"], "--json", quick=(*longer, "--cool-secs", "0"))
    thread.join()
    assert status == 1
    found = only(out)
    assert found.num_rounds == 1  # no further round is run on a phone that throttles
    assert "thermal status 2 (moderate)" in found.reasons[0]


def test_the_good_rounds_of_a_spoilt_measurement_are_kept(bench, files, phone):
    def kill():
        while len(phone.runs()) < 5:
            time.sleep(0.01)
        phone.set_faults(killed=True)

    thread = threading.Thread(target=kill)
    thread.start()
    rounds = (*QUICK[:6], "--num-rounds", "12", *QUICK[8:])
    status, out, _ = bench(files["one"], "--json", quick=rounds)
    thread.join()
    assert (status, only(out).valid) == (1, False)
    phone.clear_faults()
    before = len(phone.runs())
    status, out, _ = bench(files["one"], "--json", quick=rounds)
    assert (status, only(out).num_rounds) == (0, 10)  # no more rounds than runs
    assert len(phone.runs()) - before <= 10 - 3 + 1  # and one for the tool's help
