"""`pipeline bench --adb` against the lab: real adb on both sides, and a tool that really runs the files."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from android_bench.phone.session import ROOT
from export.files import sha256_of
from pipeline.cli import run
from pipeline.records.measurement import measurement_from_record
from pipeline.runs import runs_folder
from pipeline.store.store import open_store

QUICK = ("--num-runs", "10", "--min-secs", "0", "--warmup-min-secs", "0", "--num-rounds", "2")
OURS = f"{ROOT.rsplit('/', 1)[1]}"
ODD_NAMES = ["two words", "quote'd", 'double"quoted', "semi;colon", "$(touch hacked)", "new\nline"]


def measurements(out):
    """The records that --json printed."""
    return [measurement_from_record(record) for record in json.loads(out)]


def timed_runs(phone):
    """The tool's runs on a phone, those that only asked for its help left out."""
    return [each for each in phone.runs() if not any("--help" in word for word in each.argv)]


@pytest.fixture
def runs(bench):
    """The runs folder that bench writes to."""
    return runs_folder()


def test_the_figures_are_those_of_the_tool_and_reach_the_store(bench, files, phone, runs):
    status, out, _ = bench(files["one"], files["ten"], "--json")
    assert status == 0
    one, ten = measurements(out)
    assert (one.valid, one.reasons, one.runtime, one.delegate) == (
        True,
        (),
        "benchmark_model",
        "cpu with XNNPACK",
    )
    assert one.where.startswith("Google Pixel 7 ")
    assert "GS201" in one.machine
    assert phone.serial not in out
    assert one.num_rounds == 2
    assert one.num_runs == 10
    assert 2 < ten.median_ms / one.median_ms < 50  # ten equal layers against one
    for each in (one, ten):
        assert each.min_ms <= each.p5_ms <= each.median_ms <= each.p95_ms <= each.max_ms
        assert each.init_ms > 0
        assert each.warm_init_ms > 0
    with open_store(runs) as store:
        assert store.measurements(sha256_of(files["one"])) == [one]


def test_the_latency_is_that_of_the_host_on_the_same_machine(bench, files, capsys):
    # the lab's tool runs LiteRT on this very machine: both must see its speed, give or take other load
    longer = ("--num-runs", "50", "--min-secs", "0.5", "--warmup-min-secs", "0.1", "--num-rounds", "3")
    _, out, _ = bench(files["ten"], "--json", quick=longer)
    (there,) = measurements(out)
    assert run(["bench", str(files["ten"]), "--json", *longer, "--max-wait", "1"]) == 0
    (here,) = measurements(capsys.readouterr().out)
    assert 0.5 < there.median_ms / here.median_ms < 2


def test_nothing_is_left_on_the_phone(bench, files, phone):
    assert bench(files["one"])[0] == 0
    assert list(phone.storage.iterdir()) == []
    assert phone.processes() == []


def test_kept_files_are_not_pushed_again_and_a_stale_one_of_the_same_size_is(bench, files, phone):
    assert bench(files["one"], "--keep")[0] == 0
    model = phone.storage / OURS / "files" / sha256_of(files["one"])
    before = model.stat().st_ino, model.stat().st_mtime_ns
    assert bench(files["one"], "--keep", "--again")[0] == 0
    assert (model.stat().st_ino, model.stat().st_mtime_ns) == before
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1  # the size stays
    model.write_bytes(content)
    status, out, _ = bench(files["one"], "--keep", "--again", "--json")
    assert (status, measurements(out)[0].valid) == (0, True)
    assert model.read_bytes() == files["one"].read_bytes()


def test_every_file_runs_with_every_delegate_and_number_of_threads(bench, files, phone):
    status, out, _ = bench(
        files["one"], files["ten"], "--num-threads", "1,2", "--delegate", "cpu,gpu", "--json"
    )
    assert status == 0
    found = [(Path(each.path).stem, each.delegate.split()[0], each.num_threads) for each in measurements(out)]
    assert found == [(name, d, n) for d in ("cpu", "gpu") for n in (1, 2) for name in ("one", "ten")]
    assert {each.num_threads for each in timed_runs(phone)} == {1, 2}


def test_rounds_take_turns_and_every_second_one_goes_backwards(bench, files, phone):
    bench(files["one"], files["ten"], quick=(*QUICK[:-1], "3"))
    names = {sha256_of(files[name]): name for name in ("one", "ten")}
    order = [names[Path(each.argv[1].partition("=")[2]).name] for each in timed_runs(phone)]
    assert order == ["one", "ten", "ten", "one", "one", "ten"]


@pytest.mark.parametrize(("cores", "mask"), [("big", "c0"), ("little", "f"), ("f0", "f0"), ("all", None)])
def test_the_tool_is_pinned_to_the_cores_asked_for(bench, files, phone, cores, mask):
    status, out, _ = bench(files["one"], "--cores", cores, "--json")
    assert status == 0
    assert {each.affinity and each.affinity.removeprefix("0x") for each in timed_runs(phone)} == {mask}
    assert measurements(out)[0].cores == cores


def test_flags_behind_the_dashes_reach_the_tool_and_stand_beside_the_figure(bench, files, phone, capsys):
    assert bench(files["one"])[0] == 0
    status, out, _ = bench(files["one"], "--json", "--", "--use_xnnpack=false")
    assert status == 0
    assert measurements(out)[0].extra_flags == ("--use_xnnpack=false",)
    assert sum("--use_xnnpack=false" in each.argv for each in timed_runs(phone)) == 2
    run(["report", "--format", "json"])
    rows = json.loads(capsys.readouterr().out)
    # neither hides the other
    assert sorted(row["extra_flags"] for row in rows) == [[], ["--use_xnnpack=false"]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--", "--graph=other.tflite"], "--graph is set by the pipeline"),
        (["--", "--num_threads=4"], "such as --num-threads, give that before the --"),
        (["--", "--use_gpu=true"], "--delegate"),
        (["--max-secs", "inf"], "inf"),
        (["--max-celsius", "nan"], "nan"),
        (["--op-profile", "--sustained", "1"], "are two things"),
        (["--", "--use_caching"], r"'--use_caching' is not a flag"),
        (["--cores", "fast"], "'fast' names no cores"),
        (["--delegate", "tpu"], "'tpu' is no delegate"),
        (["--runtime", "litert"], "--runtime is for this machine"),
        (["--adb-server", "nowhere:port"], "is no adb server"),
    ],
)
def test_a_mistyped_option_is_one_line_and_touches_no_phone(bench, files, phone, words, message):
    status, out, err = bench(files["one"], *words)
    assert status == 2
    assert out == ""
    assert message in err
    assert phone.runs() == []


def test_options_for_phones_without_adb_are_refused(files, capsys):
    assert run(["bench", str(files["one"]), "--cores", "big"]) == 2
    assert "--cores is for phones. Add --adb" in capsys.readouterr().err


def test_what_is_stored_is_not_measured_again_unless_asked(bench, files, phone):
    assert bench(files["one"])[0] == 0
    before = len(timed_runs(phone))
    status, out, _ = bench(files["one"])
    assert status == 0
    assert "1 of them was measured before" in out
    assert len(timed_runs(phone)) == before
    assert bench(files["one"], "--num-threads", "2")[0] == 0  # another setting is another measurement
    assert len(timed_runs(phone)) == before + 2
    assert bench(files["one"], "--again")[0] == 0
    assert len(timed_runs(phone)) == before + 4


def test_litert_v2s_tool_is_driven_and_read_too(bench, lab, files):
    status, out, _ = bench(files["ten"], "--json", tool=lab.litert_benchmark_model)
    assert status == 0
    (found,) = measurements(out)
    assert (found.runtime, found.valid, found.num_runs) == ("benchmark_model v2", True, 10)
    assert found.median_ms > 0


def test_litert_v2s_tool_has_no_nnapi_and_says_so(bench, lab, files, phone):
    status, out, _ = bench(files["one"], "--delegate", "nnapi", tool=lab.litert_benchmark_model)
    assert status == 1
    assert "LiteRT v2's benchmark_model has no NNAPI" in out


def test_litert_v2s_npu_runs_with_the_vendors_library_and_silence_is_not_valid(bench, lab, files, phone):
    npu = ("--delegate", "npu", "--json")
    status, out, _ = bench(files["one"], *npu, tool=lab.litert_benchmark_model)
    assert (status, measurements(out)[0].reasons) == (1, ("no line says that NPU took any node",))
    library = ("--", "--dispatch_library_path=/data/local/tmp/vendor")
    status, out, _ = bench(files["one"], *npu, *library, tool=lab.litert_benchmark_model)
    assert (status, measurements(out)[0].delegate) == (0, "npu")
    assert all("--use_npu=true" in each.argv for each in timed_runs(phone))
    status, out, _ = bench(files["one"], "--delegate", "npu")
    assert status == 1
    assert "TFLite's benchmark_model has no NPU. Use LiteRT v2's tool for --delegate npu" in out


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_file_of_any_name_in_a_folder_of_any_name_is_only_ever_a_file(bench, files, phone, tmp_path, name):
    path = tmp_path / name / f"{name}.tflite"
    path.parent.mkdir()
    shutil.copy(files["one"], path)
    status, out, _ = bench(path, "--json", "--keep")
    assert status == 0
    assert measurements(out)[0].path == str(path)
    assert {entry.name for entry in phone.storage.iterdir()} == {OURS}
    for each in timed_runs(phone):  # nothing but the intended commands ever ran
        assert all(word.startswith(("--", "/data/local/tmp/")) for word in each.argv)


@pytest.mark.parametrize("serial", ["nobody", "a; rm -rf /", "$(reboot)", "two words", "new\nline"])
def test_a_serial_of_any_letters_is_only_ever_a_serial(bench, files, phone, serial):
    status, out, err = bench(files["one"], "-s", serial)
    assert (status, out) == (4, "")
    assert "no phone with serial" in err
    assert phone.serial in err
    assert phone.runs() == []


def test_two_phones_and_no_serial_is_an_error_and_android_serial_is_honoured(
    bench, lab, files, phone, monkeypatch
):
    other = lab.phone("redmi_note_8")
    try:
        status, _, err = bench(files["one"])
        assert status == 4
        assert "2 phones are connected" in err
        monkeypatch.setenv("ANDROID_SERIAL", other.serial)
        status, out, _ = bench(files["one"], "--json")
        assert status == 0
        assert "Redmi" in measurements(out)[0].where
        status, out, _ = bench(files["one"], "-s", "all", "--json")
        assert [each.where.rsplit(" ", 1)[0] for each in measurements(out)] == [
            "Google Pixel 7",
            "Xiaomi Redmi Note 8",
        ]
    finally:
        other.remove()


def test_an_unauthorized_phone_is_told_with_what_to_do(bench, lab, files, phone):
    serial = lab.unauthorized_phone()
    status, _, err = bench(files["one"], "-s", serial)
    assert status == 4
    assert f'phone {serial} is not ready (adb says "unauthorized"). Accept the prompt' in err


def test_phones_of_several_servers_are_one_pool(bench, lab, files, phone):
    second = lab.second_server()
    there = lab.phone("galaxy_s21", server=second)
    try:
        servers = [f"127.0.0.1:{lab.server.port}", f"127.0.0.1:{second.port}"]
        pool = [word for server in servers for word in ("--adb-server", server)]
        status, out, _ = bench(files["one"], "-s", phone.serial, "-s", there.serial, "--json", *pool)
        assert status == 0
        assert [each.where.rsplit(" ", 1)[0] for each in measurements(out)] == [
            "Google Pixel 7",
            "Samsung SM-G991B",
        ]
        status, out, err = bench(
            files["one"], "-s", phone.serial, "--again", *pool, "--adb-server", "127.0.0.1:9"
        )
        assert status == 4 or "no phone" not in err
    finally:
        there.remove()


def test_a_phone_in_use_by_another_pipeline_is_let_be(bench, files, phone):
    from android_bench.phone.adb import Phone, default_server
    from android_bench.phone.session import Session

    with Session(Phone(default_server(), phone.serial)):
        status, _, err = bench(files["one"])
    assert status == 4
    assert "is in use by another pipeline" in err


def test_ctrl_c_ends_the_tool_cleans_the_phone_and_keeps_what_was_measured(lab, files, phone, runs):
    tool, seconds = (
        str(lab.benchmark_model),
        ("--num-rounds", "12", "--min-secs", "2", "--warmup-min-secs", "0"),
    )
    phone.set_faults(slow=10.0)
    words = ["bench", "--adb", "--benchmark-model", tool, *seconds, "--max-drift", "9"]
    words += [str(files["one"]), str(files["ten"])]
    process = subprocess.Popen(
        [sys.executable, "-c", "from pipeline.cli import main; main()", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while len(timed_runs(phone)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "stopped" in err
    assert "finished rounds of them are kept" in err.replace("\n", " ")
    assert list(phone.storage.iterdir()) == []
    assert phone.processes() == []
    # the same command goes on where it stopped
    good = sum(each.status == 0 for each in timed_runs(phone))
    before = len(timed_runs(phone))
    assert run(words) == 0
    # a run may end just before its result is cut off
    assert 24 - good <= len(timed_runs(phone)) - before <= 24 - good + 1


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_no_signal_leaves_the_tool_running_on_the_phone(lab, files, phone, runs, number, status):
    phone.set_faults(slow=10.0)
    words = ["bench", "--adb", "--benchmark-model", lab.benchmark_model, "--min-secs", "60", files["one"]]
    with subprocess.Popen(
        [sys.executable, "-c", "from pipeline.cli import main; main()", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 30
        while not timed_runs(phone):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert process.returncode == status
    assert ("stopped" in err) == (status > 0)
    while phone.processes():
        assert time.monotonic() < deadline, phone.processes()
        time.sleep(0.02)
    assert (list(phone.storage.iterdir()) == []) == (status > 0)


def test_a_phone_that_vanishes_and_returns_goes_on(bench, files, phone):
    def vanish():
        while len(timed_runs(phone)) < 3:
            time.sleep(0.02)
        phone.kill()
        time.sleep(1)
        phone.restart()

    thread = threading.Thread(target=vanish)
    thread.start()
    status, out, err = bench(files["one"], files["ten"], "--json", quick=(*QUICK[:-1], "5"))
    thread.join()
    assert status == 0, out + err
    assert [each.num_rounds for each in measurements(out)] == [5, 5]
    assert list(phone.storage.iterdir()) == []


def test_a_phone_that_does_not_return_is_given_up_and_the_rest_goes_on_later(bench, lab, files, phone):
    other = lab.phone("galaxy_s21")

    def vanish():
        while len(timed_runs(other)) < 3:
            time.sleep(0.02)
        other.kill()

    thread = threading.Thread(target=vanish)
    thread.start()
    words = (files["one"], files["ten"], "-s", "all", "--json", "--reconnect-secs", "2")
    rounds = (*QUICK[:-1], "5")
    status, out, err = bench(*words, quick=rounds)
    thread.join()
    assert status == 4
    assert [each.where.split()[0] for each in measurements(out)] == ["Google", "Google"]
    assert "gave up Samsung SM-G991B" in err
    assert "2 not measured" in err
    good = sum(each.status == 0 for each in timed_runs(other))
    on_phone = len(timed_runs(phone))
    other.restart()
    try:
        status, out, _ = bench(*words, quick=rounds)
        assert status == 0
        assert len(measurements(out)) == 4
        assert len(timed_runs(phone)) == on_phone  # nothing is measured twice
        assert sum(each.status == 0 for each in timed_runs(other)) in (
            10,
            11,
            12,
        )  # a run may end just before its result is lost
        assert good < 10
    finally:
        other.remove()


def test_one_phone_by_two_ways_is_one_phone(bench, lab, files, phone):
    alias = f"localhost:{phone.port}"
    phone.adb("connect", alias, on_server=True)
    try:
        status, out, err = bench(files["one"], "-s", "all", "--json")
        assert status == 4
        assert len(measurements(out)) == 1
        assert "it is the same phone as" in err
    finally:
        phone.adb("disconnect", alias, on_server=True)


def test_phones_with_a_placeholder_for_a_serial_number_are_told_apart(bench, lab, files, phone):
    other = lab.phone("pixel7")
    try:
        for each in (phone, other):
            each.set_property("ro.serialno", "0123456789ABCDEF")
        status, out, _ = bench(files["one"], "-s", "all", "--json")
        assert status == 0
        assert len({each.where for each in measurements(out)}) == 2
        assert timed_runs(phone)
        assert timed_runs(other)
    finally:
        other.remove()


def test_a_stored_figure_is_shown_under_the_files_present_name(bench, files, tmp_path):
    old, new = tmp_path / "old.tflite", tmp_path / "new.tflite"
    shutil.copy(files["one"], old)
    assert bench(old)[0] == 0
    old.rename(new)
    _, out, _ = bench(new, "--json")
    assert measurements(out)[0].path == str(new)


def test_a_stricter_limit_is_not_met_by_what_was_measured_under_a_looser_one(bench, files, phone):
    phone.set_temperature(36.0)
    assert bench(files["one"], "--max-celsius", "50")[0] == 0
    status, out, _ = bench(files["one"], "--max-celsius", "30", "--cool-secs", "0.1", "--json")
    assert (status, measurements(out)[0].valid) == (1, False)


def test_a_file_that_holds_the_same_as_another_is_said_to(bench, files, tmp_path):
    twin = tmp_path / "twin.tflite"
    shutil.copy(files["one"], twin)
    status, out, err = bench(files["one"], twin, "--json")
    assert (status, len(measurements(out))) == (0, 1)
    assert "twin.tflite holds the same as one.tflite" in err


def test_an_error_that_nobody_foresaw_is_never_a_success(bench, files, capsys):
    half_a_letter = "\ud800"  # no bytes can hold it
    with pytest.raises(UnicodeEncodeError):
        bench(files["one"], "--", f"--name={half_a_letter}")
    assert "stored" not in capsys.readouterr().out


def test_a_file_that_vanishes_before_it_is_pushed_is_named(bench, files, phone, tmp_path):
    here = tmp_path / "here.tflite"
    shutil.copy(files["ten"], here)

    def remove():
        while not timed_runs(phone):
            time.sleep(0.001)
        here.unlink()

    thread = threading.Thread(target=remove)
    thread.start()
    status, out, _ = bench(files["one"], files["dynamic"], files["int8"], here, "--json")
    thread.join()
    assert status == 1
    found = {Path(each.path).stem: each for each in measurements(out)}
    assert "cannot read" in found["here"].reasons[0]
    assert found["int8"].valid


def test_a_server_that_was_killed_is_started_again(bench, lab, files, phone):
    def kill():
        while len(timed_runs(phone)) < 2:
            time.sleep(0.01)
        lab.adb("kill-server")

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        status, out, err = bench(files["one"], "--json", quick=(*QUICK[:-1], "6"))
        thread.join()
        assert status == 0, out + err
    finally:
        phone.connect()
