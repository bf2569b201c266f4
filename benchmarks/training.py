"""Images a second of a training, beside plain Keras's `fit` and PyTorch (channels last, its autocast).

MobileNet 1.0 and DenseNet-BC 40-12 at 32x32, batches of 64, float32 and bfloat16, one batch again and again,
so that reading images counts nowhere. Each takes its turn for some steps, three times. The CPU time of a
process is what counts where other programs run beside; with more than one thread it holds what threads wait.
PyTorch is in the tests' own environment, which is made if it is missing.

    python benchmarks/training.py [--threads 1] [--steps 10] [--rounds 3] [--nets NET ...]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from own_environment import PeerUnavailable, environment  # noqa: E402 - of the tests
from pytorch_environment import TORCH  # noqa: E402

NETS = {"mobilenet": "MobileNet 1.0", "densenet": "DenseNet-BC 40-12"}
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class Found:
    """Images a second in each round: by the clock, and by the process's CPU time."""

    wall: list[float]
    cpu: list[float]


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10, help="in a turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nets", nargs="*", default=list(NETS), choices=NETS)
    options = parser.parse_args()
    others = {whose: [sys.executable, "-P", HERE / "training_keras.py", whose] for whose in ("ours", "keras")}
    try:
        programs = others | {"pytorch": [environment(TORCH), "-P", HERE / "training_torch.py"]}
    except PeerUnavailable as error:
        print(f"no PyTorch: {error}", file=sys.stderr)
        programs = others
    print(f"{options.threads} threads, {options.rounds} rounds of {options.steps} steps; images a second\n")
    print("| net | precision | by | ours | Keras | PyTorch | ours / Keras | ours / PyTorch |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for net in options.nets:
        for precision in PRECISIONS:
            found = in_turns(
                programs, [net, precision, str(options.threads), str(options.steps)], options.rounds
            )
            print_rows(NETS[net], precision, found)


def in_turns(programs: dict[str, list[object]], arguments: list[str], rounds: int) -> dict[str, Found]:
    """Each program's figures, a round after another; another one begins each round."""
    threads = {"OMP_NUM_THREADS": arguments[2], "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    workers = {
        name: subprocess.Popen(
            [str(each) for each in (*program, *arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **threads, "PYTHONPATH": str(HERE.parent)},
        )
        for name, program in programs.items()
    }
    try:
        sizes = {name: int(answer(worker)) for name, worker in workers.items()}
        if len(set(sizes.values())) > 1:
            raise SystemExit(f"the nets are not the same: parameters to train {sizes}")
        found = {name: Found(wall=[], cpu=[]) for name in workers}
        names = list(workers)
        for number in range(rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                print("go", file=workers[name].stdin, flush=True)
                wall, cpu = json.loads(answer(workers[name]))
                found[name].wall.append(wall)
                found[name].cpu.append(cpu)
    finally:
        for worker in workers.values():
            worker.kill()
            worker.communicate()
    return found


def answer(worker: subprocess.Popen[str]) -> str:
    """The next line that a worker prints."""
    assert worker.stdout is not None
    if not (line := worker.stdout.readline()):
        raise SystemExit(f"{worker.args} ended without an answer")
    return line


def print_rows(net: str, precision: str, found: dict[str, Found]) -> None:
    """A row by CPU time and one by the clock: medians with the range, and the medians of ratios."""
    for by in ("cpu", "wall"):
        values = {name: getattr(each, by) for name, each in found.items()}
        cells = [
            f"{median(values[name]):.0f} ({min(values[name]):.0f}-{max(values[name]):.0f})"
            if name in values
            else "-"
            for name in ("ours", "keras", "pytorch")
        ]
        ratios = [
            f"{median(one / other for one, other in zip(values['ours'], values[name], strict=True)):.2f}"
            if name in values
            else "-"
            for name in ("keras", "pytorch")
        ]
        print("|", " | ".join([net, precision, by, *cells, *ratios]), "|", flush=True)


if __name__ == "__main__":
    main()
