"""Reports and a store of many rows: seconds, megabytes, and the page's time in headless Chromium.

    python benchmarks/large_report.py --rows 10 5000 100000
    python benchmarks/large_report.py --rows 0 --measurements 1000000

Makes a store of synthetic figures through the store's own methods, then runs `pipeline report` on it.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from export.artifact import ExportArtifact, TensorInfo
from export.precisions import Precision
from export.settings import ExportSettings
from export.verification import Verification
from pipeline.records.measurement import Measurement
from pipeline.store import queries
from pipeline.store.store import FILE_NAME, Store, open_store

FAMILIES = ("densenet", "mobilenet", "resnet", "squeezenet")
PHONES = tuple((f"Phone {number}", f"SoC {number % 7}, Android {11 + number % 5}") for number in range(20))
WIDTHS = (1300, 390)


def sha256(text: str) -> str:
    """A checksum that is the text's own."""
    return hashlib.sha256(text.encode()).hexdigest()


def artifact(number: int, chance: random.Random) -> ExportArtifact:
    """A file of a made-up size and name."""
    precision = list(Precision)[number % len(Precision)]
    family = FAMILIES[number // len(Precision) % len(FAMILIES)]
    alpha = 0.25 * (1 + number // 20 % 40)
    name = f"{family}_alpha{alpha}_{96 + 32 * (number // 800 % 8)}"
    pixels = TensorInfo(name="pixels", shape=(1, 160, 160, 3), dtype="float32")
    size_bytes = int(
        4e5 * (1 + alpha) ** 2 * (1 if precision is Precision.INT8 else 3) * chance.uniform(0.9, 1.1)
    )
    return ExportArtifact(
        path=f"{name}_{number}_{precision}.tflite",
        sha256=sha256(f"file {number}"),
        size_bytes=size_bytes,
        downloaded_bytes=int(size_bytes * 0.9),
        settings=ExportSettings(precision),
        parent_sha256=sha256(f"model {number // len(Precision)}"),
        model_name=name,
        family=family,
        knobs={"alpha": alpha},
        input=pixels,
        output=replace(pixels, name="classes", shape=(1, 10)),
        pixels="raw 0-255 RGB",
        class_names=tuple(f"class {each}" for each in range(10)),
        operators=(),
        float_operators=(),
        tensor_names=(),
        min_runtime_version="1.14.0",
        tflite_runtime_loads=True,
        dataset="photos",
        versions={},
        created_utc="2026-11-23T10:06:00+00:00",
    )


def verification(file: ExportArtifact, chance: random.Random) -> Verification:
    """Its accuracy, which grows with the size and has diminishing returns."""
    top1 = round(95 - 30 / (file.size_bytes / 1e5) - chance.uniform(0, 8), 2)
    keras_top1 = round(top1 + chance.uniform(-0.2, 0.8), 2)
    return Verification(
        artifact_sha256=file.sha256,
        path=file.path,
        dataset="photos",
        dataset_fingerprint=sha256("photos"),
        split="test",
        num_samples=1000,
        keras_top1=keras_top1,
        tflite_top1=top1,
        drop_points=round(keras_top1 - top1, 2),
        agreement=round(chance.uniform(95, 100), 2),
        max_abs_difference=0.04,
        worst_layer=None,
        layers=(),
        runtime="litert",
        runtime_version="2.3.0",
        seconds=1.7,
        verified_utc="2026-11-23T10:07:00+00:00",
    )


def measurement(file: ExportArtifact, phone: int, again: int, chance: random.Random) -> Measurement:
    """Its latency on one of the phones, one in 50 of them not valid."""
    where, machine = PHONES[phone % len(PHONES)]
    median = file.size_bytes / 4e5 * (1 + phone % 5) * math.exp(chance.gauss(0, 0.3))
    valid = chance.random() > 0.02
    return Measurement(
        artifact_sha256=file.sha256,
        path=file.path,
        where=where,
        machine=machine,
        runtime="benchmark_model",
        runtime_version="2.19.0",
        delegate=("cpu", "gpu")[phone % 2],
        num_threads=(1, 4)[phone // 2 % 2],
        warmup_runs=5,
        num_runs=500,
        num_rounds=5,
        **{
            name: median * factor
            for name, factor in (
                ("median_ms", 1.0),
                ("avg_ms", 1.01),
                ("std_ms", 0.03),
                ("min_ms", 0.95),
                ("max_ms", 1.4),
                ("p5_ms", 0.97),
                ("p95_ms", 1.06),
                ("first_ms", 2.0),
                ("init_ms", 3.0),
                ("noise_ms", 0.01),
            )
        },
        peak_memory_bytes=9_437_184,
        valid=valid,
        reasons=() if valid else ("the phone was throttled",),
        measured_utc=f"2026-11-{1 + again % 28:02}T10:{again // 28 % 60:02}:00+00:00",
        round_sessions=(f"session{again}",) * 5,
    )


def fill(store: Store, num_measurements: int, *, settings: int, repeats: int) -> None:
    """Adds files until there are so many measurements: each under some settings, repeated."""
    chance = random.Random(1)
    added = number = 0
    while added < num_measurements:
        with store.together():
            for _ in range(500):
                file = artifact(number, chance)
                number += 1
                store.add_artifact(file, store.path.parent / f"run-{number // 40}" / "export")
                store.add_verification(verification(file, chance))
                for phone in range(settings):
                    for again in range(repeats):
                        if added < num_measurements:
                            store.add_measurement(measurement(file, phone, again, chance))
                            added += 1
                if added >= num_measurements:
                    break


def run_report(folder: Path, *options: str) -> str:
    """Seconds, CPU seconds and the last line of a `pipeline report`."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    told = subprocess.run(
        [str(Path(sys.executable).with_name("pipeline")), "report", *options],
        env={**os.environ, "PIPELINE_RUNS": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return (
        f"{seconds:.1f} s ({cpu:.1f} s CPU), {len(told.stdout) / 1e6:.2f} MB on stdout; {told.stderr.strip()}"
    )


def in_browser(page: Path, screenshots: Path | None) -> str:
    """Seconds from opening the page until its table is laid out, and until its charts are drawn."""
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = "/usr/bin/chromium"
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--window-size=1300,1000"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    driver.set_script_timeout(120)
    driver.set_page_load_timeout(120)
    try:
        start = time.perf_counter()
        driver.get(page.as_uri())
        lines = driver.execute_script(
            'const table = document.querySelector("#rows tbody");'
            "return table.offsetHeight && table.rows.length"
        )
        table = time.perf_counter() - start
        driver.execute_async_script("window.report.ready.then(arguments[0])")
        charts = time.perf_counter() - start
        for width in WIDTHS if screenshots else ():
            for scheme in ("light", "dark"):
                _photograph(driver, screenshots / f"{page.stem}_{width}_{scheme}.png", width, scheme)
    finally:
        driver.quit()
    return f"table of {lines} lines after {table:.2f} s, charts after {charts:.2f} s"


def _photograph(driver, path: Path, width: int, scheme: str) -> None:  # noqa: ANN001 - selenium's
    metrics = {"width": width, "height": 1600, "deviceScaleFactor": 1, "mobile": width < 600}
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    driver.refresh()
    driver.execute_async_script("window.report.ready.then(() => setTimeout(arguments[0], 300))")
    driver.save_screenshot(str(path))


def store_times(connection: sqlite3.Connection) -> None:
    """Prints how long the newest valid row of each file takes, beside what it was asked for before."""
    before = """
    SELECT artifact_sha256, median_ms FROM (
        SELECT *, row_number() OVER (
            PARTITION BY artifact_sha256, "where", machine, runtime, delegate, num_threads,
                coalesce(cores, 'all'), coalesce(extra_flags, '[]')
            ORDER BY valid DESC, measured_utc DESC, rowid DESC
        ) AS place FROM measurements
    ) WHERE place = 1 AND valid
    """
    for name, query in (("by window over all", before), ("newest_measurements", queries.NEWEST_VALID)):
        start = time.perf_counter()
        rows = len(connection.execute(query).fetchall())
        print(f"  newest valid rows, {name}: {rows} in {time.perf_counter() - start:.3f} s", flush=True)


def main() -> None:
    """Prints a line for each number of rows, and the store's times."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, nargs="*", default=[10, 5000, 100_000])
    options.add_argument(
        "--measurements", type=int, default=0, help="of a store of 5 settings, 20 times each"
    )
    options.add_argument("--keep", type=Path, help="folder for stores, pages and screenshots")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        place = given.keep or Path(scratch)
        for num_rows in given.rows:
            folder = place / f"rows-{num_rows}"
            if not folder.exists():
                with open_store(folder) as store:
                    fill(store, num_rows, settings=1 if num_rows < 100 else 4, repeats=1)
            print(f"{num_rows} rows:", flush=True)
            print(f"  table: {run_report(folder)}", flush=True)
            page = place / f"report-{num_rows}.html"
            print(f"  page: {run_report(folder, '--out', str(page))}", flush=True)
            print(f"  Chromium: {in_browser(page, given.keep)}", flush=True)
        if given.measurements:
            folder = place / f"measurements-{given.measurements}"
            start = time.perf_counter()
            made = not folder.exists()
            with open_store(folder) as store:
                if made:
                    fill(store, given.measurements, settings=5, repeats=20)
                    print(f"{given.measurements} measurements added in {time.perf_counter() - start:.0f} s")
            connection = sqlite3.connect(folder / FILE_NAME)
            store_times(connection)
            connection.close()
            print(f"  table: {run_report(folder)}", flush=True)


if __name__ == "__main__":
    main()
