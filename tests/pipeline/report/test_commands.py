"""`pipeline report` and `pipeline runs`, as they are typed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from report_records import export_artifact, fill_zoo, measurement, train_record, verification

from export.artifact import ExportArtifact, sidecar_content, sidecar_path
from export.files import sha256_of, write_json
from export.precisions import Precision
from models.registry import resolve
from pipeline.cli import run as pipeline
from pipeline.data.registry import load
from pipeline.records.report_row import COLUMNS
from pipeline.records.training import TrainConfig, TrainRecord, record_as_json
from pipeline.report.run_list import RunSummary
from pipeline.runs import tflite_files
from pipeline.store.store import FILE_NAME, open_store


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty runs folder that the commands use."""
    monkeypatch.setenv("PIPELINE_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


def finished(folder: Path, name: str, *precisions: Precision) -> tuple[TrainRecord, list[ExportArtifact]]:
    """A finished run on disk, as training and export leave it."""
    run = folder / name
    (run / "export").mkdir(parents=True)
    (run / "model.keras").write_bytes(f"model of {name}".encode())
    record = train_record(name, model_sha256=sha256_of(run / "model.keras"))
    artifacts = []
    for precision in precisions:
        file = run / "export" / f"{record.model_name}_{precision}.tflite"
        file.write_bytes(f"{name} as {precision}".encode())
        artifact = export_artifact(
            record.model_sha256,
            precision,
            path=file.name,
            sha256=sha256_of(file),
            size_bytes=file.stat().st_size,
        )
        sidecar_path(file).write_bytes(sidecar_content(artifact))
        artifacts.append(artifact)
    write_json(run / "train.json", record_as_json(record))
    return record, artifacts


def test_a_deleted_store_grows_back_with_the_runs_and_files_of_the_folder(folder, capsys):
    record, (int8, float32) = finished(folder, "first", Precision.INT8, Precision.FLOAT32)
    with open_store(folder) as store:
        store.add_measurement(measurement(int8.sha256))
    for file in folder.glob(f"{FILE_NAME}*"):
        file.unlink()
    assert pipeline(["report", "--json"]) == 0
    rows = {row["sha256"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == {int8.sha256, float32.sha256}
    assert {row["run"] for row in rows.values()} == {"first"}
    assert {row["parameters"] for row in rows.values()} == {record.parameters}
    assert {row["median_ms"] for row in rows.values()} == {None}


def test_json_keys_are_the_fields_of_the_row(folder, capsys):
    finished(folder, "first", Precision.INT8)
    assert pipeline(["report", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert list(row) == list(COLUMNS)


def test_a_run_chooses_its_own_files_by_name_or_path(folder, capsys):
    finished(folder, "first", Precision.INT8)
    finished(folder, "second", Precision.INT8, Precision.FLOAT16)
    for chosen in ("second", str(folder / "second")):
        assert pipeline(["report", chosen, "--json"]) == 0
        assert [row["run"] for row in json.loads(capsys.readouterr().out)] == ["second"] * 2


def test_the_page_is_written_into_the_runs_folder_and_named_last(folder, capsys):
    finished(folder, "first", Precision.INT8)
    assert pipeline(["report", "--format", "html"]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines()[-1].startswith(f"Wrote {folder / 'report.html'}: 1 row")
    assert (folder / "report.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("r.csv", "model_name,"),
        ("r.md", "- "),
        ("r.json", "[\n"),
        ("r.svg", "<svg"),
        ("r.pdf", "%PDF-"),
        ("r.txt", "\n"),
    ],
)
def test_the_ending_of_out_chooses_the_format(folder, tmp_path, name, start):
    _, (int8,) = finished(folder, "first", Precision.INT8)
    with open_store(folder) as store:
        store.add_measurement(measurement(int8.sha256))
        store.add_verification(verification(int8.sha256))
    assert pipeline(["report", "--out", str(tmp_path / name)]) == 0
    assert (tmp_path / name).read_bytes().decode(errors="replace").startswith(start)


def test_the_table_says_what_is_missing_and_how_to_get_it(folder, capsys):
    _, (int8, _) = finished(folder, "first", Precision.INT8, Precision.FLOAT32)
    with open_store(folder) as store:
        store.add_measurement(measurement(int8.sha256))
    assert pipeline(["report"]) == 0
    told = capsys.readouterr()
    assert "2 files without accuracy: pipeline verify" in told.err
    assert "1 file without latency: pipeline bench" in told.err
    assert "\x1b" not in told.out


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["report", "--format", "hmtl"], 2, "Did you mean 'html'?"),
        (["report", "frist"], 2, "unknown run 'frist'. Did you mean 'first'?"),
        (["report", "--json", "--format", "csv"], 2, "contradict"),
        (["runs", "frist"], 2, "unknown run 'frist'. Did you mean 'first'?"),
        (["report", "--out", "nowhere.xyz"], 2, "unknown format 'xyz'"),
        (["report", "--family", "mobilnet"], 2, "unknown family 'mobilnet'. Did you mean 'mobilenet'?"),
        (["report", "--where", "precison=int8"], 2, "Did you mean 'precision'?"),
        (["report", "--where", "precision=int16x8"], 1, "no row passes --family, --where and --since"),
        (["report", "--since", "monday"], 2, "is no time"),
    ],
)
def test_a_mistyped_word_gets_the_nearest_right_one(folder, capsys, arguments, status, message):
    finished(folder, "first", Precision.INT8)
    assert pipeline(arguments) == status
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1


def test_without_any_exported_file_the_report_says_how_to_make_one(folder, capsys):
    finished(folder, "first")
    assert pipeline(["report"]) == 1
    assert "Export one: pipeline export --int8" in capsys.readouterr().err
    assert pipeline(["report", "first"]) == 1
    assert "pipeline export first --int8" in capsys.readouterr().err


def test_without_a_runs_folder_the_report_makes_none(folder, capsys):
    shutil.rmtree(folder)
    assert pipeline(["report"]) == 1
    assert "pipeline train" in capsys.readouterr().err
    assert not folder.exists()


def test_a_damaged_store_is_one_line_and_stays_as_it_is(folder, capsys):
    finished(folder, "first", Precision.INT8)
    (folder / FILE_NAME).write_bytes(b"not a database" * 100)
    assert pipeline(["report"]) == 1
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    assert "move it away" in told
    assert (folder / FILE_NAME).read_bytes() == b"not a database" * 100


def test_a_file_that_its_sidecar_does_not_describe_is_named_and_left_out(folder, capsys):
    finished(folder, "first", Precision.INT8, Precision.FLOAT32)
    (folder / "first/export/mobilenet_alpha0.5_160_int8.tflite").write_bytes(b"other bytes")
    (folder / "first/export/mobilenet_alpha0.5_160_float32.json").write_text("{")
    finished(folder, "second", Precision.INT8)
    assert pipeline(["report", "--json"]) == 0
    told = capsys.readouterr()
    assert [row["run"] for row in json.loads(told.out)] == ["second"]
    assert "int8.tflite is not the file that its sidecar describes" in told.err
    assert "float32.json cannot be read as a sidecar" in told.err


def test_runs_lists_the_finished_the_damaged_and_the_unfinished(folder, capsys):
    finished(folder, "first", Precision.INT8, Precision.FLOAT32)
    finished(folder, "second")
    (folder / "second/train.json").write_text('{"run": "second"')
    from pipeline.training.trainer import start_run  # imports TensorFlow

    config = TrainConfig(
        family="densenet", knobs=resolve("densenet", {"depth": 7, "num_classes": 10}), data="digits"
    )
    third = start_run(config, load("digits").spec, folder=folder).name
    (folder / "fourth").mkdir()
    (folder / "fourth/config.json").write_text("")
    assert pipeline(["runs"]) == 0
    told = capsys.readouterr()
    assert "94.30%" in told.out
    assert "5 min 46 s" in told.out
    assert f"pipeline train --resume {third}" in " ".join(told.out.split())
    assert "pipeline train --resume fourth" in told.out
    assert "second/train.json cannot be read as a run's record" in told.err
    assert any(line.split()[0] == third for line in told.out.splitlines() if line.split())  # not broken

    assert pipeline(["runs", "--json"]) == 0
    summaries = json.loads(capsys.readouterr().out)
    assert [list(summary) for summary in summaries] == [[field.name for field in fields(RunSummary)]] * 4
    states = {summary["run"]: summary["state"] for summary in summaries}
    assert states == {"first": "finished", "second": "damaged", third: "unfinished", "fourth": "unfinished"}
    (unfinished,) = (summary for summary in summaries if summary["run"] == third)
    assert (unfinished["family"], unfinished["dataset"]) == ("densenet", "digits")
    first = next(summary for summary in summaries if summary["run"] == "first")
    assert {file["precision"] for file in first["exports"]} == {"int8", "float32"}
    assert sum(file["size_bytes"] for file in first["exports"]) == len("first as int8first as float32")


def test_without_a_run_one_line_says_how_to_make_the_first(folder, capsys):
    assert pipeline(["runs"]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert (
        told.err == f"There is no run in {folder}/. Make the first: pipeline train mobilenet --alpha 0.25\n"
    )
    assert pipeline(["runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_one_run_shows_the_lineage_of_its_files_by_checksum(folder, capsys):
    record, (int8, float32) = finished(folder, "first", Precision.INT8, Precision.FLOAT32)
    with open_store(folder) as store:
        store.add_verification(verification(int8.sha256))
        store.add_measurement(measurement(int8.sha256))
        store.add_measurement(measurement(float32.sha256, valid=False, reasons=("killed",)))
    assert pipeline(["runs", "first"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    for text in (
        record.model_sha256[:12],
        int8.sha256[:12],
        float32.sha256[:12],
        "93.90%",
        "1.23 ms",
        "killed",
    ):
        assert text in told


def test_an_unfinished_run_alone_says_how_to_go_on(folder, capsys):
    (folder / "third").mkdir()
    (folder / "third/config.json").write_text("{}")
    assert pipeline(["runs", "third"]) == 1
    assert "pipeline train --resume third" in capsys.readouterr().err


def test_a_report_of_sixty_files_is_one_table(folder, capsys):
    with open_store(folder) as store:
        fill_zoo(store, folder)
    assert pipeline(["report"]) == 0
    assert capsys.readouterr().out.count("net_w") >= 60


@pytest.mark.parametrize("verb", ["report", "runs"])
def test_help_imports_neither_numpy_nor_rich_nor_charts(verb):
    program = (
        "import sys; from pipeline.cli import run; status = run([sys.argv[1], '--help']);"
        "heavy = {'numpy', 'tensorflow', 'keras', 'rich', 'altair', 'vl_convert'} & set(sys.modules);"
        "print(status, sorted(heavy))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program, verb],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": "."},
    )
    assert told.stdout.splitlines()[-1] == "0 []"
    assert f"pipeline {verb}" in told.stdout


def foreign(folder: Path, name: str = "mine-0a1b2c3d") -> Path:
    """A file exported from a model from elsewhere, as export leaves it."""
    file = folder / name / "export" / "mine_int8.tflite"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"mine as int8")
    artifact = export_artifact(
        "f" * 64, Precision.INT8, path=file.name, sha256=sha256_of(file), model_name="mine", family=None
    )
    sidecar_path(file).write_bytes(sidecar_content(artifact))
    with open_store(folder) as store:
        store.add_artifact(artifact, file.parent)
    return file


def test_runs_names_what_was_exported_from_elsewhere(folder, capsys):
    foreign(folder)
    assert pipeline(["runs"]) == 0
    said = capsys.readouterr().err
    assert f"Files from models from elsewhere are in {folder}/: mine-0a1b2c3d." in said


def test_without_a_run_verify_and_bench_take_what_was_exported_last(folder, capsys):
    file = foreign(folder)
    older = foreign(folder, "older-0a1b2c3d")
    os.utime(older.with_suffix(".json"), (0, 0))  # decides between equal times in the sidecars
    assert tflite_files([], folder) == [file]
    finished(folder, "net-1", Precision.INT8)
    assert [each.parent.parent.name for each in tflite_files([], folder)] == ["net-1"]


def test_report_takes_a_file_and_the_folder_of_a_model_from_elsewhere(folder, capsys):
    file = foreign(folder)
    finished(folder, "net-1", Precision.INT8)
    for target in (str(file), "mine-0a1b2c3d", str(file.parent.parent)):
        assert pipeline(["report", target, "--json"]) == 0
        (row,) = json.loads(capsys.readouterr().out)
        assert row["model_name"] == "mine"
    assert pipeline(["report", str(file), "net-1", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_report_of_a_file_without_a_sidecar_shows_its_verification(folder, capsys):
    other = folder.parent / "theirs.tflite"
    other.write_bytes(b"theirs")
    assert pipeline(["report", "theirs.tflite"]) == 1
    said = capsys.readouterr().err
    assert "there is nothing to report: theirs.tflite was neither verified nor measured." in said
    with open_store(folder) as store:
        store.add_verification(verification(sha256_of(other), path=str(other), tflite_top1=81.5))
    assert pipeline(["report", "theirs.tflite", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["model_name"], row["tflite_top1"]) == ("theirs", 81.5)


def test_report_of_a_missing_file_says_that_there_is_none(folder, capsys):
    finished(folder, "net-1", Precision.INT8)
    assert pipeline(["report", "gone.tflite"]) == 2
    assert capsys.readouterr().err == "pipeline: there is no file gone.tflite. Check the path.\n"


def test_runs_side_by_side_show_the_settings_that_differ_and_what_came_of_them(folder, capsys):
    for name, alpha, seed in (("one", 0.5, 0), ("two", 0.25, 0), ("three", 0.5, 7)):
        record, _ = finished(folder, name)
        config = replace(record.config, knobs={**record.config.knobs, "alpha": alpha}, seed=seed)
        write_json(folder / name / "train.json", record_as_json(replace(record, config=config)))
    assert pipeline(["runs", "one", "two", "three"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["one", "two", "three"] in lines
    assert ["knobs.alpha", "0.5", "0.25", "0.5"] in lines
    assert ["seed", "0", "0", "7"] in lines
    assert not [line for line in lines if line and line[0] in ("epochs_run", "batch_size", "learning_rate")]
    assert pipeline(["runs", "one", "one", "two", "--json"]) == 0
    assert [each["run"] for each in json.loads(capsys.readouterr().out)] == ["one", "two"]


def test_runs_side_by_side_must_be_finished(folder, capsys):
    finished(folder, "one")
    (folder / "two").mkdir()
    write_json(folder / "two" / "config.json", {"config": {"family": "mobilenet", "data": "digits"}})
    assert pipeline(["runs", "one", "two"]) == 1
    assert "the run two is not finished" in capsys.readouterr().err
    assert pipeline(["runs", "one", "thre"]) == 2
    assert "unknown run 'thre'" in capsys.readouterr().err


@pytest.mark.parametrize("names", [("one",), ("one", "two"), ("one", "two", "three")])
def test_curves_of_runs_are_drawn_in_one_picture(folder, tmp_path, names):
    for name in names:
        finished(folder, name)
        header = "epoch,train_top1,validation_top1,loss,validation_loss"
        (folder / name / "history.csv").write_text(f"{header}\n1,50,40,1.5,1.6\n2,60,55,1.1,1.3\n")
    assert pipeline(["runs", *names, "--curve", str(tmp_path / "curves.svg")]) == 0
    drawn = (tmp_path / "curves.svg").read_text()
    for name in names if len(names) > 1 else ("training", "validation"):
        assert f">{name}</text>" in drawn
