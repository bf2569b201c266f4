"""The gain of each rewrite of the graph: files with and without it, whole nets beside the stock converter.

    python benchmarks/rewrites.py shapes        small nets in many shapes, with and without one rewrite
    python benchmarks/rewrites.py nets          whole nets beside stock, and with and without each rewrite
    python benchmarks/rewrites.py table         the folder's results as Markdown tables, the worst first

A ratio is the time with the rewrite divided by that without it, or ours by stock's: below 1 the rewrite
helps. It comes from paired rounds, in each of which every file is loaded anew, with its verdict. LiteRT, one
thread, CPU time, which other programs do not change. Weights and the statistics of every BatchNormalization
are random. Stock is TFLiteConverter as in TensorFlow's guides. Files and results (results.jsonl, a line each)
are kept in --folder, so that a killed run can be resumed. Use a new folder when the rewrites change.
`--repeats 3` measures everything three times, at three different times.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from statistics import median

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from rewrite_cases import NETS, Case, shapes
from zoo import scaled, stock_conversion

from export.convert import convert
from export.graph.rewrite import rewrite
from export.precisions import Precision
from export.rewrites import Rewrite, RewriteBounds
from export.settings import ExportSettings
from pipeline.bench.child import runtime_version
from pipeline.bench.host import machine_name
from pipeline.bench.statistics import compare

NUM_CALIBRATION = 4
MIN_SAMPLES = 5
"""In each round."""
STOCK = "stock"
CLEAR = 0.02
"""Ratios this near to 1 count as equal in the tables: another place in memory can change as much."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """The comparison of two files."""

    kind: str
    """shapes or nets."""
    case: str
    precision: str
    against: str
    """'stock', or the rewrite that the other file lacks."""
    repeat: int
    nothing_to_do: bool
    """Not measured, since the rewrite changes nothing or stock makes no file."""
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    larger_than_noise: bool | None = None
    ms: float | None = None
    other_ms: float | None = None
    num_rounds: int = 0
    conditions: str = ""

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        """The key of this comparison."""
        return self.kind, self.case, self.precision, self.against, self.repeat


@dataclass(frozen=True, kw_only=True)
class Comparing:
    """The comparisons to measure for one case in one precision."""

    kind: str
    case: Case
    precision: Precision
    against: tuple[str, ...]


class Results:
    """The lines of results.jsonl."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "results.jsonl"
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        self.all = [Result(**json.loads(line)) for line in lines]

    def missing(self, comparing: Comparing, repeat: int) -> tuple[str, ...]:
        """The comparisons that are not measured yet."""
        known = {each.key for each in self.all}
        whole = comparing.kind, comparing.case.name, str(comparing.precision)
        return tuple(each for each in comparing.against if (*whole, each, repeat) not in known)

    def add(self, result: Result) -> None:
        """Writes and flushes a result."""
        self.all.append(result)
        with self._file.open("a") as file:
            file.write(json.dumps(asdict(result)) + "\n")


class Files:
    """The files of one case, each converted once and cached."""

    def __init__(self, folder: Path, case: Case, *, anywhere: bool) -> None:
        self._folder = folder
        self._anywhere = anywhere
        self._case = case

    def get(self, precision: Precision, kind: str, rewrites: Sequence[Rewrite] | None) -> Path:
        """The file with these rewrites; for None the stock converter's. `kind` is part of its name."""
        slug = "".join(letter if letter.isalnum() else "-" for letter in self._case.name)
        file = self._folder / f"{slug}_{precision}_{kind}.tflite"
        if not file.exists():
            print(f"  converting {file.stem}", file=sys.stderr)
            content = self._content(precision, rewrites)
            file.with_suffix(".partial").write_bytes(content)
            file.with_suffix(".partial").rename(file)
        return file

    def stock(self, precision: Precision) -> Path | None:
        """The stock converter's file; None if it cannot convert."""
        try:
            return self.get(precision, STOCK, None)
        except RuntimeError as error:  # such as int16x8 without a kernel for an operator
            print(f"  refused: {error}", file=sys.stderr)
            return None

    def done(self, precision: Precision, rewrites: Sequence[Rewrite]) -> tuple[str, ...]:
        """The changes that these rewrites make."""
        return rewrite(self._net, rewrites, bounds=self._bounds(precision)).done

    def _bounds(self, precision: Precision) -> RewriteBounds:
        return RewriteBounds() if self._anywhere else precision.spec.bounds

    @cached_property
    def _net(self) -> keras.Model:
        return with_random_statistics(self._case.make(), np.random.default_rng(0))

    def _content(self, precision: Precision, rewrites: Sequence[Rewrite] | None) -> bytes:
        shape = tuple(self._net.inputs[0].shape[1:])
        pixels = np.random.default_rng(1).integers(0, 256, (NUM_CALIBRATION, *shape), np.uint8)
        if rewrites is None:
            return stock_conversion(self._net, precision, scaled(pixels))
        rewritten = rewrite(self._net, rewrites, bounds=self._bounds(precision)).model
        return convert(rewritten, ExportSettings(precision, rewrites=()), pixels=pixels)


def with_random_statistics(model: keras.Model, random: np.random.Generator) -> keras.Model:
    """The model with random BatchNormalization statistics and biases, as after a training."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            drawn = {
                "gamma": random.uniform(0.5, 1.5, layer.moving_mean.shape),
                "beta": random.normal(0, 0.2, layer.moving_mean.shape),
                "moving_mean": random.normal(0, 0.2, layer.moving_mean.shape),
                "moving_variance": random.uniform(0.5, 1.5, layer.moving_mean.shape),
            }
            layer.set_weights([drawn[variable.name] for variable in layer.weights])
        elif getattr(layer, "use_bias", False) and len(layer.get_weights()) > 1:
            *weights, bias = layer.get_weights()
            layer.set_weights([*weights, bias + random.normal(0, 0.05, bias.shape)])
    return model


def main() -> None:
    """Measures what is missing, or prints the tables."""
    arguments = _parser().parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    results = Results(arguments.folder)
    if arguments.what != "table":
        wanted = list(_shapes(arguments) if arguments.what == "shapes" else _nets(arguments))
        for repeat in range(arguments.repeats):
            for place, comparing in enumerate(wanted, start=1):
                name = f"{comparing.case.name} {comparing.precision}"
                print(f"{repeat + 1}.{place}/{len(wanted)} {name}", file=sys.stderr)
                measure(comparing, results, repeat=repeat, arguments=arguments)
    print_tables(results.all)


def _shapes(arguments: argparse.Namespace) -> Iterator[Comparing]:
    for each in arguments.rewrites:
        for precision in arguments.precisions:
            if arguments.anywhere or each in precision.spec.rewrites:
                for case in shapes(each):
                    yield Comparing(kind="shapes", case=case, precision=precision, against=(each,))


def _nets(arguments: argparse.Namespace) -> Iterator[Comparing]:
    for name in arguments.nets:
        for precision in arguments.precisions:
            alone = [each for each in arguments.rewrites if each in precision.spec.rewrites]
            against = (STOCK, *([] if arguments.stock_only else alone))
            yield Comparing(kind="nets", case=NETS[name], precision=precision, against=against)


def measure(comparing: Comparing, results: Results, *, repeat: int, arguments: argparse.Namespace) -> None:
    """Measures the file in turns with all files that it is compared with, and stores the results."""
    missing = results.missing(comparing, repeat)
    if not missing:
        return
    files = Files(arguments.folder, comparing.case, anywhere=arguments.anywhere)
    file, others = _files(comparing, missing, files)
    measured = [file, *others.values()]
    found = dict(zip(measured, take_turns(measured, arguments), strict=True)) if others else {}
    what = {
        "kind": comparing.kind,
        "case": comparing.case.name,
        "precision": str(comparing.precision),
        "repeat": repeat,
    }
    for against in missing:
        if against not in others:
            results.add(Result(**what, against=against, nothing_to_do=True))
            continue
        ours, other = found[file], found[others[against]]
        verdict = compare(ours, other)
        results.add(
            Result(
                **what,
                against=against,
                nothing_to_do=False,
                ratio=verdict.ratio,
                low=verdict.low,
                high=verdict.high,
                larger_than_noise=verdict.larger_than_noise,
                ms=median(ours),
                other_ms=median(other),
                num_rounds=arguments.rounds,
                conditions=f"{machine_name()}; litert {runtime_version('litert')}, one thread, CPU time, "
                f"{datetime.now(UTC).isoformat(timespec='seconds')}",
            )
        )


def take_turns(files: Sequence[Path], arguments: argparse.Namespace) -> list[list[float]]:
    """Milliseconds of CPU time per run of each file, a median for each round."""
    medians: dict[Path, list[float]] = {file: [] for file in files}
    for number in range(arguments.rounds):
        for file in files if number % 2 == 0 else reversed(files):
            medians[file].append(_one_round(file, arguments.min_secs / arguments.rounds))
    return list(medians.values())


def _one_round(file: Path, secs: float) -> float:
    interpreter = Interpreter(model_path=str(file), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.invoke()
    runs = max(1, int(secs / MIN_SAMPLES / _cpu_secs(interpreter, 2)))
    return 1e3 * median(_cpu_secs(interpreter, runs) for _ in range(MIN_SAMPLES))


def _cpu_secs(interpreter: Interpreter, runs: int) -> float:
    """Average CPU time of a run over `runs`, since a single one is too short for the clock."""
    begin = time.thread_time_ns()
    for _ in range(runs):
        interpreter.invoke()
    return (time.thread_time_ns() - begin) / 1e9 / runs


def _files(comparing: Comparing, against: Sequence[str], files: Files) -> tuple[Path, dict[str, Path]]:
    """The file with all its rewrites, and the files with other content that it is compared with."""
    precision = comparing.precision
    others: dict[str, Path] = {}
    own = dict.fromkeys(precision.spec.rewrites)
    own |= {Rewrite(each): None for each in against if each != STOCK}  # with --anywhere
    for each in against:
        left = [one for one in own if one != each]
        if each == STOCK:
            stock = files.stock(precision)
            if stock is not None:
                others[each] = stock
        elif files.done(precision, left) != files.done(precision, list(own)):
            others[each] = files.get(precision, f"without-{each}", left)
    return (files.get(precision, "ours", list(own)) if others else Path()), others


def print_tables(results: Sequence[Result]) -> None:
    """The nets beside stock, then each rewrite's gains and losses."""
    measured = [each for each in results if each.ratio is not None]
    if not measured:
        print("Nothing is measured yet.")
        return
    nets = [each for each in measured if each.kind == "nets"]
    _print_nets([each for each in nets if each.against == STOCK])
    for title, kind in (
        ("whole nets, with the rewrite by without it", "nets"),
        ("shapes, the same", "shapes"),
    ):
        _print_rewrites(title, [each for each in measured if each.kind == kind and each.against != STOCK])
    print(f"\n{measured[-1].conditions}; {measured[-1].num_rounds} interleaved rounds, random weights.")


def _print_nets(results: Sequence[Result]) -> None:
    precisions = [each for each in Precision if any(result.precision == each for result in results)]
    print(f"| ours by stock | {' | '.join(precisions)} |")
    print(f"| --- |{' --- |' * len(precisions)}")
    cells = _grouped(results, lambda each: (each.case, each.precision))
    for case in dict.fromkeys(each.case for each in results):
        print(f"| {case} | {' | '.join(_cell(cells.get((case, each), [])) for each in precisions)} |")


def _print_rewrites(title: str, results: Sequence[Result]) -> None:
    print(f"\n| {title} | precision | helps | alike | costs | best | worst |")
    print("| --- | --- | ---: | ---: | ---: | --- | --- |")
    for (name, precision), found in _grouped(results, lambda each: (each.against, each.precision)).items():
        ratios = _grouped(found, lambda each: (each.case,))
        middle = {case[0]: _middle(each) for case, each in ratios.items()}
        helps = sum(ratio < 1 - CLEAR for ratio in middle.values())
        costs = sum(ratio > 1 + CLEAR for ratio in middle.values())
        best, worst = (choose(middle, key=lambda case: middle[case]) for choose in (min, max))
        print(
            f"| {name} | {precision} | {helps} | {len(middle) - helps - costs} | {costs} "
            f"| {middle[best]:.2f} ({best}) | {middle[worst]:.2f} ({worst}) |"
        )


def _grouped(
    results: Sequence[Result], key: Callable[[Result], tuple[str, ...]]
) -> dict[tuple[str, ...], list[Result]]:
    groups = defaultdict(list)
    for each in results:
        groups[key(each)].append(each)
    return groups


def _middle(results: Sequence[Result]) -> float:
    return float(np.median([each.ratio for each in results if each.ratio is not None]))


def _cell(results: Sequence[Result]) -> str:
    """The ratio of each repeat, with its verdict."""
    return ", ".join(f"{each.ratio:.2f}{'' if each.larger_than_noise else ' (noise)'}" for each in results)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["shapes", "nets", "table"])
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--precisions", nargs="+", type=Precision, default=list(Precision))
    parser.add_argument("--rewrites", nargs="+", type=Rewrite, default=list(Rewrite))
    parser.add_argument("--stock-only", action="store_true", help="nets: do not leave rewrites out in turn")
    parser.add_argument(
        "--anywhere", action="store_true", help="also outside the bounds, and in precisions that leave it out"
    )
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--min-secs", type=float, default=1.0, help="of each file, over all rounds")
    parser.add_argument("--folder", type=Path, default=Path("rewrites"), help="of files and results")
    return parser


if __name__ == "__main__":
    main()
