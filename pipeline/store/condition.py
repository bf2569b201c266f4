"""Conditions on a report's rows, as they are typed: `precision=int8`, `device~Pixel`, `top1>=80`.

A condition becomes SQL of a known column, a known operator and a bound value; nothing typed becomes SQL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

from pipeline.errors import UsageError, unknown_name
from pipeline.records.report_row import PARTS

NOT_IN_SQL = {"knobs", "session"}
SHORT_NAMES = {
    "model": "model_name",
    "top1": "tflite_top1",
    "drop": "drop_points",
    "median": "median_ms",
    "latency": "median_ms",
    "size": "size_bytes",
    "threads": "num_threads",
}
DEVICE = "device"
"""A phone's name and its chip, or the host's processor."""
UNITS = {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "ms": 1.0, "s": 1e3, "%": 1.0, "": 1.0}
KINDS = {
    field.name: str(field.type)
    for part in PARTS.values()
    for field in fields(part)
    if field.name not in NOT_IN_SQL
}
"""Column -> the type of its figure."""
WRITTEN = re.compile(r"\s*(\w+)\s*(!=|>=|<=|=|>|<|~)\s*(.*?)\s*", re.DOTALL)
HOW = "such as precision=int8, device~Pixel or 'top1>=80'"


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One condition in SQL: `sql` has a question mark for each value."""

    sql: str
    values: tuple[object, ...]


def condition_from(text: str) -> Condition:
    """The condition that was typed. Raises UsageError, of one line."""
    found = WRITTEN.fullmatch(text)
    if found is None:
        raise UsageError(
            f"--where {text!r} is no condition. Give COLUMN, one of = != ~ < <= > >=, VALUE, {HOW}."
        )
    name, operator, value = found.groups()
    column = SHORT_NAMES.get(name, name)
    if column == DEVICE:
        return _of_text("(coalesce(\"where\", '') || ' ' || coalesce(machine, ''))", operator, value, text)
    if column not in KINDS:
        raise unknown_name("column of --where", name, {*KINDS, *SHORT_NAMES, DEVICE})
    quoted = f'"{column}"'
    if value.lower() == "none" and operator in ("=", "!="):
        return Condition(sql=f"{quoted} IS {'NOT ' if operator == '!=' else ''}NULL", values=())
    kind = KINDS[column]
    if "bool" in kind:
        return _of_bool(quoted, operator, value, text)
    if "float" in kind or "int" in kind:
        return _of_number(column, operator, value, text)
    return _of_text(quoted, operator, value, text)


def since_from(text: str, now: datetime | None = None) -> Condition:
    """The condition of `--since`: a day, a time, or how long ago, such as 7d or 12h. Raises UsageError."""
    ago = re.fullmatch(r"(\d{1,5})([hdw])", text.strip())
    try:
        if ago:
            hours = int(ago[1]) * {"h": 1, "d": 24, "w": 168}[ago[2]]
            start = (now or datetime.now(UTC)) - timedelta(hours=hours)
        else:
            start = datetime.fromisoformat(text.strip())
            start = (start if start.tzinfo else start.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"--since {text!r} is no time. Give a day (2026-11-23), a time (2026-11-23T10:00), or how long "
            "ago (12h, 7d, 4w)."
        ) from error
    utc = start.isoformat(timespec="seconds")
    return Condition(sql="(measured_utc >= ? OR verified_utc >= ?)", values=(utc, utc))


def _of_bool(quoted: str, operator: str, value: str, text: str) -> Condition:
    words = {"true": 1, "yes": 1, "1": 1, "false": 0, "no": 0, "0": 0}
    if operator not in ("=", "!=") or value.lower() not in words:
        raise UsageError(
            f"--where {text!r}: this column is true or false. Write {quoted[1:-1]}=true, or =false."
        )
    return Condition(sql=f"{quoted} {_sql(operator)} ?", values=(words[value.lower()],))


def _of_number(column: str, operator: str, value: str, text: str) -> Condition:
    found = re.fullmatch(r"(-?\d+(?:\.\d+)?(?:e[-+]?\d+)?)\s*([a-z%]*)", value.lower())
    if operator == "~" or found is None or found[2] not in UNITS:
        raise UsageError(
            f"--where {text!r}: {column} is a number. Compare it with = != < <= > >= and a number, {HOW}."
        )
    number = float(found[1]) * UNITS[found[2]]
    is_percent = column.endswith("top1") or column.endswith("agreement")
    if is_percent and 0 < abs(number) < 1 and found[2] != "%":
        raise UsageError(
            f"--where {text!r}: {column} is in percent. Write {100 * number:g} for {100 * number:g}%, "
            f"or {value}%."
        )
    return Condition(sql=f'"{column}" {_sql(operator)} ?', values=(number,))


def _of_text(quoted: str, operator: str, value: str, text: str) -> Condition:
    if operator == "~":
        return Condition(sql=f"instr(lower({quoted}), lower(?)) > 0", values=(value,))
    if operator in ("=", "!="):
        return Condition(sql=f"{quoted} {_sql(operator)} ? COLLATE NOCASE", values=(value,))
    if quoted.endswith('_utc"'):
        return Condition(sql=f"{quoted} {operator} ?", values=(value,))
    raise UsageError(f"--where {text!r}: this column is text. Compare it with =, != or ~ (contains), {HOW}.")


def _sql(operator: str) -> str:
    """The operator; what is not measured differs from every value."""
    return {"=": "IS", "!=": "IS NOT"}.get(operator, operator)
