"""The page of a choice, which works offline: the answer on top, then everything that led to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from importlib.resources import files

from pipeline.choose.chart import rung_chart
from pipeline.choose.choice import Choice
from pipeline.choose.drop import Costed
from pipeline.choose.settings import HOST
from pipeline.choose.verdict import Judged, Verdict
from pipeline.choose.words import figures, kit_command, paragraph
from pipeline.records.measurement import Measurement
from pipeline.report.document import document
from pipeline.report.figures import count_text, ms_text, seconds_text, size_text, utc_text
from spelling import counted

TITLE = "Which net to ship"
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
Cell = tuple[str, str]
"""HTML of a cell, and its class."""


def page_text(choice: Choice) -> str:
    """The whole page; all user text is escaped."""
    budget = choice.settings.budget.options or "no budget"
    lede = (
        f"{choice.dataset}, {counted(choice.num_test, 'test image')}; {budget}. "
        f"{counted(len(choice.found.costed), 'candidate')}, {seconds_text(choice.spent_secs)}."
    )
    links = _Links(choice)
    parts = [
        f"<h1>{TITLE}</h1>",
        f'<p class="lede">{escape(lede)}</p>',
        *(_answer(each, links) for each in choice.verdicts),
        *(_lost(target, why) for target, why in choice.lost.items()),
        _finals(choice, links),
        _rungs(choice),
        _predictions(choice),
        _candidates(choice, links),
        _untrained(choice, links),
        _left_out(choice),
        links.table(),
        _footer(),
    ]
    style = files("pipeline.report").joinpath("page.css").read_text(encoding="utf-8")
    style += files("pipeline.choose").joinpath("choose.css").read_text(encoding="utf-8")
    body = f'<div class="page">{"".join(parts)}</div>'
    return document(title=TITLE, policy=POLICY, style=style, body=body)


class _Links:
    """Every measurement has a row at the end of the page, which its figures link to."""

    def __init__(self, choice: Choice) -> None:
        self._rows: dict[str, tuple[str, Measurement]] = {}
        self._untrained: dict[tuple[str, str], str] = {}
        for each in choice.found.costed:
            for target, measured in each.measured.items():
                key = f"u-{len(self._rows)}"
                self._rows[key] = (f"{each.name}, untrained", measured)
                self._untrained[each.name, target] = key
        self._finals: dict[tuple[str, str], str] = {}
        names = {each.sha256: each.name for each in choice.finals}
        for target, by_sha256 in choice.measured.items():
            for sha256, found in by_sha256.items():
                key = f"m-{len(self._rows)}"
                self._rows[key] = (names.get(sha256, sha256[:12]), found.measurement)
                self._finals[sha256, target] = key

    def untrained(self, name: str, target: str, text: str) -> str:
        """The text as a link to the measurement of the untrained file."""
        return _link(self._untrained.get((name, target)), text)

    def final(self, sha256: str, target: str, text: str) -> str:
        """The text as a link to the final measurement."""
        return _link(self._finals.get((sha256, target)), text)

    def table(self) -> str:
        """The measurements with their conditions."""
        rows = []
        for key, (name, found) in self._rows.items():
            runs = f"{found.num_runs} in {counted(found.num_rounds, 'round')}"
            noise = "not known" if found.noise_ms is None else ms_text(found.noise_ms)
            conditions = f"{found.runtime} {found.runtime_version}, {counted(found.num_threads, 'thread')}"
            cells = [
                (escape(name), ""),
                (escape("this machine" if found.where == HOST else found.where), ""),
                (ms_text(found.median_ms), "number"),
                (noise, "number"),
                (escape(runs), "number"),
                (escape("" if found.valid else "; ".join(found.reasons)), "why"),
                (escape(conditions), ""),
                (escape(found.machine), ""),
                (utc_text(found.measured_utc), ""),
                (found.artifact_sha256[:16], "mono"),
            ]
            rows.append((key, cells))
        heads = (
            "File", "Where", "Median", "±", "Runs", "Not valid", "Runtime", "Machine", "Measured", "SHA-256",
        )  # fmt: skip
        return _sheet("Measurements", "± is half the 95% interval of the median.", heads, rows)


def _link(key: str | None, text: str) -> str:
    return escape(text) if key is None else f'<a href="#{key}">{escape(text)}</a>'


def _answer(verdict: Verdict, links: _Links) -> str:
    words = _linked(verdict, links)
    advised = verdict.file(verdict.advised)
    tail = ""
    if advised is not None:
        tail = (
            f"<p>The file: <code>{escape(advised.path)}</code></p>"
            f"<p>For the app: <code>{escape(kit_command(advised))}</code></p>"
        )
    where = "This machine" if verdict.target == HOST else verdict.target
    return f'<section class="answer"><h2>{escape(where)}</h2><p class="verdict">{words}</p>{tail}</section>'


def _linked(verdict: Verdict, links: _Links) -> str:
    """The paragraph, with each file's figures linked to where they are from."""
    words = escape(paragraph(verdict))
    where = "this machine" if verdict.target == HOST else verdict.target
    for each in verdict.judged:
        plain = escape(figures(each, where))
        percent = f"{each.top1:.1f}%"
        linked = plain.replace(percent, f'<a href="#f-{each.sha256[:16]}">{percent}</a>', 1)
        if each.median_ms is not None:
            ms = f"{each.median_ms:.3g} ms"
            linked = linked.replace(f" {ms} ", f" {links.final(each.sha256, verdict.target, ms)} ", 1)
        words = words.replace(plain, linked)
    for more in verdict.more:
        if more.is_predicted:
            name = escape(more.name)
            words = words.replace(name, links.untrained(more.name, verdict.target, more.name), 1)
    return words


def _lost(target: str, why: str) -> str:
    return f'<section class="answer"><h2>{escape(target)}</h2><p>Given up: {escape(why)}</p></section>'


def _finals(choice: Choice, links: _Links) -> str:
    rows = []
    for verdict in choice.verdicts:
        for each in verdict.judged:
            rows.append((f"f-{each.sha256[:16]}", _final_cells(each, verdict, links)))
    heads = ("File", "Where", "Top-1", "95% interval", "p", "Latency", "±", "Size", "Untrained", "Verdict")
    note = (
        "Top-1 of the exported file on the test images. p: McNemar's exact test against the most accurate "
        "file within the budget; below 0.05 they differ. Latencies were measured in turns."
    )
    return _sheet("Judged files", note, heads, rows)


def _final_cells(each: Judged, verdict: Verdict, links: _Links) -> list[Cell]:
    ms = links.final(each.sha256, verdict.target, ms_text(each.median_ms))
    untrained = "not measured" if each.untrained_ms is None else ms_text(each.untrained_ms)
    before = links.untrained(each.name, verdict.target, untrained)
    return [
        (escape(each.name), ""),
        (escape("this machine" if verdict.target == HOST else verdict.target), ""),
        (f"{each.top1:.1f}% of {each.num_images:,}", "number"),
        (f"{each.low:.1f} to {each.high:.1f}", "number"),
        ("" if each.accuracy_p is None else f"{each.accuracy_p:.2g}", "number"),
        (ms, "number"),
        ("" if each.noise_ms is None else ms_text(each.noise_ms), "number"),
        (size_text(each.size_bytes), "number"),
        (before, "number"),
        (escape(_verdict_words(each, verdict)), "why"),
    ]


def _verdict_words(each: Judged, verdict: Verdict) -> str:
    if not each.fate.is_in:
        return each.fate.why
    words = []
    if each.name == verdict.advised:
        words.append("advised")
    if each.name == verdict.winner:
        words.append("most accurate")
    elif each.is_tied:
        words.append("not distinguishable from the most accurate")
    elif each.accuracy_p is not None and each.accuracy_p < 0.05:
        words.append("less accurate")
    elif each.slower_than_noise:
        words.append("slower, and not more accurate")
    if each.differs:
        words.append("its latency differs from the untrained file's by more than the noise")
    return "; ".join([*words, *filter(None, [each.fate.why])])


def _rungs(choice: Choice) -> str:
    families = {each.candidate.net.name: each.candidate.net.family for each in choice.found.costed}
    drawn = []
    for rung in choice.rungs:
        chart = rung_chart(rung, families, choice.found.macs)
        title = f"After {counted(rung.epochs, 'epoch')}: {counted(len(rung.trained), 'net')} trained"
        drawn.append(
            f"<figure><figcaption><h2>{escape(title)}</h2><p>Validation top-1. Filled: trained. Hollow: "
            f"predicted, with its 95% interval.</p></figcaption>{chart}</figure>"
        )
    return f'<div class="charts">{"".join(drawn)}</div>' if drawn else ""


def _predictions(choice: Choice) -> str:
    rows, inside, num = [], 0, 0
    for rung in choice.rungs:
        for name, predicted in rung.predicted_before.items():
            truth = rung.trained.get(name)
            off, held = "", "not trained"
            if truth is not None:
                held = "inside" if predicted.low <= truth <= predicted.high else "outside"
                off = f"{truth - predicted.top1:+.1f}"
                inside, num = inside + (held == "inside"), num + 1
            cells = [
                (escape(name), ""),
                (f"{predicted.top1:.1f}%", "number"),
                (f"{predicted.low:.1f} to {predicted.high:.1f}", "number"),
                ("" if truth is None else f"{truth:.1f}%", "number"),
                (off, "number"),
                (held, ""),
            ]
            rows.append(("", cells))
    if not rows:
        return ""
    note = f"{inside} of {counted(num, 'prediction')} that came to a test held the measured figure."
    heads = ("Net", "Predicted", "95% interval", "Measured", "Off by", "")
    return _sheet("Predictions, and how right they were", note, heads, rows)


def _candidates(choice: Choice, links: _Links) -> str:
    rows = []
    for each in sorted(
        choice.found.costed, key=lambda each: (each.candidate.net.family, each.macs, each.name)
    ):
        for target, fates in choice.found.fates.items():
            rows.append(("", _candidate_cells(each, target, fates[each.name].why, choice, links)))
    heads = ("Candidate", "Where", "Mult-adds", "Size", "Latency", "Trained", "Fate")
    note = "Size and latency were measured on files with random weights: both depend on shapes alone."
    return _sheet("Every candidate", note, heads, rows)


def _candidate_cells(each: Costed, target: str, why: str, choice: Choice, links: _Links) -> list[Cell]:
    net = each.candidate.net.name
    tops = [f"{rung.trained[net]:.1f}%" for rung in choice.rungs if net in rung.trained]
    found = each.measured.get(target)
    latency = links.untrained(each.name, target, ms_text(found.median_ms if found else None))
    size = size_text(each.size_bytes)
    if each.size_of_classes is not None:
        size += f", from the file with {each.size_of_classes} classes"
    whys = [choice.found.not_measured.get(each.name) or why]
    whys += [rung.dropped.get(net, "") or rung.left_out.get(net, "") for rung in choice.rungs]
    return [
        (escape(each.name), ""),
        (escape("this machine" if target == HOST else target), ""),
        (count_text(each.macs), "number"),
        (escape(size), "number"),
        (latency, "number"),
        (escape(", ".join(tops)), "number"),
        (escape("; ".join(dict.fromkeys(filter(None, whys))) or "judged"), "why"),
    ]


def _untrained(choice: Choice, links: _Links) -> str:
    changed = [
        (each, verdict.target) for verdict in choice.verdicts for each in verdict.judged if each.differs
    ]
    if not changed:
        return ""
    rows = [
        (
            "",
            [
                (escape(each.name), ""),
                (links.untrained(each.name, target, ms_text(each.untrained_ms)), "number"),
                (links.final(each.sha256, target, ms_text(each.median_ms)), "number"),
                (f"{(each.median_ms or 0) / (each.untrained_ms or 1):.2f}", "number"),
            ],
        )
        for each, target in changed
    ]
    note = "The two were measured in two sessions, between which a machine may drift by more than within one."
    return _sheet(
        "Latency that differs from the untrained file's",
        note,
        ("File", "Untrained", "Trained", "Ratio"),
        rows,
    )


def _left_out(choice: Choice) -> str:
    every = {**choice.found.without_weights, **choice.left_out}
    rows = [("", [(escape(name), ""), (escape(why), "why")]) for name, why in every.items()]
    return _sheet("Left out", "", ("Net", "Why"), rows) if rows else ""


def _sheet(title: str, note: str, heads: Sequence[str], rows: Iterable[tuple[str, Sequence[Cell]]]) -> str:
    numbers: Mapping[int, bool] = {}
    body = []
    for key, cells in rows:
        numbers = numbers or {place: kind == "number" for place, (_, kind) in enumerate(cells)}
        anchor = f' id="{key}"' if key else ""
        first, *others = cells
        row = "".join(
            f'<td class="{kind}">{text}</td>' if kind else f"<td>{text}</td>" for text, kind in others
        )
        body.append(f"<tr{anchor}><th>{first[0]}</th>{row}</tr>")
    head = "".join(
        f'<th class="number">{escape(text)}</th>' if numbers.get(place) else f"<th>{escape(text)}</th>"
        for place, text in enumerate(heads)
    )
    said = f"<p>{escape(note)}</p>" if note else ""
    return (
        f'<section class="sheet"><header><h2>{escape(title)}</h2></header>{said}<div class="table-wrap">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div></section>"
    )


def _footer() -> str:
    written = utc_text(datetime.now(UTC).isoformat(timespec="seconds"))
    by = f"keras-mobile-pipeline {version('keras-mobile-pipeline')}"
    return f"<footer><p>Written {written} by {by}.</p></footer>"
