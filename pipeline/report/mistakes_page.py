"""The page of one file: what it gets wrong, and how far its confidence can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path

from export.check.predictions import Side
from export.precisions import Precision
from pipeline.records.interval import wilson_interval
from pipeline.records.report_row import ReportRow
from pipeline.report import confusion
from pipeline.report.confusion import Bin
from pipeline.report.document import document
from pipeline.report.figures import interval_text, percent_text
from pipeline.report.thumbnails import drawn, thumbnail
from pipeline.store.predictions import KeptPredictions
from pipeline.terminal import printable
from spelling import counted

MOST_IN_MATRIX = 100
"""Classes of a matrix; of more only the pairs most often confused are shown."""
MOST_PAIRS = 15
MOST_MISTAKES = 24
MOST_DISAGREEMENTS = 12
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What a file is compared with, image by image."""

    name: str
    """Such as 'Keras' or 'float32'."""
    side: Side


def mistakes_page(
    row: ReportRow, kept: KeptPredictions, others: Sequence[Compared], *, report_name: str
) -> str:
    """The whole page, which works offline; all user text is escaped. `report_name`: the report's file."""
    title = f"{row.model.model_name} {row.file.precision or ''}".strip()
    parts = [
        f'<nav><a href="../{escape(report_name)}">All files</a></nav>',
        f"<h1>{escape(title)}</h1>",
        f'<p class="lede">{escape(_lede(kept))}</p>',
        _changes(kept, others),
        _matrix(kept),
        '<div class="columns">',
        _pairs(kept),
        _classes(kept),
        "</div>",
        _reliability(kept),
        _mistakes(kept),
        *(_disagreements(kept, other) for other in others[-1:]),
        _footer(row),
    ]
    style = "\n".join(
        files("pipeline.report").joinpath(name).read_text(encoding="utf-8")
        for name in ("page.css", "mistakes.css")
    )
    content = printable("\n".join(part for part in parts if part))
    body = f'<div class="page mistakes">\n{content}\n</div>'
    return document(title=printable(title), policy=POLICY, style=style, body=body)


def _footer(row: ReportRow) -> str:
    path = escape(row.file.path or "")
    return f'<footer><p>{path}</p><p class="mono">sha256 {row.file.sha256}</p></footer>'


def _lede(kept: KeptPredictions) -> str:
    right = confusion.right_of(kept.found, kept.found.file)
    share, number = 100 * float(right.mean()), kept.num_images
    low, high = wilson_interval(share, number) or (0.0, 100.0)
    what = "of which all labels are right" if kept.is_of_labels else "right"
    images = counted(number, f"{kept.split} image")
    return (
        f"{int(right.sum()):,} of {images} of {kept.dataset} {what}: {share:.2f}%; "
        f"95% interval {interval_text(low, high)}."
    )


def _changes(kept: KeptPredictions, others: Sequence[Compared]) -> str:
    lines = []
    for other in others:
        change = confusion.paired_change(kept, other.side)
        if change is not None:
            lines.append(f"It {change.against(other.name)} (McNemar's exact test).")
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def _matrix(kept: KeptPredictions) -> str:
    if kept.is_of_labels:
        return "<p>Each label is its own yes or no, so there is no confusion matrix.</p>"
    if len(kept.class_names) > MOST_IN_MATRIX:
        return ""
    matrix = confusion.confusion_matrix(kept)
    matrix = matrix if matrix[:, -1].any() else matrix[:, :-1]
    names = [*kept.class_names, "no number"][: matrix.shape[1]]
    head = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in names)
    lines = []
    for truth, cells in enumerate(matrix.tolist()):
        total = sum(cells) or 1
        inner = "".join(
            _cell(cell, cell / total, kept.class_names[truth], names[label], is_right=truth == label)
            for label, cell in enumerate(cells)
        )
        lines.append(f'<tr><th scope="row">{escape(kept.class_names[truth])}</th>{inner}</tr>')
    return _section(
        "Confusion matrix",
        "A line is a true class, a column what the file says; darker is a larger share of the line",
        f'<div class="table-wrap" tabindex="0" role="region" aria-label="Confusion matrix">'
        f'<table class="matrix"><thead><tr><td></td>{head}</tr></thead><tbody>{"".join(lines)}</tbody>'
        "</table></div>",
    )


def _cell(count: int, share: float, truth: str, label: str, *, is_right: bool) -> str:
    if not count:
        return "<td></td>"
    kind = "right" if is_right else "wrong"
    title = escape(f"{truth} taken for {label}: {count:,}, {100 * share:.1f}%")
    return f'<td class="{kind}" style="--share:{100 * share:.0f}%" title="{title}">{count:,}</td>'


def _pairs(kept: KeptPredictions) -> str:
    if kept.is_of_labels:
        return ""
    pairs = confusion.confused_pairs(kept)
    if not pairs:
        return _section("Most often confused", "", "<p>No two classes are confused.</p>")
    figures = confusion.class_figures(kept)
    lines = [
        (
            kept.class_names[each.truth],
            kept.class_names[each.label],
            f"{each.count:,}",
            percent_text(100 * each.count / figures[each.truth].count),
        )
        for each in pairs[:MOST_PAIRS]
    ]
    note = f"{MOST_PAIRS} of {len(pairs):,} pairs" if len(pairs) > MOST_PAIRS else ""
    return _section(
        "Most often confused", note, _table(("Class", "Taken for", "Images", "Of the class"), lines)
    )


def _classes(kept: KeptPredictions) -> str:
    lines = [
        (each.name, f"{each.count:,}", _percent(each.recall), _percent(each.precision))
        for each in sorted(
            confusion.class_figures(kept), key=lambda each: 101 if each.recall is None else each.recall
        )
    ]
    what = "Label" if kept.is_of_labels else "Class"
    return _section(
        f"Each {what.lower()}",
        "Recall: the share found; precision: the share of those called so that are",
        _table((what, "Images", "Recall", "Precision"), lines),
    )


def _reliability(kept: KeptPredictions) -> str:
    if kept.is_of_labels:
        return ""
    bins = confusion.reliability(kept)
    error = confusion.calibration_error(bins)
    if error is None:
        return ""
    lines = [
        (
            f"{100 * each.low:.0f}–{100 * each.high:.0f}%",
            f"{each.count:,}",
            percent_text(100 * each.probability),
            percent_text(100 * each.share_right),
        )
        for each in bins
    ]
    head = ("Probability", "Images", "Mean", "Right")
    return _section(
        "Can its confidence be believed?",
        f"Expected calibration error {100 * error:.1f} points: the mean gap of probability and share right",
        f'<div class="columns">{_curve(bins)}{_table(head, lines)}</div>',
    )


def _curve(bins: Sequence[Bin]) -> str:
    """Bars of the share right over the probability, and the diagonal of a file that is right as often as it
    is sure.
    """
    bars = "".join(
        f'<rect x="{100 * each.low + 0.6:.1f}" y="{100 - 100 * each.share_right:.1f}" '
        f'width="{100 * (each.high - each.low) - 1.2:.1f}" height="{100 * each.share_right:.1f}">'
        f"<title>{each.count:,} images: {100 * each.share_right:.1f}% right</title></rect>"
        f'<circle cx="{100 * each.probability:.1f}" cy="{100 - 100 * each.share_right:.1f}" r="1.3"/>'
        for each in bins
    )
    return (
        '<svg class="curve" viewBox="-13 -4 118 118" role="img" aria-label="Share right over probability">'
        '<path class="axis" d="M0 0V100H100"/><path class="diagonal" d="M0 100L100 0"/>'
        f"{bars}"
        '<text x="-2" y="3" text-anchor="end">100%</text><text x="-2" y="101" text-anchor="end">0</text>'
        '<text x="100" y="107" text-anchor="end">100%</text>'
        '<text x="50" y="112" text-anchor="middle">probability of the answer</text>'
        '<text x="-7" y="50" text-anchor="middle" transform="rotate(-90 -7 50)">share right</text></svg>'
    )


def _mistakes(kept: KeptPredictions) -> str:
    places = confusion.confident_mistakes(kept, MOST_MISTAKES)
    if not places:
        return _section("Mistakes", "", "<p>None on these images.</p>")
    wrong = int((~confusion.right_of(kept.found, kept.found.file)).sum())
    note = (
        f"The {len(places)} surest of {wrong:,}"
        if wrong > len(places)
        else f"All {wrong:,}, the surest first"
    )
    cards = [_card(kept, place, _says(kept, kept.found.file, place)) for place in places]
    return _section("Most confident mistakes", note, _gallery(cards))


def _disagreements(kept: KeptPredictions, other: Compared) -> str:
    places = confusion.disagreements(kept, other.side)
    title = f"Where it disagrees with {other.name}"
    if not places:
        return _section(title, "", f"<p>Both give the same answer to all {kept.num_images:,} images.</p>")
    cards = [
        _card(
            kept,
            place,
            f"{_says(kept, kept.found.file, place)}; {other.name}: {_says(kept, other.side, place)}",
        )
        for place in places[:MOST_DISAGREEMENTS]
    ]
    note = f"{len(places):,} of {counted(kept.num_images, 'image')}"
    note += f"; the {len(cards)} surest" if len(cards) < len(places) else ""
    return _section(title, note, _gallery(cards))


def _says(kept: KeptPredictions, side: Side, place: int) -> str:
    if side.said is not None:
        return _labels(kept, side.said[place].tolist())
    if side.label[place] < 0:
        return "no number"
    return f"{kept.class_names[side.label[place]]} {100 * side.probability[place]:.1f}%"


def _labels(kept: KeptPredictions, held: Sequence[bool]) -> str:
    return ", ".join(name for name, holds in zip(kept.class_names, held, strict=True) if holds) or "none"


def _card(kept: KeptPredictions, place: int, says: str) -> str:
    """A picture with its true class and what is said of it."""
    held = kept.found.held
    truth = kept.class_names[kept.found.truth[place]] if held is None else _labels(kept, held[place].tolist())
    name = kept.images[place] if kept.images else f"image {place}"
    stored = kept.pictures.get(place)
    source = drawn(stored) if stored is not None else thumbnail(name) if kept.images else ""
    if source:
        picture = f'<img src="{source}" alt="{escape(Path(name).name)}" loading="lazy">'
    else:
        why = "no longer at its path" if Path(name).is_absolute() else "part of an array"
        picture = f'<div class="absent">{escape(Path(name).name)}<small>{why}</small></div>'
    words = f"<p><b>{escape(truth)}</b> <span>said {escape(says)}</span></p>"
    return f'<li title="{escape(name)}">{picture}{words}</li>'


def _gallery(cards: Sequence[str]) -> str:
    return f'<ul class="gallery">{"".join(cards)}</ul>'


def _section(title: str, note: str, content: str) -> str:
    header = f"<header><h2>{escape(title)}</h2><p>{escape(note)}</p></header>"
    return f'<section class="sheet">{header}{content}</section>'


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table whose cells that begin with a digit, and their heads, are right-aligned."""
    numeric = [
        all(line[place][:1].isdigit() or line[place] == "–" for line in lines) for place in range(len(heads))
    ]
    numeric[0] = False

    def row(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=number' if numeric[place] else ''}>{escape(cell)}</{tag}>"
            for place, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{row(line, 'td')}</tr>" for line in lines)
    return (
        f'<div class="table-wrap" tabindex="0"><table><thead><tr>{row(heads, "th")}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1f}%"


def compared_with(
    kept: KeptPredictions, float32: KeptPredictions | None, precision: str | None
) -> list[Compared]:
    """What a file's page compares it with: its Keras model and, of the same images, the float32 file."""
    found = [] if kept.found.keras is None else [Compared(name="Keras", side=kept.found.keras)]
    if float32 is None or precision == Precision.FLOAT32:
        return found
    if confusion.are_of_the_same_images(kept, float32):
        found.append(Compared(name="float32", side=float32.found.file))
    return found
