"""A precision is one row of a table: nothing else names one, and a row more is one more way to export."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from export.precisions import Precision

ROOT = Path(__file__).parents[2]
PACKAGES = ("android_bench", "export", "keras_graph", "models", "pipeline")
NAMED = {
    "pipeline/bench/baselines.py",  # what others are compared with is float32
    "pipeline/choose/drop.py",  # orders them by how coarsely they round
    "pipeline/choose/finish.py",  # climbs the ladder for int8
    "pipeline/choose/settings.py",  # chooses among these two by default
    "pipeline/commands/confusion.py",  # what others are compared with is float32
    "pipeline/commands/demo.py",  # shows these two
    "pipeline/commands/sweep.py",  # exports this by default
    "pipeline/compression/attempts.py",  # is about int8
    "pipeline/compression/in_float.py",  # says what an int8 file will leave in float
    "pipeline/report/mistakes_page.py",  # what others are compared with is float32
    "pipeline/steps/mistakes.py",  # the same
}
ROW = """
    HALF = (
        "half",
        PrecisionSpec(help="Weights in half the bytes, again.", aliases=("fp2",), weight_types=("float16",)),
    )
"""


def test_no_other_module_names_a_precision():
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    member = re.compile(rf"\bPrecision\.({'|'.join(Precision.__members__)})\b")
    assert {str(file.relative_to(ROOT)) for file in files if member.search(file.read_text())} == NAMED


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The packages, with one row more in the table, and a run of the command line on them."""
    folder = tmp_path_factory.mktemp("copy")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "spelling.py", folder)
    table = folder / "export" / "precisions.py"
    before, new, after = table.read_text().partition("\n    def __new__")
    table.write_text(before + ROW + new + after)

    def pipeline(*arguments):
        program = "import sys; sys.path.insert(0, '.'); from pipeline.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-P", "-c", program, *map(str, arguments)],
            cwd=folder,
            env={**os.environ, "PIPELINE_RUNS": str(folder / "runs")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return pipeline


def test_a_row_is_a_flag(copy):
    assert re.search(r"--half, --fp2 +Weights in half the bytes, again\.", copy("export", "--help"))


def test_a_row_is_exported_and_reported(copy, tmp_path):
    image = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3)(image))
    keras.Model(image, keras.layers.Dense(3, activation="softmax")(x)).save(tmp_path / "mine.keras")
    asked = ["export", tmp_path / "mine.keras", "--fp2", "--float16", "--out", tmp_path]
    made = {each["settings"]["precision"]: each for each in json.loads(copy(*asked, "--json"))}
    assert set(made) == {"half", "float16"}
    files = [(tmp_path / each["path"]).read_bytes() for each in made.values()]
    assert files[0] == files[1], "the two rows say the same"
    assert {row["precision"] for row in json.loads(copy("report", "--json"))} >= {"half"}
