"""Figures as text: three significant digits and a unit. Standard library only."""

from __future__ import annotations

NOT_MEASURED = "not measured"
DASH = "–"


def size_text(size_bytes: float | None) -> str:
    """'1.01 MB'; decimal units, like app stores and phones."""
    if size_bytes is None:
        return NOT_MEASURED
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size_bytes >= factor:
            return f"{three_digits(size_bytes / factor)} {unit}"
    return f"{size_bytes:.0f} B"


def count_text(count: float | None) -> str:
    """'4.23 M': parameters and multiply-accumulates."""
    if count is None:
        return NOT_MEASURED
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= factor:
            return f"{three_digits(count / factor)} {unit}"
    return f"{count:.0f}"


def ms_text(ms: float | None) -> str:
    """'1.23 ms'."""
    return NOT_MEASURED if ms is None else f"{three_digits(ms)} ms"


def latency_text(median_ms: float | None, avg_ms: float | None) -> str:
    """The median; '1.23 ms (average)' where the tool gave no median."""
    if median_ms is None and avg_ms is not None:
        return f"{ms_text(avg_ms)} (average)"
    return ms_text(median_ms)


def percent_text(percent: float | None) -> str:
    """'93.90%'."""
    return NOT_MEASURED if percent is None else f"{percent:.2f}%"


def interval_text(low: float | None, high: float | None) -> str:
    """'87.4–97.1%'."""
    return NOT_MEASURED if low is None or high is None else f"{low:.1f}–{high:.1f}%"


def points_text(points: float | None) -> str:
    """'-0.50': the change of the exported file's accuracy in percentage points, negative for a loss."""
    if points is None:
        return NOT_MEASURED
    text = f"{-points:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text


def seconds_text(seconds: float) -> str:
    """'45 s', '5 min 46 s', '2 h 05 min'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def utc_text(utc: str | None) -> str:
    """'2026-11-23 10:08 UTC' from an ISO time."""
    return NOT_MEASURED if utc is None else f"{utc[:16].replace('T', ' ')} UTC"


def range_text(low: float | None, high: float | None) -> str:
    """'1.21-1.31 ms'."""
    if low is None or high is None:
        return NOT_MEASURED
    return f"{three_digits(low)}–{three_digits(high)} ms"


def three_digits(value: float) -> str:
    """0.0123, 1.23, 12.3, 123, 1234: without an exponent, and with all digits before the decimal point."""
    if value == 0:
        return "0"
    magnitude = abs(value)
    decimals = 2
    while magnitude < 1 and decimals < 8:
        magnitude *= 10
        decimals += 1
    if magnitude >= 99.95:
        decimals = 0
    elif magnitude >= 9.995 and decimals == 2:
        decimals = 1
    return f"{value:.{decimals}f}"
