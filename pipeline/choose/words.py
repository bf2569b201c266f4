"""The verdict in a paragraph. Standard library only."""

from __future__ import annotations

from pipeline.choose.settings import BYTES_PER_MB, HOST
from pipeline.choose.verdict import Judged, More, Verdict
from pipeline.shell import quoted
from spelling import some


def paragraph(verdict: Verdict) -> str:
    """What to ship on the target, what ties with it, and what more would cost."""
    where = "this machine" if verdict.target == HOST else verdict.target
    advised = verdict.file(verdict.advised)
    if advised is None:
        return _nothing(verdict, where)
    sentences = [f"Ship {figures(advised, where)}."]
    if advised.fate.why:
        sentences.append(f"{advised.fate.why}.")
    winner = verdict.file(verdict.winner)
    if winner is not None and winner.name != advised.name:
        better = "smaller" if advised.size_bytes < winner.size_bytes else "not slower"
        sentences.append(
            f"{figures(winner, where)} was the most accurate, but the two cannot be told apart "
            f"(p = {advised.accuracy_p:.2f}), and the first is {better}."
        )
    ties = [each.name for each in verdict.judged if each.is_tied and each.name not in (advised.name,)]
    if ties:
        sentences.append(f"Not distinguishable from the most accurate, and larger: {some(ties)}.")
    sentences += [price(each) for each in verdict.more]
    return " ".join(sentences)


def figures(judged: Judged, where: str) -> str:
    """'mobilenet_alpha0.5_160 int8: 81.2% (78.9 to 83.3), 3.1 ms on Pixel 6, 1.4 MB'."""
    ms = "no valid latency" if judged.median_ms is None else f"{judged.median_ms:.3g} ms"
    return (
        f"{judged.name}: {judged.top1:.1f}% ({judged.low:.1f} to {judged.high:.1f}), {ms} on {where}, "
        f"{judged.size_bytes / BYTES_PER_MB:.3g} MB"
    )


def price(more: More) -> str:
    """'mobilenet_alpha0.75_160 int8 would bring 1.1 points for 1.4 ms and 0.9 MB more.'"""
    costs = [f"{more.more_ms:.2g} ms"] if more.more_ms > 0 else []
    costs += [f"{more.more_mb:.2g} MB"] if more.more_mb > 0 else []
    price_words = f" for {' and '.join(costs)} more" if costs else ""
    if not more.is_predicted:
        return f"{more.name} would bring {more.points:.1f} points{price_words}."
    return (
        f"{more.name} would bring about {more.points:.1f} points ({more.low:.1f} to {more.high:.1f}, "
        f"predicted){price_words}."
    )


def kit_command(judged: Judged) -> str:
    """The command that makes the app kit: of a plain int8 file with uint8 input, else of the very file."""
    if judged.name.endswith(" int8") and not judged.made_by:
        return f"pipeline export {quoted(judged.run)} --int8 --android-kit app-kit"
    sidecar = judged.path.removesuffix(".tflite") + ".json"
    return f"pipeline export --like {quoted(sidecar)} --android-kit app-kit"


def _nothing(verdict: Verdict, where: str) -> str:
    nearest = verdict.file(verdict.nearest)
    asked = verdict.budget.options
    if nearest is None:
        return f"Nothing was measured on {where}, so nothing can be advised there."
    return f"Nothing fits {asked} on {where}. The nearest is {figures(nearest, where)}: {nearest.fate.why}."
