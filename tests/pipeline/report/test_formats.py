"""The report as text: terminal, CSV, JSON, Markdown, HTML, pictures."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pytest
from report_records import changed, export_artifact, measurement, verification

from export.precisions import Precision
from pipeline.records.report_row import row_of
from pipeline.report.charts import SIZE, VIEWS, chart_record, is_log
from pipeline.report.page import page_text
from pipeline.report.picture import png_bytes, svg_text
from pipeline.report.records import csv_text, json_text, markdown_text
from pipeline.report.table import terminal_table
from pipeline.store.rows import ReportRows
from pipeline.store.store import open_store
from pipeline.terminal import UNSAFE

NAMES = [
    "model_name",
    "family",
    "alpha",
    "knobs",
    "image_size",
    "image_width",
    "image_channels",
    "precision",
    "size_bytes",
    "downloaded_bytes",
    "parameters",
    "macs",
    "keras_top1",
    "tflite_top1",
    "tflite_top1_low",
    "tflite_top1_high",
    "drop_points",
    "drop_p",
    "agreement",
    "keras_average_precision",
    "tflite_average_precision",
    "dataset",
    "dataset_fingerprint",
    "split",
    "num_samples",
    "verified_utc",
    "median_ms",
    "avg_ms",
    "p5_ms",
    "p95_ms",
    "noise_ms",
    "first_ms",
    "init_ms",
    "peak_memory_bytes",
    "num_runs",
    "num_threads",
    "cores",
    "extra_flags",
    "runtime",
    "runtime_version",
    "delegate",
    "machine",
    "where",
    "measured_utc",
    "valid",
    "reasons",
    "phone_top1",
    "phone_average_precision",
    "phone_agreement",
    "phone_samples",
    "sha256",
    "parent_sha256",
    "run",
    "path",
    "pareto",
    "session",
]
"""What other programs read: these names in this order."""


def table(rows, width=100) -> str:
    return terminal_table(rows, width=width, colour=False)


@pytest.mark.parametrize("width", [80, 100, 140])
def test_no_line_of_the_table_is_wider_than_the_terminal(zoo_rows, mixed_rows, width):
    for rows in (zoo_rows, mixed_rows):
        assert max(map(len, table(rows, width).splitlines())) <= width


def test_a_hundred_columns_hold_every_model_name_on_one_line(zoo_rows, mixed_rows):
    for rows in (zoo_rows, mixed_rows):
        lines = table(rows).splitlines()
        assert all(any(row.model.model_name in line for line in lines) for row in rows)


def test_the_table_tells_the_figures_of_each_row(zoo_rows):
    (line,) = [line for line in table(zoo_rows).splitlines() if re.search(r"mobilenet_w1_96 +int8", line)]
    for text in ("★", "560 kB", "87.40%", "-0.70", "0.405 ms", "0.393–0.429 ms"):
        assert text in line


def test_conditions_that_all_rows_share_stand_once_below(zoo_rows):
    text = table(zoo_rows)
    for line in ("Machine: Xeon 8481C", "Runtime: litert 2.3.0, cpu", "Threads: 1 thread"):
        assert text.count(line) == 1
    assert f"Data set: photos ({zoo_rows[0].accuracy.dataset_fingerprint[:8]}), 1,001 test images" in text


def test_conditions_that_differ_are_told_by_letter(mixed_rows):
    text = table(mixed_rows)
    assert "On A: " in text
    assert "On C: " in text
    assert "Data 2: " in text
    assert "Machine:" not in text


def test_runs_of_one_model_are_told_apart(zoo_rows):
    one, other = (
        changed(zoo_rows[0], run=f"{zoo_rows[0].model.model_name}-photos-{number}") for number in (1, 2)
    )
    others = [row for row in zoo_rows if row.model.model_name != one.model.model_name]
    lines = table([one, other, *others]).splitlines()
    assert "Run" in lines[1]
    assert sum(" photos-1 " in f"{line} " for line in lines) == 1
    assert sum(" photos-2 " in f"{line} " for line in lines) == 1
    assert "Run" not in table([one, *others]).splitlines()[1]


def test_the_reasons_of_an_invalid_measurement_stand_below_the_table(zoo_rows):
    told = "not valid: densenet_w1_96 int16x8, 1 thread: killed"
    broken = [
        changed(row, valid=False, reasons=("killed",))
        for row in zoo_rows
        if (row.model.model_name, row.file.precision) == ("densenet_w1_96", "int16x8")
    ]
    assert told in table(broken)
    assert "invalid" in table(broken)


def test_a_latency_without_a_median_is_its_average_and_called_so(zoo_rows):
    old = [changed(row, median_ms=None, avg_ms=7.1052, valid=True) for row in zoo_rows[:1]]
    for text in (table([*old, *zoo_rows[1:]]), markdown_text(old), page_text(old)):
        assert re.search(r"7\.11 ms\s+\(average\)", text)
    assert csv_text(old).count(",7.1052,") == 1


def test_a_name_cannot_steer_the_terminal(zoo_rows):
    text = table([changed(zoo_rows[0], model_name="bad\x1b[2J\nname"), *zoo_rows[1:]])
    assert "\x1b" not in text
    assert "bad�[2J�name" in text


def test_what_is_not_measured_is_a_dash_that_is_explained(zoo_rows):
    unmeasured = [row for row in zoo_rows if row.latency.valid is None]
    assert "– not measured" in table(unmeasured)
    assert " 0.00 ms" not in table(unmeasured)


def test_json_has_the_fields_of_the_dataclass_and_its_values(mixed_rows):
    records = json.loads(json_text(mixed_rows))
    assert [list(record) for record in records] == [NAMES] * len(mixed_rows)
    lists = ("reasons", "extra_flags")
    again = [row_of(record | {name: tuple(record[name]) for name in lists}) for record in records]
    assert again == mixed_rows


def test_csv_has_the_fields_of_the_dataclass_and_empty_cells_for_not_measured(mixed_rows):
    records = list(csv.DictReader(StringIO(csv_text(mixed_rows))))
    assert list(records[0]) == NAMES
    for record, row in zip(records, mixed_rows, strict=True):
        assert record["model_name"] == row.model.model_name
        assert json.loads(record["knobs"]) == row.model.knobs
        assert record["pareto"] == str(row.pareto).lower()
        assert record["median_ms"] == ("" if row.latency.median_ms is None else str(row.latency.median_ms))
        assert record["reasons"] == "; ".join(row.latency.reasons)


def test_markdown_tables_have_one_width_and_escape_their_marks(mixed_rows):
    odd = [changed(mixed_rows[0], model_name="a|b *c* <d>\ne"), *mixed_rows[1:]]
    lines = [line for line in markdown_text(odd).splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", line) for line in lines]
    assert len(lines) == len(odd) + 2
    assert len({len(line) for line in cells}) == 1
    assert r"a\|b \*c\* \<d\> e" in lines[2]


class Scripts(HTMLParser):
    """Collects the attributes and texts of all elements that a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links.extend(value for name, value in attrs if name in ("src", "href", "action", "srcset"))


def test_the_page_has_no_element_that_the_names_brought_and_links_to_nothing(mixed_rows):
    seen = Scripts()
    seen.feed(page_text(mixed_rows))
    assert seen.tags.count("script") == 3
    assert seen.links == []


def test_the_page_tells_its_conditions_and_every_file(zoo_rows):
    page = page_text(zoo_rows, written_utc="2026-11-24T08:00:00+00:00")
    header = page[: page.index('id="filters"')]
    for text in (
        "Xeon 8481C",
        "litert 2.3.0, cpu",
        "1 thread",
        f"photos ({zoo_rows[0].accuracy.dataset_fingerprint[:8]}), 1,001 test images",
        "2026-11-23 10:08 UTC",
    ):
        assert text in header
    assert "Written 2026-11-24 08:00 UTC" in page
    assert all(row.file.sha256 in page for row in zoo_rows)


def test_reasons_of_an_invalid_measurement_stand_in_the_page(zoo_rows):
    page = page_text(zoo_rows)
    assert page.count("the child process was killed; 2 of 5 rounds are missing</small>") == 2


def test_an_axis_is_logarithmic_only_where_the_range_asks_for_it(zoo_rows):
    records = [chart_record(index, row) for index, row in enumerate(zoo_rows) if row.latency.valid]
    assert is_log(SIZE, records)
    assert not is_log(SIZE, records[:1])
    assert not is_log(VIEWS[1].y, records)


def test_a_picture_is_drawn_with_a_mark_for_each_point(zoo_rows):
    assert png_bytes(zoo_rows).startswith(b"\x89PNG\r\n\x1a\n")
    picture = svg_text(zoo_rows)
    assert picture.startswith("<svg")
    assert picture.count('aria-roledescription="point"') == 55 + sum(row.pareto for row in zoo_rows)


def test_the_page_counts_files_where_it_says_files_and_points_where_it_says_points(tmp_path):
    """Two files at two numbers of threads each: four points of which three are best."""
    int8, float32 = export_artifact(), export_artifact(precision=Precision.FLOAT32)
    with open_store(tmp_path) as store:
        for artifact in (int8, float32):
            store.add_artifact(artifact, tmp_path / "export")
            store.add_verification(verification(artifact.sha256))
        for threads, slow in ((1, 2.0), (2, 0.5)):
            store.add_measurement(measurement(int8.sha256, num_threads=threads, median_ms=1.0))
            store.add_measurement(measurement(float32.sha256, num_threads=threads, median_ms=slow))
        rows = store.rows()
    assert sum(row.pareto for row in rows) == 3
    assert "2 exported files of 1 model. 2 are ringed and starred at 3 points:" in page_text(rows)


def test_a_top1_of_the_validation_split_says_so_in_every_table(tmp_path):
    int8, float32 = export_artifact(), export_artifact(precision=Precision.FLOAT32)
    with open_store(tmp_path) as store:
        for artifact, split in ((int8, "validation"), (float32, "test")):
            store.add_artifact(artifact, tmp_path / "export")
            store.add_verification(verification(artifact.sha256, split=split))
        rows = store.rows()
    for text in (table(rows), markdown_text(rows), page_text(rows)):
        assert "93.90% (validation)" in text
        assert "93.90% (test)" not in text


HOSTILE_NAME = "a\x1b]0;owned\x07b\u202ec\x00\ufffe\ud800"


@pytest.mark.parametrize("format_name", ["png", "svg", "table", "md", "html", "csv"])
def test_report_of_a_hostile_name_is_written_in_every_format(format_name: str, tmp_path: Path):
    """In a child process: a picture's library aborts it."""
    program = """if True:
        import sys
        from pathlib import Path
        sys.path += [sys.argv[3], f"{sys.argv[3]}/tests"]
        from report_records import changed, fill_zoo
        from pipeline.steps.report import report_content
        from pipeline.store.store import open_store
        with open_store(Path(sys.argv[2])) as store:
            fill_zoo(store, Path(sys.argv[2]))
            rows = store.rows()
        rows = [changed(row, model_name=HOSTILE, machine=HOSTILE) for row in rows]
        print(len(report_content(rows, sys.argv[1])))
    """.replace("HOSTILE", ascii(HOSTILE_NAME))
    words = [sys.executable, "-P", "-c", program, format_name, str(tmp_path), str(Path(__file__).parents[3])]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 200


def test_page_turns_the_direction_of_no_text(zoo_rows):
    text = page_text([changed(row, model_name=HOSTILE_NAME, machine=HOSTILE_NAME) for row in zoo_rows])
    page = text[: text.index("<script>")]  # behind it the charts' own script
    assert "b\N{REPLACEMENT CHARACTER}c" in page
    assert not UNSAFE.search(page)
    assert "u202e" not in page


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_csv_has_no_cell_that_a_spreadsheet_runs(zoo_rows, start: str):
    formula = f"{start}HYPERLINK(0)"
    row = changed(zoo_rows[0], model_name=formula, drop_points=-1.5, extra_flags=("--x=1",))
    (record,) = csv.DictReader(StringIO(csv_text([row]), newline=""))
    assert record["model_name"] == "'" + formula.replace("\r", "�")
    assert record["extra_flags"] == "'--x=1"
    assert float(record["drop_points"]) == -1.5


def test_a_table_of_thousands_shows_every_best_row_and_says_how_many_of_how_many(zoo_rows):
    rows = ReportRows(zoo_rows.figures * 20, folder=zoo_rows.folder, best=zoo_rows.best)
    lines = terminal_table(rows, width=100, colour=False).splitlines()
    assert sum(line.startswith(" ★") and "_w" in line for line in lines) == len(zoo_rows.best)
    assert sum("_w" in line and "not valid" not in line for line in lines) == 200
    (told,) = [line for line in lines if line.startswith("200 of 1,200 rows: ")]
    assert f"the {len(zoo_rows.best)} best, and {200 - len(zoo_rows.best)} others drawn by lot" in told
