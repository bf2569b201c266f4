"""A store with every case, and a headless Chromium that must draw its page."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from report_records import export_artifact, fill_zoo, measurement, sha256, train_record, verification

from export.precisions import Precision
from pipeline.records.report_row import ReportRow
from pipeline.store.store import open_store

CHROMIUM, CHROMEDRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,1000",
)
HOSTILE = "</script><script>alert(1)</script>"


@pytest.fixture(scope="session")
def zoo_rows(tmp_path_factory) -> list[ReportRow]:
    """60 files, three not measured, two with an invalid measurement; one machine, one data set."""
    folder = tmp_path_factory.mktemp("zoo")
    with open_store(folder) as store:
        fill_zoo(store, folder)
        return store.rows()


@pytest.fixture(scope="session")
def mixed_rows(tmp_path_factory) -> list[ReportRow]:
    """Several machines, threads and data sets; a hostile name; a file that was not verified; one without a
    sidecar whose measurement failed.
    """
    folder = tmp_path_factory.mktemp("mixed")
    int8, float32 = export_artifact(), export_artifact(precision=Precision.FLOAT32)
    float16 = export_artifact(precision=Precision.FLOAT16, size_bytes=2_000_000)
    hostile = export_artifact(
        sha256("hostile"),
        model_name=HOSTILE,
        family=HOSTILE,
        class_names=(HOSTILE, "b"),
        size_bytes=3_000_000,
    )
    with open_store(folder) as store:
        store.add_run(train_record())
        for artifact in (int8, float32, float16, hostile):
            store.add_artifact(artifact, folder / HOSTILE.replace("/", "") / "export")
        store.add_verification(verification(int8.sha256))
        store.add_verification(verification(float32.sha256, tflite_top1=94.4, dataset=HOSTILE))
        store.add_verification(verification(hostile.sha256, tflite_top1=90.1))
        store.add_measurement(measurement(int8.sha256))
        store.add_measurement(measurement(int8.sha256, num_threads=2, median_ms=0.8))
        store.add_measurement(measurement(float32.sha256, median_ms=4.2))
        store.add_measurement(measurement(float16.sha256, median_ms=3.9))
        store.add_measurement(measurement(hostile.sha256, median_ms=2.0, machine=HOSTILE, where="Pixel 8"))
        store.add_measurement(
            measurement(
                sha256("theirs"), path="/data/theirs.tflite", median_ms=None, valid=False, reasons=(HOSTILE,)
            )
        )
        return store.rows()


@pytest.fixture(scope="session")
def browser(tmp_path_factory) -> Iterator:
    """Chromium with an empty profile; skips, or fails where PIPELINE_REQUIRE_BROWSER=1, without it."""
    missing = [str(path) for path in (CHROMIUM, CHROMEDRIVER) if not path.exists()]
    if missing:
        reason = f"{' and '.join(missing)} not installed (apt-get install chromium chromium-driver)"
        if os.environ.get("PIPELINE_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(CHROMEDRIVER)))
    driver.set_script_timeout(30)
    try:
        yield driver
    finally:
        driver.quit()
