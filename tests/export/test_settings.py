"""Settings: what each precision takes, what goes together, and that a sidecar gives them back."""

import dataclasses
import json

import click
import pytest

from export.errors import SettingsError
from export.precisions import Precision
from export.records import read_record_as
from export.rewrites import Rewrite
from export.settings import ExportSettings, settings_for
from pipeline.cli import run
from pipeline.commands.export import command


def test_what_is_not_given_hangs_on_the_precision():
    assert ExportSettings(Precision.INT8).io_dtype == "int8"
    assert ExportSettings(Precision.FLOAT16).io_dtype == "float32"
    assert ExportSettings(Precision.INT8).rewrites == tuple(Rewrite)
    assert ExportSettings(Precision.INT8, rewrites=()).rewrites == ()


@pytest.mark.parametrize(
    ("precision", "setting"),
    [
        ("int8", {"sparse": True}),
        ("float32", {"equalize": True}),
        ("int16x8", {"keep_float": ("conv",)}),
        ("dynamic", {"typical": True}),
        ("float16", {"io_dtype": "uint8"}),
        ("int8", {"io_dtype": "float32"}),
    ],
)
def test_a_setting_that_the_precision_does_not_take_is_refused(precision, setting):
    with pytest.raises(SettingsError, match=r"^--\S+.* files, and none is asked for\. Add --\w+\.$"):
        ExportSettings(Precision(precision), **setting)


def test_equalizing_needs_rewrites_and_calibration_needs_images():
    with pytest.raises(SettingsError, match="--no-rewrite forbids"):
        ExportSettings(Precision.INT8, equalize=True, rewrites=())
    with pytest.raises(SettingsError, match="0 calibration images"):
        ExportSettings(Precision.INT8, num_calibration=0)


def test_of_several_precisions_each_gets_what_it_takes():
    made = settings_for(list(Precision), sparse=True, equalize=True, typical=True, io_dtype="uint8", seed=3)
    assert [each.sparse for each in made] == [True, False, False, False, False]
    assert [each.equalize for each in made] == [None, None, None, True, None]
    assert [each.typical for each in made] == [False, False, False, True, True]
    assert [each.io_dtype for each in made] == ["float32", "float32", "float32", "uint8", "float32"]
    assert {each.seed for each in made} == {3}


@pytest.mark.parametrize("precision", list(Precision))
def test_a_sidecar_gives_settings_back(precision):
    settings = ExportSettings(precision, logits=True, keep_names=True, num_calibration=7, seed=2)
    assert read_record_as(ExportSettings, json.loads(json.dumps(dataclasses.asdict(settings)))) == settings


def test_the_command_has_a_flag_for_each_precision_and_an_option_for_each_setting():
    options = {option.name: option for option in command.params if isinstance(option, click.Option)}
    for precision in Precision:
        assert options[precision].help == precision.spec.help
        assert options[precision].opts == [f"--{name}" for name in (precision, *precision.spec.aliases)]
    settings = {field.name: field.default for field in dataclasses.fields(ExportSettings)}
    assert {name for name in settings if name not in ("precision", "rewrites")} < set(options)
    assert options["num_calibration"].default == settings["num_calibration"] == 200
    assert options["seed"].default == settings["seed"] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--int8", "--sparse"], "--sparse is for float32 files, and none is asked for. Add --float32."),
        (["--float32", "--io-dtype", "uint8"], "--io-dtype uint8 is for int8 files"),
        (["--float32", "--typical"], "--typical is for int8 and int16x8 files"),
    ],
)
def test_the_command_refuses_what_no_file_takes(capsys, arguments, said):
    assert run(["export", *arguments]) == 2
    assert said in capsys.readouterr().err
