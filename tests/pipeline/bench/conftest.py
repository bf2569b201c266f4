"""Small .tflite files, converted once for all tests, and settings that take a moment."""

import os
import signal
from pathlib import Path

import pytest
from device_lab.fixtures import lab, phone

from pipeline.bench.settings import BenchSettings
from pipeline.cli import run

__all__ = ["lab", "phone"]


def convert_stack(num_layers, precision="float32"):
    """A .tflite of that many equal 3x3 convolutions of 32 channels at 32x32, then a Dense layer.

    32 outputs are enough for dynamic precision to quantize it.
    """
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras
    import numpy as np
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    image = x = keras.Input((32, 32, 32))
    for _ in range(num_layers):
        x = keras.layers.Conv2D(32, 3, padding="same", activation="relu")(x)
    x = keras.layers.Dense(32)(keras.layers.GlobalAveragePooling2D()(x))
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(image, x))
    if precision == "dynamic":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "int8":
        pixels = np.random.default_rng(0).random((4, 1, 32, 32, 32), np.float32)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([each] for each in pixels)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Name -> path: 'one' and 'ten' layers in float32, 'int8' and 'dynamic' with one layer."""
    folder = tmp_path_factory.mktemp("bench")
    contents = {"one": convert_stack(1), "ten": convert_stack(10), "dynamic": convert_stack(1, "dynamic")}
    with pytest.warns(UserWarning, match="Statistics for quantized inputs"):
        contents["int8"] = convert_stack(1, "int8")
    for name, content in contents.items():
        (folder / f"{name}.tflite").write_bytes(content)
    return {name: folder / f"{name}.tflite" for name in contents}


@pytest.fixture
def truncated(files, tmp_path):
    """A .tflite whose last half is missing."""
    path = tmp_path / "truncated.tflite"
    content = files["ten"].read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


@pytest.fixture
def quick():
    """Settings with which a file takes about a third of a second."""
    return BenchSettings(num_runs=20, min_secs=0.2, warmup_min_secs=0.05, max_wait=1.0)  # others test too


def workers_of(path):
    """The process ids of the children that run this file."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it ended meanwhile
            continue
        if str(path).encode() in words and any(word.endswith(b"bench/worker.py") for word in words):
            found.append(int(process.name))
    return found


@pytest.fixture
def workers():
    """What finds the children that run a file."""
    return workers_of


@pytest.fixture
def kill_worker():
    """What kills the child that runs a file."""

    def kill(path):
        for process in workers_of(path):
            os.kill(process, signal.SIGKILL)

    return kill


QUICK_ON_PHONES = ("--num-runs", "10", "--min-secs", "0", "--warmup-min-secs", "0", "--num-rounds", "2")


@pytest.fixture
def bench(lab, phone, capsys, tmp_path, monkeypatch):
    """Runs `pipeline bench --adb` with the lab's tool: its exit status, stdout and stderr."""
    monkeypatch.setenv("PIPELINE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def call(*words, quick=QUICK_ON_PHONES, tool=None):
        tool = tool or lab.benchmark_model
        ours = ("--benchmark-model", str(tool), "--max-drift", "9")  # other tests share the machine's cores
        status = run(["bench", "--adb", *ours, *quick, *map(str, words)])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call
