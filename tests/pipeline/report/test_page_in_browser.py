"""The page in a real browser: it draws, asks the network for nothing, and shows what the store holds."""

from __future__ import annotations

import csv
import io
import json

import pytest

from pipeline.records.report_row import ReportRow
from pipeline.report.charts import VIEWS
from pipeline.report.conditions import machine_text
from pipeline.report.page import page_text
from pipeline.steps.report import write_report
from pipeline.store.rows import ReportRows

POINTS = """
const view = window.report.views[arguments[0]], found = [];
(function walk(item) {
  if (item.marktype === "symbol" && item.role === "mark" && item.name.startsWith("points")) {
    for (const symbol of item.items) {
      found.push([symbol.datum.row, view.scale("x").invert(symbol.x), view.scale("y").invert(symbol.y)]);
    }
    return;
  }
  for (const child of item.items || []) walk(child);
})(view.scenegraph().root);
return found.sort((one, other) => one[0] - other[0]);
"""
RINGS = POINTS.replace('startsWith("points")', 'startsWith("pareto")')
FIELDS = {
    "size_mb": lambda row: None if row.file.size_bytes is None else row.file.size_bytes / 1e6,
    "median_ms": lambda row: row.latency.median_ms if row.latency.valid else None,
    "tflite_top1": lambda row: row.accuracy.tflite_top1,
}


def every(_row: ReportRow) -> bool:
    return True


def opened(browser, path, rows: list[ReportRow]):
    if not path.exists():
        path.write_text(page_text(rows))
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(path.as_uri())
    problem = browser.execute_async_script(
        "const done = arguments[0];"
        "window.report.ready.then(() => setTimeout(() => done(null), 100), (error) => done(error.stack));"
    )
    assert problem is None
    return browser


@pytest.fixture(scope="module")
def zoo_path(tmp_path_factory):
    return tmp_path_factory.mktemp("page") / "zoo.html"


@pytest.fixture(scope="module")
def mixed_path(tmp_path_factory):
    return tmp_path_factory.mktemp("page") / "mixed.html"


@pytest.fixture
def zoo(browser, zoo_path, zoo_rows):
    return opened(browser, zoo_path, zoo_rows)


def expected(rows: list[ReportRow], view) -> list[tuple[int, float, float]]:
    """From the store alone: the rows with a valid latency and both figures of the axes."""
    places = [
        (index, FIELDS[view.x.field](row), FIELDS[view.y.field](row))
        for index, row in enumerate(rows)
        if row.latency.valid and row.file.size_bytes is not None and row.latency.median_ms is not None
    ]
    return [place for place in places if None not in place]


def assert_points(browser, rows: list[ReportRow], kept) -> None:
    for view in VIEWS:
        wanted = [place for place in expected(rows, view) if kept(rows[place[0]])]
        found = points_of(browser, view)
        assert [place[0] for place in found] == [place[0] for place in wanted]
        for (_, *drawn), (_, *stored) in zip(found, wanted, strict=True):
            assert drawn == pytest.approx(stored, rel=1e-6)


def points_of(browser, view) -> list[list[float]]:
    """The points of a view, which of several machines is a chart a machine."""
    names = browser.execute_script("return Object.keys(window.report.views)")
    charts = [name for name in names if name.rstrip("-0123456789") == view.name]
    return sorted(point for name in charts for point in browser.execute_script(POINTS, name))


def settle(browser) -> None:
    browser.execute_async_script("const done = arguments[0]; setTimeout(done, 150);")


def visible_lines(browser) -> list[int]:
    return browser.execute_script(
        'return [...document.querySelectorAll("#rows tbody tr")].filter((line) => line.offsetParent !== null)'
        ".map((line) => Number(line.dataset.row));"
    )


def click(browser, selector: str) -> None:
    browser.find_element("css selector", selector).click()
    settle(browser)


def test_every_point_stands_where_the_store_says(zoo, zoo_rows):
    assert_points(zoo, zoo_rows, every)
    assert len(zoo.execute_script(POINTS, "size-latency")) == 55


def test_exactly_the_pareto_best_are_ringed(zoo, zoo_rows):
    best = [index for index, row in enumerate(zoo_rows) if row.pareto]
    assert 0 < len(best) < len(zoo_rows)
    for view in VIEWS:
        assert [place[0] for place in zoo.execute_script(RINGS, view.name)] == best


def test_the_page_asks_the_network_for_nothing_and_the_console_stays_empty(zoo):
    click(zoo, "input[name=family][value=densenet]")
    requests = [
        message["params"]["request"]["url"]
        for entry in zoo.get_log("performance")
        if (message := json.loads(entry["message"])["message"])["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert sum(url.startswith("file:") for url in requests) == 1
    assert zoo.get_log("browser") == []


def test_a_filter_takes_points_and_table_lines_away_and_gives_them_back(zoo, zoo_rows):
    click(zoo, "input[name=family][value=densenet]")
    click(zoo, "input[name=precision][value=int8]")
    assert_points(zoo, zoo_rows, lambda row: row.model.family != "densenet" and row.file.precision != "int8")
    kept = [
        index
        for index, row in enumerate(zoo_rows)
        if row.model.family != "densenet" and row.file.precision != "int8"
    ]
    assert visible_lines(zoo) == kept
    assert zoo.find_element("id", "count").text == f"{len(kept)} of 60 rows"
    click(zoo, "button.reset")
    assert_points(zoo, zoo_rows, every)
    assert visible_lines(zoo) == list(range(60))


def test_best_only_leaves_the_pareto_best(zoo, zoo_rows):
    click(zoo, "input[name=best]")
    assert_points(zoo, zoo_rows, lambda row: row.pareto)
    assert visible_lines(zoo) == [index for index, row in enumerate(zoo_rows) if row.pareto]


BOXES = """
const boxes = (selector) => [...document.querySelectorAll(selector)].map((each) => {
  const box = each.getBoundingClientRect();
  return [each.textContent, box.left, box.top, box.right, box.bottom];
}).filter(([text, ...box]) => box[2] > box[0]);
const chart = `#chart-${arguments[0]} g.role-mark`;
return [boxes(`${chart}.mark-text text`), boxes(`${chart}.mark-symbol path`)];
"""


def overlap(one, other) -> float:
    """The pixels by which two boxes overlap in their narrower direction."""
    _, left, top, right, bottom = one
    _, other_left, other_top, other_right, other_bottom = other
    across = min(right, other_right) - max(left, other_left)
    return min(across, min(bottom, other_bottom) - max(top, other_top))


@pytest.mark.parametrize("width", [390, 1300])
@pytest.mark.parametrize("num_rows", [2, 10, 60])
def test_labels_overprint_neither_points_nor_one_another(browser, zoo_rows, tmp_path, width, num_rows):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        page = opened(browser, tmp_path / "page.html", list(zoo_rows)[:num_rows])
        for view in VIEWS:
            labels, points = page.execute_script(BOXES, view.name)
            assert len(labels) >= min(num_rows, 5 if width < 600 else 10) / 2
            assert {text for text, *_ in labels} <= {
                name for row in zoo_rows for name in (label(row), str(row.file.precision))
            }
            for place, one in enumerate(labels):
                assert all(overlap(one, other) < 1.5 for other in (*labels[:place], *points))
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_labels_of_few_points_name_every_one(zoo, zoo_rows):
    for name in ("squeezenet", "densenet"):
        click(zoo, f"input[name=family][value={name}]")
    for precision in ("dynamic", "float16", "int16x8"):
        click(zoo, f"input[name=precision][value={precision}]")
    wanted = {row.model.model_name for row in zoo_rows if row.model.family == "mobilenet"}
    told = [text for text, *_ in zoo.execute_script(BOXES, "size-latency")[0]]
    assert sorted(told) == sorted(
        f"{name} {precision}" for name in wanted for precision in ("float32", "int8")
    )


def test_each_machine_has_its_chart_and_all_have_the_same_axes(browser, mixed_rows, mixed_path):
    page = opened(browser, mixed_path, mixed_rows)
    titles = [title.text for title in page.find_elements("css selector", "figure h2")]
    machines = {machine_text(row) for row in mixed_rows if row.latency.valid}
    assert sorted(titles) == sorted([*machines] * len(VIEWS))
    for view in VIEWS:
        domains = [
            page.execute_script(
                "const view = window.report.views[arguments[0]];"
                "return [view.scale('x').domain(), view.scale('y').domain()]",
                name,
            )
            for name in (view.name, f"{view.name}-1")
        ]
        assert domains[0] == domains[1]


def test_points_stand_on_their_intervals(browser, zoo_rows, tmp_path):
    rows = list(zoo_rows)[:4]
    page = opened(browser, tmp_path / "few.html", rows)
    ends = page.execute_script(
        """const view = window.report.views["latency-accuracy"], found = [];
        (function walk(item) {
          if (item.marktype === "rule" && item.role === "mark" && item.name.startsWith("interval_y")) {
            const value = (y) => view.scale("y").invert(y);
            for (const rule of item.items) found.push([value(rule.y), value(rule.y2)]);
            return;
          }
          for (const child of item.items || []) walk(child);
        })(view.scenegraph().root);
        return found;"""
    )
    found = sorted(sorted(each) for each in ends)
    wanted = sorted(
        [row.accuracy.tflite_top1_low, row.accuracy.tflite_top1_high] for row in rows if row.latency.valid
    )
    assert len(found) == len(wanted)
    for interval, expected in zip(found, wanted, strict=True):
        assert interval == pytest.approx(expected, abs=1e-6)


def test_with_every_family_filtered_out_the_page_says_so(zoo):
    for family in ("densenet", "mobilenet", "squeezenet"):
        click(zoo, f"input[name=family][value={family}]")
    assert zoo.find_element("id", "empty").is_displayed()
    assert zoo.execute_script(POINTS, "size-latency") == []
    assert zoo.get_log("browser") == []


@pytest.mark.parametrize(
    ("title", "key", "descending_first"),
    [
        ("Size", lambda row: row.file.size_bytes, False),
        ("Top-1", lambda row: row.accuracy.tflite_top1, True),
        ("Median", lambda row: row.latency.median_ms if row.latency.valid else None, False),
    ],
)
def test_a_click_on_a_heading_sorts_with_not_measured_last(zoo, zoo_rows, title, key, descending_first):
    heading = f'//table[@id="rows"]//th/button[text()="{title}"]'
    for descending in (descending_first, not descending_first):
        zoo.find_element("xpath", heading).click()
        figures = [key(zoo_rows[index]) for index in visible_lines(zoo)]
        present = [figure for figure in figures if figure is not None]
        assert present == sorted(present, reverse=descending)
        assert figures == present + [None] * (len(figures) - len(present))
    state = zoo.find_element("xpath", f"{heading}/..").get_attribute("aria-sort")
    assert state == ("ascending" if descending_first else "descending")


def test_hovering_a_point_tells_its_figures_and_lights_its_line(zoo, zoo_rows):
    from selenium.webdriver import ActionChains

    points = zoo.find_elements("css selector", "#chart-size-latency g.mark-symbol.role-mark path")
    assert len(points) == 55 + sum(row.pareto for row in zoo_rows)
    ActionChains(zoo).move_to_element(points[-1]).perform()
    settle(zoo)
    (lit,) = zoo.find_elements("css selector", "#rows tr.pointed")
    row = zoo_rows[int(lit.get_attribute("data-row"))]
    told = zoo.find_element("id", "vg-tooltip-element").text
    for text in (
        row.model.model_name,
        row.file.precision,
        f"{row.accuracy.tflite_top1:.2f}%",
        row.file.sha256[:12],
        "Xeon 8481C",
    ):
        assert text in told


def test_hostile_names_stay_text(browser, mixed_rows, mixed_path):
    page = opened(browser, mixed_path, mixed_rows)
    assert page.get_log("browser") == []
    hostile = "</script><script>alert(1)</script>"
    names = [cell.text for cell in page.find_elements("css selector", "#rows .name > span:last-child")]
    assert hostile in names
    assert page.execute_script("return document.scripts.length") == 3
    assert_points(page, mixed_rows, every)
    values = [box.get_attribute("value") for box in page.find_elements("css selector", "input[name=family]")]
    assert values == [hostile, "mobilenet", "other"]


def test_hovering_a_hostile_name_keeps_it_text(browser, mixed_rows, tmp_path):
    from selenium.webdriver import ActionChains

    hostile = [row for row in mixed_rows if row.model.model_name.startswith("<")]
    page = opened(browser, tmp_path / "hostile.html", hostile)
    point = page.find_elements("css selector", "#chart-size-latency g.mark-symbol.role-mark path")[-1]
    ActionChains(page).move_to_element(point).perform()
    settle(page)
    assert "</script><script>alert(1)</script>" in page.find_element("id", "vg-tooltip-element").text
    assert page.get_log("browser") == []


def test_several_machines_threads_and_data_sets_can_be_filtered(browser, mixed_rows, mixed_path):
    page = opened(browser, mixed_path, mixed_rows)
    click(page, 'input[name=threads_text][value="1 thread"]')
    assert_points(page, mixed_rows, lambda row: row.conditions.num_threads != 1)
    assert visible_lines(page) == [
        index for index, row in enumerate(mixed_rows) if row.conditions.num_threads != 1
    ]
    fields = {box.get_attribute("name") for box in page.find_elements("css selector", "#filters input")}
    assert fields == {"family", "precision", "dataset_text", "machine_text", "threads_text", "best"}


def test_a_file_without_accuracy_is_drawn_grey_and_only_where_it_has_a_place(browser, mixed_rows, mixed_path):
    page = opened(browser, mixed_path, mixed_rows)
    (index,) = [
        i for i, row in enumerate(mixed_rows) if row.accuracy.tflite_top1 is None and row.latency.valid
    ]
    assert index in [place[0] for place in page.execute_script(POINTS, "size-latency")]
    assert index not in [place[0] for place in page.execute_script(POINTS, "size-accuracy")]
    greys = page.find_elements("css selector", '#chart-size-latency path[fill="#8a8f98"]')
    assert len(greys) == 1
    assert "1 without accuracy" in page.find_element("id", "note-size-accuracy").text
    assert "1 not valid" in page.find_element("id", "note-size-latency").text


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_no_page_is_wider_than_its_window(browser, mixed_rows, mixed_path, width, scheme):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    try:
        page = opened(browser, mixed_path, mixed_rows)
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
        shade = page.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert shade == ("rgb(16, 19, 23)" if scheme == "dark" else "rgb(246, 247, 249)")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_one_row_alone_stands_between_its_axes_figures(browser, zoo_rows, tmp_path):
    one = [next(row for row in zoo_rows if row.latency.valid)]
    page = opened(browser, tmp_path / "one.html", one)
    assert_points(page, one, every)
    low, high = page.execute_script('return window.report.views["size-latency"].scale("y").domain()')
    assert low < one[0].latency.median_ms < high


def test_a_report_without_any_measurement_still_shows_the_table(browser, zoo_rows, tmp_path):
    unmeasured = [row for row in zoo_rows if row.latency.valid is None]
    page = opened(browser, tmp_path / "none.html", unmeasured)
    assert page.get_log("browser") == []
    assert len(visible_lines(page)) == 3
    assert "not measured" in page.find_element("id", "rows").text
    assert "0 points; not drawn: 3 not measured" in page.find_element("id", "note-size-latency").text


def test_a_page_of_thousands_lists_the_best_and_a_sample_a_hundred_lines_at_a_time(
    browser, zoo_rows, tmp_path
):
    rows = ReportRows(zoo_rows.figures * 44, folder=zoo_rows.folder, best=zoo_rows.best)
    page = tmp_path / "many.html"
    write_report(rows, "html", page)
    assert page.stat().st_size < 10_000_000
    opened(browser, page, rows)
    told = browser.find_element("css selector", ".part").text
    assert "2,500 of 2,640 rows" in told
    assert told.endswith("All rows: many_rows.csv")
    beside = csv.DictReader(io.StringIO((tmp_path / "many_rows.csv").read_text()))
    assert len(list(beside)) == 2640
    assert visible_lines(browser) == list(range(100))
    assert len(browser.find_elements("css selector", "#rows tr.best")) == len(zoo_rows.best)
    assert browser.find_element("css selector", "#pager span").text == "1 to 100 of 2,500 rows"
    click(browser, "#pager .next")
    assert visible_lines(browser) == list(range(100, 200))
    click(browser, "input[name=family][value=densenet]")
    assert browser.find_element("css selector", "#pager span").text.startswith("1 to 100 of 1,")
    click(browser, "input[name=best]")
    assert not browser.find_element("id", "pager").is_displayed()
    assert browser.get_log("browser") == []


def picked(browser) -> str:
    return browser.find_element("css selector", "#picked p b").text


def fitting(rows, *, most_ms: float, most_mb: float = 1e9) -> list[ReportRow]:
    return [
        row
        for row in rows
        if row.latency.valid and row.latency.median_ms <= most_ms and row.file.size_bytes <= most_mb * 1e6
    ]


def label(row: ReportRow) -> str:
    return f"{row.model.model_name} {row.file.precision}"


def test_the_sliders_answer_by_keyboard_which_file_wins_under_a_limit(zoo, zoo_rows):
    from selenium.webdriver.common.keys import Keys

    slider = zoo.find_element("id", "pick-median_ms")
    best = max(fitting(zoo_rows, most_ms=1e9), key=lambda row: row.accuracy.tflite_top1)
    told = zoo.find_element("id", "picked").text
    assert label(best) in told
    limits = sorted({row.latency.median_ms for row in fitting(zoo_rows, most_ms=1e9)}, reverse=True)
    for step in range(3):
        slider.send_keys(Keys.ARROW_LEFT)
        names = {label(row) for row in fitting(zoo_rows, most_ms=limits[step])}
        assert picked(zoo) in names
        (line,) = zoo.find_elements("css selector", "#rows tr.chosen")
        assert label(zoo_rows[int(line.get_attribute("data-row"))]) == picked(zoo)
    slider.send_keys(Keys.HOME)
    assert picked(zoo) == label(min(fitting(zoo_rows, most_ms=1e9), key=lambda row: row.latency.median_ms))
    zoo.find_element("id", "pick-tflite_top1").send_keys(Keys.END)
    assert "No file fits. Nearest: " in zoo.find_element("id", "picked").text
    assert zoo.get_log("browser") == []


def test_the_sliders_keep_to_what_the_filters_show(zoo):
    before = picked(zoo)
    click(zoo, f"input[name=family][value={before.split('_')[0]}]")
    assert picked(zoo).split("_")[0] != before.split("_")[0]


def test_settings_that_differ_are_chosen_for_the_sliders(browser, mixed_rows, mixed_path):
    page = opened(browser, mixed_path, mixed_rows)
    options = page.find_elements("css selector", "#pick-setting option")
    assert len(options) == len(
        {
            (row.conditions.machine, row.conditions.num_threads, row.accuracy.dataset)
            for row in mixed_rows
            if row.latency.valid and row.accuracy.tflite_top1 is not None
        }
    )


def test_columns_that_say_the_same_of_every_row_stand_above_the_table(zoo):
    heads = [head.text for head in zoo.find_elements("css selector", "#rows thead th button")]
    above = [name.text for name in zoo.find_elements("css selector", ".conditions dt")]
    assert "Image" in above
    assert "Image" not in heads
    assert heads[:2] == ["Model", "Precision"]
    assert not {"Model", "Precision", "Size", "Top-1", "Median"} & set(above)
