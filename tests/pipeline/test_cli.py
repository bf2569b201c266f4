"""The command line as a person meets it: help, mistyped words, bad files. Nothing here trains."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from export.errors import ExportError
from models.errors import KnobError
from pipeline.cli import COMMANDS, pipeline, run
from pipeline.errors import MissingToolError, PipelineError, UsageError
from pipeline.runs import find_unfinished


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "runs"
    monkeypatch.setenv("PIPELINE_RUNS", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def get_command(name: str) -> click.Command:
    command = pipeline.get_command(click.Context(pipeline), name)
    assert command is not None
    return command


@pytest.mark.parametrize("name", COMMANDS)
def test_tables_help_line_is_the_commands_own(name: str):
    assert get_command(name).get_short_help_str(limit=200) == COMMANDS[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_shows_an_example(name: str):
    assert f"pipeline {name}" in (get_command(name).help or "")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_no_bound_that_is_not_there(name: str):
    command = get_command(name)
    assert "None" not in command.get_help(click.Context(command, info_name=name))


def test_help_states_no_default_of_a_family_that_has_none():
    """densenet's depth has none, resnet's has."""
    options = {option.name: option for option in get_command("models").params}
    assert options["depth"].help.endswith("[default: 20 resnet]")
    assert "[default: " not in options["rho"].help


@pytest.mark.parametrize("name", [*COMMANDS, None])
def test_help_imports_neither_tensorflow_nor_numpy(name: str | None):
    arguments = [name, "--help"] if name else ["--help"]
    program = (
        "import sys\n"
        "from pipeline.cli import run\n"
        f"assert run({arguments!r}) == 0\n"
        "heavy = {'tensorflow', 'keras', 'numpy', 'ai_edge_litert', 'PIL', 'altair', 'rich'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["trian"], "Did you mean 'train'?"),
        (["train", "mobilnet"], "Did you mean 'mobilenet'?"),
        (["train", "mobilenet", "--data", "digit"], "Did you mean 'digits'?"),
        (["train", "mobilenet", "--data", "nowhere/photos"], "there is no data set at nowhere/photos"),
        (["data", "nowhere"], "Or give a folder of class/image files or a .npz file by its path."),
        (["train", "mobilenet", "--alpha", "-1"], "alpha"),
        (["train", "mobilenet", "--alpha", "wide"], "alpha"),
        (["train", "mobilenet", "--growth-rate", "12"], "mobilenet has no knob 'growth_rate'"),
        (["train", "mobilenet", "--alhpa", "1"], "--alpha"),
        (["train", "mobilenet", "--epochs", "0"], "--epochs"),
        (["train", "mobilenet", "--seed", "-1"], "--seed"),
        (["train", "mobilenet", "--weight-decay", "nan"], "not a finite number"),
        (["train", "mobilenet", "--learning-rate", "inf"], "not a finite number"),
        (["train", "mobilenet", "--data", ""], "--data is empty"),
        (["train", "--resume", "some-run", "--epochs", "3"], "--epochs cannot be given with it"),
        (["verify", "--max-drop", "nan"], "not a finite number"),
        (["train"], "give either a family to train or --resume RUN"),
        (["train", "mobilenet", "--resume", "x"], "'mobilenet' and --resume were given together"),
        (["bench", "note.txt"], "note.txt is a file, and neither a run nor a .tflite file"),
        (["verify", "folder"], "the folder folder is no run: it has no train.json, and no exported file."),
        (["train", "--resume", "nothing"], "unknown unfinished run 'nothing'"),
        (["models", "sqeezenet"], "Did you mean 'squeezenet'?"),
        (["export", "--int9"], "--int8"),
        (["export", "nothing"], "unknown run 'nothing'. There is none yet. Train one first: pipeline train"),
        (["export", "nothing.keras"], "unknown model 'nothing.keras'"),
        (["verify", "nothing.tflite"], "there is no file nothing.tflite"),
        (["bench", "--runtime", "litter"], "Did you mean 'litert'?"),
        (["report", "--format", "htlm"], "Did you mean 'html'?"),
        (["train", "mobilenet", "--lr", "0.1"], "unknown option --lr. Did you mean '--learning-rate'?"),
        (["train", "mobilenet", "--learning_rate", "0.1"], "Did you mean '--learning-rate'?"),
        (["train", "mobilenet", "--imgsz", "64"], "Did you mean '--image-size'?"),
        (["train", "mobilenet", "--batch", "64"], "Did you mean '--batch-size'?"),
        (["train", "mobilenet", "--pretrained"], "Did you mean '--weights'?"),
        (["train", "mobilenet", "--epochs-head", "3"], "Did you mean '--head-epochs'?"),
        (["train", "mobilenet", "--temperature", "4"], "Did you mean '--teacher-temperature'?"),
        (["train", "--model", "mobilenet"], "The family has no option before it: pipeline train mobilenet."),
        (["export", "--model", "x.keras"], "has no option before it: pipeline export MODEL.keras."),
        (["export", "--quantize"], "Did you mean '--int8'?"),
        (["bench", "--use-gpu"], "Did you mean '--delegate gpu', with --adb?"),
        (["bench", "--threads", "2"], "Did you mean '--num-threads'?"),
        (["train", "mobilenet", "--epochs", "0"], "0 is out of range. Give a number of at least 1."),
        (["train", "mobilenet", "--epochs", "x"], "--epochs: 'x' is not a whole number. Give a whole number"),
        (["train", "mobilenet", "--momentum", "3"], "3.0 is out of range. Give a number from 0 to 1."),
        (
            ["train", "mobilenet", "--optimizer", "adm"],
            "Did you mean 'adam'? Known: sgd",
        ),
        (["train", "mobilenet", "--epochs"], "--epochs has no value. Give one after it. All options: pipe"),
        (["train", "mobilenet", "--json=1"], "--json is a switch and takes no value. Give it alone."),
        (["train", "mobilenet", "more"], "'more' was not expected. Usage: pipeline train"),
        (["train", "mobilenet", "/"], "'/' was not expected. Did you mean '--data /'? Usage: pipeline train"),
        (["train", "mobilenet", "--alpha", "x"], "alpha 'x' is not a number. Give a number above 0."),
        (
            ["explain"],
            "FILE|RUN is missing. Give it: pipeline explain FILE|RUN. All options: pipe",
        ),
        (["verify", "--model", "nope.keras"], "--model: there is no nope.keras. Check the path."),
        (["runs", "--curve", "."], "--curve: . is a folder. Give a file."),
        (["--frob"], "unknown option --frob. All options: pipeline --help"),
    ],
)
def test_mistyped_word_is_one_line_with_the_right_one_and_status_2(
    arguments: list[str], hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "note.txt").write_text("hello")
    (tmp_path / "folder").mkdir()
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert hint in captured.err
    assert captured.err.startswith("pipeline: ")
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize("name", ["export", "verify", "bench", "report"])
def test_without_any_run_a_command_says_how_to_make_the_first(name: str, capsys: pytest.CaptureFixture[str]):
    assert run([name]) == 1
    assert "pipeline train mobilenet --alpha 0.25" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"\x00\x01random" * 50])
@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_damaged_keras_file_is_one_line_and_status_1(
    ending: str, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / f"damaged{ending}"
    file.write_bytes(content)
    assert run(["export", str(file), "--float32"]) == 1
    message = [line for line in capsys.readouterr().err.splitlines() if line.startswith("pipeline:")]
    assert len(message) == 1
    assert file.name in message[0]


@pytest.mark.parametrize("content", [b"", b"\x1c\x00\x00\x00TFL3 cut off", b"\x00\x01random" * 50])
def test_damaged_tflite_file_is_one_line_and_status_1(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "damaged.tflite"
    file.write_bytes(content)
    assert run(["bench", str(file)]) == 1
    message = capsys.readouterr().err.strip().splitlines()
    assert len(message) == 1
    assert "damaged.tflite" in message[0]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (PipelineError("a finding"), 1),
        (UsageError("a usage"), 2),
        (MissingToolError("a tool"), 3),
        (KnobError("a knob"), 2),
        (ExportError("an export"), 1),
        (OSError(28, "No space left on device", "runs/x"), 1),
    ],
)
def test_each_kind_of_error_has_its_status_and_one_line(
    error: Exception, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def raises(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(pipeline, "main", raises)
    assert run([]) == status
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch):
    def raises(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(pipeline, "main", raises)
    with pytest.raises(ZeroDivisionError):
        run([])


def test_models_says_which_values_no_paper_measured(capsys: pytest.CaptureFixture[str]):
    said = "alpha 1.5 is outside what was published, 0.25 to 1: what it gives is unknown"
    assert run(["models", "mobilenet", "--alpha", "1.5", "--image-size", "32", "--json"]) == 0
    assert said in capsys.readouterr().err
    assert run(["models", "mobilenet", "--alpha", "0.5", "--image-size", "128", "--json"]) == 0
    assert "published" not in capsys.readouterr().err


def test_models_prints_the_papers_figures_beside_ours(capsys: pytest.CaptureFixture[str]):
    assert run(["models", "mobilenet", "--alpha", "0.5", "--image-size", "160", "--json"]) == 0
    (figures,) = json.loads(capsys.readouterr().out)
    # reference: paper's Table 9, 0.50 MobileNet-160: 60.2% and 76 million mult-adds
    assert figures["parameters"] == 1_331_592
    assert figures["macs"] / 1e6 == pytest.approx(76.5, abs=0.05)
    assert 60.2 in [row["top1"] for row in figures["published"]]


def test_native_chatter_is_kept_from_the_terminal_and_errors_are_not():
    program = (
        "import os, sys\n"
        "from pipeline.quiet import quiet_native_logs\n"
        "quiet_native_logs()\n"
        "os.write(2, b'I0000 00:00:1.2 port.cc:153] oneDNN custom operations are on.\\n')\n"
        "os.write(2, b'free(): invalid pointer\\n')\n"
        "print('from Python', file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert sorted(done.stderr.splitlines()) == ["free(): invalid pointer", "from Python"]


def test_runs_folder_that_is_a_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "a-file"
    file.write_text("")
    monkeypatch.setenv("PIPELINE_RUNS", str(file))
    assert run(["bench"]) == 2
    assert "is a file, where the folder of runs should be" in capsys.readouterr().err


def unfinished(runs: Path, name: str, config: str, *, started: int) -> None:
    (runs / name).mkdir(parents=True)
    (runs / name / "config.json").write_text(config)
    os.utime(runs / name / "config.json", (started, started))


def test_resume_alone_takes_the_run_of_its_kind_that_was_started_last(runs: Path):
    unfinished(runs, "b-training", '{"config": {}}', started=2)
    unfinished(runs, "a-training", '{"config": {}}', started=3)
    unfinished(runs, "c-compression", '{"compression": {}}', started=4)
    assert find_unfinished("", runs, compressed=False).name == "a-training"
    assert find_unfinished("", runs, compressed=True).name == "c-compression"


def test_resume_alone_reaches_the_newest_run_and_says_which(runs: Path, capsys: pytest.CaptureFixture[str]):
    unfinished(runs, "a-training", '{"config": {}}', started=3)
    assert run(["train", "--resume"]) == 1  # its settings are damaged
    err = capsys.readouterr().err
    assert "going on with a-training" in err
    assert "a-training/config.json" in err
    assert run(["compress", "--resume"]) == 2
    assert "there is no unfinished compression in" in capsys.readouterr().err


def exported_run(runs: Path, **files: int) -> Path:
    home = runs / "net-photos-1"
    (home / "export").mkdir(parents=True)
    (home / "train.json").write_text("{}")
    for precision, size in files.items():
        (home / "export" / f"net_{precision}.tflite").write_bytes(bytes(size))
        (home / "export" / f"net_{precision}.json").write_text("{}")
    return home


def test_explain_takes_a_run_for_its_float32_and_its_smallest_file(
    runs: Path, capsys: pytest.CaptureFixture[str]
):
    from pipeline.commands.explain import _paths

    home = exported_run(runs, float16=50, float32=99, int8=20)
    for name in ("net-photos-1", str(home)):
        assert [path.name for path in _paths(name, None)] == ["net_float32.tflite", "net_int8.tflite"]
    assert "the run also has net_float16.tflite" in capsys.readouterr().err
    (home / "export" / "net_int8.tflite").unlink()
    (home / "export" / "net_float16.tflite").unlink()
    assert [path.name for path in _paths("net-photos-1", None)] == ["net_float32.tflite"]


def test_runs_breaks_no_name_in_a_pipe(runs: Path, capsys: pytest.CaptureFixture[str]):
    name = "mobilenet_alpha0.5_160-" + "a-very-long-name-of-a-folder-of-photographs" * 3
    unfinished(runs, f"{name}-1", '{"config": {"data": "photos"}}', started=1)
    run(["runs"])
    out = capsys.readouterr().out
    assert f"{name}-1 " in out
    assert out.splitlines()[-1].endswith(f"pipeline train --resume {name}-1")


@pytest.mark.parametrize(
    "words",
    [
        ("bench", "PIPE"),
        ("explain", "PIPE"),
        ("verify", "PIPE", "--data", "digits"),
        ("export", "PIPE", "--int8"),
        ("export", "--like=PIPE"),
        ("bench", "--from-log", "PIPE"),
        ("compress", "PIPE", "--qat"),
        ("verify", "--model", "PIPE"),
        ("train", "mobilenet", "--data", "PIPE"),
    ],
)
def test_named_pipe_in_a_files_place_is_refused_and_never_read(words, tmp_path, capsys):
    pipe = tmp_path / "m.keras"
    os.mkfifo(pipe)
    assert run([word.replace("PIPE", str(pipe)) for word in words]) == 2
    assert f"pipeline: {pipe} is a pipe or a socket" in capsys.readouterr().err


def test_newest_run_is_the_one_whose_record_says_so_whatever_the_files_times_are(tmp_path):
    from report_records import train_record

    from export.files import write_json
    from pipeline.records.training import record_as_json
    from pipeline.runs import RECORD, finished_runs, newest_run

    for name, finished in (("later", "2026-11-24T10:00:00+00:00"), ("earlier", "2026-11-23T12:00:00+02:00")):
        write_json(tmp_path / name / RECORD, record_as_json(train_record(name, finished_utc=finished)))
    os.utime(tmp_path / "later" / RECORD, (0, 0))  # as after a copy
    assert [run.name for run in finished_runs(tmp_path)] == ["earlier", "later"]
    assert newest_run(tmp_path).name == "later"


@pytest.mark.parametrize(
    "words", [["runs"], ["verify"], ["bench"], ["export", "--int8"], ["compress", "--qat"]], ids=" ".join
)
def test_a_copied_run_with_newer_files_is_named_where_the_newest_is_taken(
    words, tmp_path, capsys, monkeypatch
):
    from report_records import train_record

    from export.files import write_json
    from pipeline.records.training import record_as_json
    from pipeline.runs import RECORD

    monkeypatch.setenv("PIPELINE_RUNS", str(tmp_path))
    for number, name in enumerate(("later", "earlier")):
        finished = f"2026-11-2{4 - number}T10:00:00+00:00"
        write_json(tmp_path / name / RECORD, record_as_json(train_record(name, finished_utc=finished)))
        os.utime(tmp_path / name / RECORD, (number, number))
    run(words)
    doubt = "the newest run is later: it finished last, as its record says, though the files of earlier were"
    assert doubt in capsys.readouterr().err
    os.utime(tmp_path / "later" / RECORD, (2, 2))
    run(words)
    assert "it finished last" not in capsys.readouterr().err
