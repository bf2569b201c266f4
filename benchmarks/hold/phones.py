"""What `bench --adb` leaves running on a phone when a signal ends it; a test of hold.

On the device lab (tests/device_lab; needs root and Debian), at random moments of a run of the tool.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from row import Row

from android_bench.phone.adb import Phone as OurPhone
from android_bench.phone.adb import default_server
from android_bench.phone.session import Session

sys.path.append(str(Path(__file__).parents[2] / "tests"))  # behind the installed packages of the same names

from device_lab.lab import Lab
from device_lab.phone import Phone

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
STATUS = {signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGKILL: -signal.SIGKILL}
GONE_SECS = 5.0
"""A tool that runs this long after the command's end is left running."""


def phone_tools(options: argparse.Namespace, scratch: Path) -> Row:
    """SIGTERM, SIGHUP and SIGKILL in turn; then a session, after which nothing may be on the phone."""
    model = scratch / "model.tflite"
    model.write_bytes(_model())
    chance = random.Random(options.seed)
    left = litter = wrong = 0
    with Lab() as lab, lab.inside():
        os.environ |= {"PIPELINE_RUNS": str(scratch / "runs"), "XDG_CACHE_HOME": str(scratch / "cache")}
        phone = lab.phone("pixel7")
        phone.set_faults(slow=10.0)
        for turn in range(options.signals):
            number = SIGNALS[turn % len(SIGNALS)]
            status = _ended(lab, phone, model, number=number, after_secs=chance.uniform(0, 1))
            gone_secs = _gone_after(phone)
            print(
                f"{turn + 1}: {number.name}, status {status}, tool gone after {gone_secs:.2f} s", flush=True
            )
            left += gone_secs >= GONE_SECS
            wrong += status != STATUS[number]
            with Session(OurPhone(default_server(), phone.serial)):
                pass
            litter += any(phone.storage.iterdir())
    return Row(
        test="TERM, HUP, KILL of bench --adb in the lab",
        found=f"{left} of {options.signals} leave the tool running, {litter} a file after the next session, "
        f"{wrong} have a wrong exit status",
        wanted=f"0 of {options.signals}",
        holds=not left and not litter and not wrong,
    )


def _ended(lab: Lab, phone: Phone, model: Path, *, number: signal.Signals, after_secs: float) -> int:
    """The exit status of a call that gets the signal this long after its tool has started."""
    before = len(phone.runs())
    words = ["--benchmark-model", str(lab.benchmark_model), "--min-secs", "100", "--again", str(model)]
    with subprocess.Popen(
        [sys.executable, "-P", "-c", "from pipeline.cli import main; main()", "bench", "--adb", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while not any("--graph=" in word for run in phone.runs()[before:] for word in run.argv):
            assert process.poll() is None, process.returncode
            time.sleep(0.02)
        time.sleep(after_secs)
        process.send_signal(number)
    return process.returncode


def _gone_after(phone: Phone) -> float:
    """Seconds until nothing of ours runs on the phone; GONE_SECS at most."""
    start = time.monotonic()
    while phone.processes() and time.monotonic() - start < GONE_SECS:
        time.sleep(0.01)
    return min(time.monotonic() - start, GONE_SECS)


def _model() -> bytes:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras
    import tensorflow as tf

    image = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(16, 3, activation="relu")(image)
    x = keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(x))
    content = tf.lite.TFLiteConverter.from_keras_model(keras.Model(image, x)).convert()
    assert isinstance(content, bytes)
    return content
