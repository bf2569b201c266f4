"""The page of what a file gets wrong: its pictures, its figures, and hostile names."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_records import export_artifact, predictions_of_photos, train_record, verification

from export.check.predictions import Predictions, Side
from export.precisions import Precision
from pipeline.report.mistakes_page import MOST_MISTAKES
from pipeline.steps.report import write_report
from pipeline.store.predictions import KeptPredictions
from pipeline.store.store import open_store

HOSTILE = "</td><script>alert(1)</script>"
NUM = 101


def kept_of(images: tuple[str, ...], num_wrong: int, **changes: object) -> KeptPredictions:
    truth = np.arange(NUM) % 3
    label = truth.copy()
    label[:num_wrong] = (label[:num_wrong] + 1) % 3
    sure = np.linspace(0.99, 0.4, NUM).astype(np.float32)
    keras = Side(label=truth, probability=sure)
    found = Predictions(truth=truth, file=Side(label=label, probability=sure), keras=keras)
    return predictions_of_photos(found, images=images, class_names=("cat", HOSTILE, "bird"), **changes)


@pytest.fixture
def pages(tmp_path: Path) -> dict[str, str]:
    """'report', 'int8', 'float32' -> HTML, of a store with two files of one model and one without images."""
    photos = tmp_path / "photos"
    photos.mkdir()
    names = tuple(str(photos / f"{number}.png") for number in range(NUM))
    for name in names[1:]:
        Image.new("RGB", (300, 200), (200, 40, 40)).save(name)
    int8, float32 = export_artifact(), export_artifact(precision=Precision.FLOAT32)
    with open_store(tmp_path) as store:
        store.add_run(train_record())
        for artifact, num_wrong in ((int8, 30), (float32, 28)):
            kept = replace(kept_of(names, num_wrong), artifact_sha256=artifact.sha256)
            store.add_artifact(artifact, tmp_path / "export")
            store.add_verification(verification(artifact.sha256), kept)
        rows = store.rows()
    write_report(rows, "html", tmp_path / "report.html")
    found = {path.name.split("_")[-2]: path.read_text() for path in (tmp_path / "report_pages").iterdir()}
    return {**found, "report": (tmp_path / "report.html").read_text()}


class Links(HTMLParser):
    """Collects the addresses of links, and what is loaded."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.sources: list[str] = []
        self.scripts = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.links += [found["href"]] if tag == "a" else []
        self.sources += [found["src"]] if "src" in found else []
        self.scripts += tag == "script"


def test_each_file_of_the_table_links_to_its_page_and_back(pages, tmp_path):
    links = Links(pages["report"]).links
    assert len(links) == 2
    for link in links:
        page = tmp_path / link
        (back,) = Links(page.read_text()).links
        assert (page.parent / back).resolve() == (tmp_path / "report.html").resolve()


def test_page_loads_nothing_and_runs_nothing(pages):
    for name in ("int8", "float32"):
        found = Links(pages[name])
        assert found.scripts == 0
        assert all(source.startswith("data:image/jpeg;base64,") for source in found.sources)


def test_surest_mistakes_have_their_pictures_and_a_missing_one_is_told(pages):
    (mistakes,) = re.findall(r"Most confident mistakes.*?</section>", pages["int8"], re.DOTALL)
    assert f"The {MOST_MISTAKES} surest of 30" in mistakes
    assert mistakes.count("<img ") == MOST_MISTAKES - 1
    assert mistakes.count("no longer at its path") == 1
    assert "0.png" in mistakes


def test_file_is_compared_with_keras_and_with_float32(pages):
    assert "loses 29.70 points against Keras: 30 of 101 images" in pages["int8"]
    words = (
        "loses 1.98 points against float32: 2 of 101 images (2 lost, 0 gained; p = 0.5), not distinguishable"
    )
    assert words in pages["int8"]
    assert "Where it disagrees with float32" in pages["int8"]
    assert "2 of 101 images" in pages["int8"]
    assert "against float32" not in pages["float32"]


def test_report_of_files_verified_by_an_older_version_has_no_pages(zoo_rows, tmp_path):
    write_report(zoo_rows, "html", tmp_path / "report.html")
    assert not (tmp_path / "report_pages").exists()


@pytest.mark.parametrize("width", [390, 1300])
def test_no_page_with_long_names_is_wider_than_its_window(browser, tmp_path, width):
    long = "a_class_name_without_any_blank_such_as_a_synset_n02123045_tabby_and_more"
    names = tuple(str(tmp_path / f"{number}_{long}.png") for number in range(NUM))
    artifact = export_artifact(model_name=f"net_{long}", path=f"net_{long}_int8.tflite")
    with open_store(tmp_path) as store:
        store.add_artifact(artifact, tmp_path / long / "export")
        kept = replace(kept_of(names, 30, artifact_sha256=artifact.sha256), class_names=("cat", long, "bird"))
        store.add_verification(verification(artifact.sha256), kept)
        rows = store.rows()
    write_report(rows, "html", tmp_path / "report.html")
    (page,) = (tmp_path / "report_pages").iterdir()
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        for path in (page, tmp_path / "report.html"):
            browser.get(path.as_uri())
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
