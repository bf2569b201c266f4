"""What is installed and whether it works: each check does the thing, in its own process.

Standard library only at import. A package that crashes its process is reported, not followed.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from spelling import counted

REINSTALL = "Install the pinned versions again: pip install --require-hashes -r requirements.lock"
CHECK_SECS = 180
MIN_FREE_BYTES = 2 * 1024**3

# Writes a small convolutional .tflite; every runtime below loads and runs that very file.
CONVERT = """
import sys, tensorflow as tf, keras
layers = keras.layers
model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D()])
open(sys.argv[1], "wb").write(tf.lite.TFLiteConverter.from_keras_model(model).convert())
"""
RUN = """
import sys, numpy as np
{imports}
interpreter = Interpreter(model_path=sys.argv[1])
interpreter.allocate_tensors()
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.zeros((1, 8, 8, 3), np.float32))
interpreter.invoke()
assert interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).shape == (1, 4)
"""
CHART = """
import altair
chart = altair.Chart(altair.Data(values=[{"x": 1, "y": 2}])).mark_point().encode(x="x:Q", y="y:Q")
assert "vega" in chart.to_html(inline=True)
"""
DIGITS = "from sklearn.datasets import load_digits; assert load_digits().images.shape == (1797, 8, 8)"
ADB = """
import subprocess, adbutils
assert b"Android Debug Bridge" in subprocess.run([adbutils.adb_path(), "version"], capture_output=True).stdout
"""
DEVICES = """
import json, tensorflow as tf
gpus = tf.config.list_physical_devices("GPU")
names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
print(json.dumps({"gpus": names, "has_cuda": tf.test.is_built_with_cuda()}))
"""
CUDA_LIBRARIES = ("nvidia-cudnn-cu12", "nvidia-cuda-runtime-cu12")
"""Packages of tensorflow[and-cuda]."""
NVIDIA = "0x10de"
"""The vendor of its cards on the PCI bus."""
TRAIN = """
import numpy as np, keras
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
model.compile("sgd", "mse")
model.fit(np.zeros((4, 4)), np.zeros((4, 2)), verbose=0)
"""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of the doctor's report."""

    name: str
    version: str | None
    """None where it is not installed."""
    works: bool
    needed: bool
    """False where everything else works without it."""
    detail: str
    fix: str
    """What to do; empty when it works."""


def examine(runs: Path) -> Iterator[Check]:
    """The checks, one after another, as each is done (several seconds each)."""
    yield _python()
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch, "doctor.tflite")
        yield _package("keras", TRAIN, detail="trained a small model")
        yield _package("tensorflow", CONVERT, model, detail="converted a small model to TFLite")
        yield _runtime("ai-edge-litert", "from ai_edge_litert.interpreter import Interpreter", model)
        yield _runtime(
            "tflite-runtime", "from tflite_runtime.interpreter import Interpreter", model, needed=False
        )
    yield devices()
    yield _package("scikit-learn", DIGITS, detail="loaded the digits")
    yield _package("altair", CHART, detail="drew a chart with vl-convert")
    yield _package("adbutils", ADB, detail="ran its adb; the phones it sees: pipeline devices")
    yield _runs_folder(runs)


@dataclass(frozen=True, kw_only=True)
class Graphics:
    """What TensorFlow needs to train on a GPU, and whether it is there."""

    gpus: tuple[str, ...]
    """The names of those that TensorFlow sees."""
    has_cuda: bool
    """Whether this TensorFlow was built for CUDA."""
    has_card: bool
    has_driver: bool
    has_libraries: bool
    hidden: bool
    """Whether CUDA_VISIBLE_DEVICES hides every GPU."""


def missing_for_gpu(found: Graphics) -> tuple[str, str]:
    """Why TensorFlow sees no GPU, and what to do; the latter is empty if nothing can be done here."""
    if found.gpus:
        return "", ""
    if found.hidden:
        return "CUDA_VISIBLE_DEVICES hides them", "Unset CUDA_VISIBLE_DEVICES to train on them."
    if not found.has_cuda:
        return f"TensorFlow for {platform.system()} {platform.machine()} is built without CUDA", ""
    if not found.has_card:
        return "no NVIDIA card is in this machine", ""
    if not found.has_driver:
        return "a card of NVIDIA is here, and its driver is not", "Install NVIDIA's driver."
    if not found.has_libraries:
        fix = f"pip install 'tensorflow[and-cuda]=={_version('tensorflow')}'"
        return "card and driver are here, and CUDA's libraries are not", f"To train on it: {fix}"
    return "card, driver and libraries are here", "TF_CPP_MIN_LOG_LEVEL=0 pipeline doctor shows why."


def devices() -> Check:
    """The devices that TensorFlow trains on, and what is missing for a GPU."""
    cpu = f"CPU ({counted(os.cpu_count() or 1, 'core')})"
    done = _run(DEVICES, ())
    if problem := _problem(done):
        return Check(
            name="devices", version="", works=False, needed=False, detail=problem, fix="Fix tensorflow first."
        )
    assert done is not None
    told = json.loads(done.stdout.strip().splitlines()[-1])
    cards = Path("/sys/bus/pci/devices").glob("*/vendor")
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = Graphics(
        gpus=tuple(told["gpus"]),
        has_cuda=told["has_cuda"],
        has_card=any(each.read_text().strip() == NVIDIA for each in cards) or Path("/dev/nvidia0").exists(),
        has_driver=Path("/proc/driver/nvidia/version").exists(),
        has_libraries=all(map(_version, CUDA_LIBRARIES)),
        hidden=hidden is not None and hidden.strip() in ("", "-1"),
    )
    why, fix = missing_for_gpu(found)
    gpus = ", ".join(found.gpus) or f"no GPU: {why}"
    return Check(name="devices", version="", works=True, needed=False, detail=f"{cpu}, {gpus}", fix=fix)


def problem_of(program: str, arguments: tuple[Path, ...]) -> str | None:
    """Runs a program in its own Python process; None when it ended well, else its last line or its signal."""
    return _problem(_run(program, arguments))


def _run(program: str, arguments: tuple[Path, ...]) -> subprocess.CompletedProcess[str] | None:
    """What a program did in its own Python process; None if it took too long.

    -P: the current folder may hold a numpy.py of others.
    """
    try:
        return subprocess.run(
            [sys.executable, "-P", "-W", "ignore", "-c", program, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=CHECK_SECS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None


def _problem(done: subprocess.CompletedProcess[str] | None) -> str | None:
    if done is None:
        return f"did not answer within {CHECK_SECS} s"
    if done.returncode == 0:
        return None
    if done.returncode < 0:
        return f"crashed with signal {-done.returncode}"
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"ended with status {done.returncode}"


def _python() -> Check:
    supported = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Check(
        name="Python",
        version=platform.python_version(),
        works=supported,
        needed=True,
        detail=f"{platform.system()} {platform.machine()}",
        fix="" if supported else "Make the environment with Python 3.11: make PYTHON=python3.11 demo",
    )


def _runtime(name: str, imports: str, model: Path, *, needed: bool = True) -> Check:
    if not model.exists():
        version = _version(name)
        fix = "Fix tensorflow first."
        return Check(
            name=name, version=version, works=False, needed=needed, detail="no model to run", fix=fix
        )
    return _package(
        name, RUN.format(imports=imports), model, detail="made an interpreter and ran it", needed=needed
    )


def _package(name: str, program: str, *arguments: Path, detail: str, needed: bool = True) -> Check:
    version = _version(name)
    if version is None:
        absent = f"not installed; without it the files are not tried on old runtimes ({_wheels(name)})"
        return Check(
            name=name,
            version=None,
            works=False,
            needed=needed,
            detail="not installed" if needed else absent,
            fix=REINSTALL if needed else "Nothing, unless you need it: use Python 3.11 on Linux.",
        )
    problem = problem_of(program, arguments)
    return Check(
        name=name,
        version=version,
        works=problem is None,
        needed=needed,
        detail=problem or detail,
        fix=REINSTALL if problem else "",
    )


def _wheels(name: str) -> str:
    return f"{name} has wheels for Linux and Python up to 3.11"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _runs_folder(runs: Path) -> Check:
    place = next(folder for folder in (runs.absolute(), *runs.absolute().parents) if folder.is_dir())
    problem, fix = "", ""
    free = shutil.disk_usage(place).free
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        problem, fix = (
            f"{place} cannot be written ({error.strerror})",
            "Set PIPELINE_RUNS to a folder of yours.",
        )
    if not problem and free < MIN_FREE_BYTES:
        problem, fix = (
            f"{free / 1e9:.1f} GB free in {place}",
            "Free some space, or set PIPELINE_RUNS elsewhere.",
        )
    return Check(
        name="runs folder",
        version="",
        works=not problem,
        needed=True,
        detail=problem or f"{runs}/ can be written, {free / 1e9:.0f} GB free",
        fix=fix,
    )
