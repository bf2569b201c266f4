"""The columns that the terminal, Markdown and HTML tables share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from export.check.paired import CHANCE_P
from pipeline.records.report_row import ReportedModel, ReportRow
from pipeline.report import figures
from pipeline.report.conditions import CONDITIONS, differing, top1_text
from pipeline.report.figures import NOT_MEASURED
from pipeline.store.rows import ReportRows

Key = float | str | None
"""A sort key; None comes last."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A table's column: heading, text and sort key."""

    title: str
    text: Callable[[ReportRow], str]
    key: Callable[[ReportRow], Key]
    numeric: bool = True
    descending: bool = False
    """Whether larger is better, so that it sorts in descending order first."""
    explained: str = ""
    """One line that explains the heading."""


def _median(row: ReportRow) -> str:
    found = row.latency
    return "invalid" if found.valid is False else figures.latency_text(found.median_ms, found.avg_ms)


def _middle_ms(row: ReportRow) -> float | None:
    found = row.latency
    if not found.valid:
        return None
    return found.avg_ms if found.median_ms is None else found.median_ms


def change_text(row: ReportRow) -> str:
    """'-0.30 (noise)' for a change that chance alone would often make."""
    text, p = figures.points_text(row.accuracy.drop_points), row.accuracy.drop_p
    return f"{text} (noise)" if p is not None and p >= CHANCE_P and row.accuracy.drop_points else text


def _image(model: ReportedModel) -> str:
    """Such as '160 px', or '128 x 96 px grey': height, width and colours, where they are unusual."""
    if model.image_size is None:
        return figures.DASH
    sides = dict.fromkeys([model.image_size, model.image_width or model.image_size])
    return f"{' x '.join(map(str, sides))} px" + (" grey" if model.image_channels == 1 else "")


def _short(sha256: str) -> str:
    return sha256[:8]


MODEL = Column(
    title="Model",
    text=lambda row: row.model.model_name,
    key=lambda row: row.model.model_name.lower(),
    numeric=False,
)
PRECISION = Column(
    title="Precision",
    text=lambda row: row.file.precision or figures.DASH,
    key=lambda row: row.file.precision,
    numeric=False,
)
SIZE = Column(
    title="Size",
    text=lambda row: figures.size_text(row.file.size_bytes),
    key=lambda row: row.file.size_bytes,
    explained="Bytes of the .tflite file; 1 MB is 1,000,000 bytes",
)
DOWNLOADED = Column(
    title="Download",
    text=lambda row: figures.size_text(row.file.downloaded_bytes),
    key=lambda row: row.file.downloaded_bytes,
    explained="The same compressed with brotli, as app stores send it: pruning and clustering show here",
)
TOP1 = Column(
    title="Top-1",
    text=top1_text,
    key=lambda row: row.accuracy.tflite_top1,
    descending=True,
    explained="Of the exported file itself, on the test split unless another is named",
)
INTERVAL = Column(
    title="95% interval",
    text=lambda row: figures.interval_text(row.accuracy.tflite_top1_low, row.accuracy.tflite_top1_high),
    key=lambda row: row.accuracy.tflite_top1_low,
    descending=True,
    explained="Of Top-1: what so many images leave open (Wilson's interval)",
)
CHANGE = Column(
    title="Change",
    text=lambda row: change_text(row),
    key=lambda row: None if row.accuracy.drop_points is None else -row.accuracy.drop_points,
    descending=True,
    explained="Top-1 of the file less that of the Keras model, percentage points; noise: chance alone would "
    "often do it (McNemar's exact test)",
)
AGREEMENT = Column(
    title="Agree",
    text=lambda row: figures.percent_text(row.accuracy.agreement),
    key=lambda row: row.accuracy.agreement,
    descending=True,
    explained="Images on which the file and the Keras model give the same label",
)
MEDIAN = Column(
    title="Median",
    text=_median,
    key=_middle_ms,
    explained="Latency of one image",
)
SPREAD = Column(
    title="p5–p95",
    text=lambda row: figures.range_text(row.latency.p5_ms, row.latency.p95_ms),
    key=lambda row: row.latency.p5_ms,
    explained="Nine of ten runs lie between",
)
FIRST = Column(
    title="First run",
    text=lambda row: figures.ms_text(row.latency.first_ms),
    key=lambda row: row.latency.first_ms,
    explained="The first inference after initialisation",
)
INIT = Column(
    title="Init",
    text=lambda row: figures.ms_text(row.latency.init_ms),
    key=lambda row: row.latency.init_ms,
    explained="From reading the file to allocated tensors",
)
MEMORY = Column(
    title="Memory",
    text=lambda row: figures.size_text(row.latency.peak_memory_bytes),
    key=lambda row: row.latency.peak_memory_bytes,
    explained="Growth of the process's peak resident memory",
)
PARAMETERS = Column(
    title="Params",
    text=lambda row: figures.count_text(row.model.parameters),
    key=lambda row: row.model.parameters,
)
MACS = Column(
    title="MACs",
    text=lambda row: figures.count_text(row.model.macs),
    key=lambda row: row.model.macs,
    explained="Multiply-accumulates of one image",
)
IMAGE = Column(
    title="Image",
    text=lambda row: _image(row.model),
    key=lambda row: row.model.image_size,
)
RUN = Column(
    title="Run", text=lambda row: row.file.run or figures.DASH, key=lambda row: row.file.run, numeric=False
)
SHA256 = Column(
    title="sha256", text=lambda row: _short(row.file.sha256), key=lambda row: row.file.sha256, numeric=False
)

SHORT = (MODEL, PRECISION, SIZE, TOP1, INTERVAL, CHANGE, MEDIAN, SPREAD, MEMORY)
"""The columns that fit into a terminal."""
ALL = (
    MODEL,
    PRECISION,
    IMAGE,
    SIZE,
    DOWNLOADED,
    TOP1,
    INTERVAL,
    CHANGE,
    AGREEMENT,
    MEDIAN,
    SPREAD,
    FIRST,
    INIT,
    MEMORY,
    PARAMETERS,
    MACS,
)
TRACE = (RUN, SHA256)


AVERAGE_PRECISION = Column(
    title="mAP",
    text=lambda row: _average_precision(row),
    key=lambda row: row.accuracy.tflite_average_precision,
    descending=True,
    explained="Mean average precision over the labels of several sigmoids, of which a top-1 says nothing; in "
    "brackets its change from the Keras model, percentage points",
)
ON_PHONE = Column(
    title="On phone",
    text=lambda row: _on_phone(row),
    key=lambda row: row.answers.phone_agreement,
    explained="Top-1 or mAP on the phone itself, and how often it gives the label that the host gives",
)


def label_columns(rows: ReportRows) -> tuple[Column, ...]:
    """The column of mAP, if a file has several sigmoids."""
    is_known = any(each is not None for each in rows.column("tflite_average_precision"))
    return (AVERAGE_PRECISION,) if is_known else ()


def condition_columns(rows: Sequence[ReportRow]) -> tuple[Column, ...]:
    """A column for each condition that differs, after mAP and the phones' agreement, if there are any."""
    rows = ReportRows.of(rows)
    on_phone = (ON_PHONE,) if any(row.answers.phone_agreement is not None for row in rows.kinds) else ()
    return (*label_columns(rows), *on_phone, *(_condition(name) for name in differing(rows)))


def page_columns(rows: Sequence[ReportRow]) -> tuple[Column, ...]:
    """The page's columns: what tells two rows apart and the figures that decide come first."""
    rows = ReportRows.of(rows)
    conditions = condition_columns(rows)
    threads = tuple(column for column in conditions if column.title == "Threads")
    precisions = label_columns(rows)
    others = tuple(column for column in conditions if column not in (*threads, *precisions))
    first = (MODEL, PRECISION, *threads, SIZE, TOP1, *precisions, INTERVAL, MEDIAN, SPREAD)
    return (*first, *others, *(column for column in ALL if column not in first), *TRACE)


def shared_columns(rows: Sequence[ReportRow], columns: Sequence[Column]) -> dict[Column, str]:
    """The columns that say the same of every row, with what they say; those that decide never do."""
    kept = (MODEL, PRECISION, SIZE, TOP1, MEDIAN)
    if len(rows) < 2:
        return {}
    found = {column: {column.text(row) for row in rows} for column in columns if column not in kept}
    return {column: texts.pop() for column, texts in found.items() if len(texts) == 1}


def _condition(name: str) -> Column:
    read = CONDITIONS[name]
    if name == "Threads":
        return Column(
            title=name,
            text=lambda row: (
                NOT_MEASURED if row.conditions.num_threads is None else str(row.conditions.num_threads)
            ),
            key=lambda row: row.conditions.num_threads,
        )
    return Column(title=name, text=lambda row: read(row) or NOT_MEASURED, key=read, numeric=False)


def _on_phone(row: ReportRow) -> str:
    if row.answers.phone_agreement is None:
        return NOT_MEASURED
    score = figures.percent_text(row.answers.phone_top1)
    if row.answers.phone_average_precision is not None:
        score = f"mAP {figures.percent_text(row.answers.phone_average_precision)}"
    return f"{score}, agrees on {row.answers.phone_agreement:.0f}% of {row.answers.phone_samples}"


def _average_precision(row: ReportRow) -> str:
    file, keras = row.accuracy.tflite_average_precision, row.accuracy.keras_average_precision
    if file is None or keras is None:
        return figures.percent_text(file)
    return f"{figures.percent_text(file)} ({figures.points_text(keras - file)})"
