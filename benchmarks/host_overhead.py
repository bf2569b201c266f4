"""The overhead of `pipeline bench` over a bare interpreter loop: the ratio of the medians, 1 for none.

MobileNet 0.25_128 int8 (short, so that overhead is visible), LiteRT, one thread. The two loops take turns of
a few hundred runs, each with a freshly loaded interpreter, so that drift affects both; the ratio is the
centre of the turns' ratios, with its 95% interval. LiteRT's own `litert-benchmark` (another interface to the
same kernels: CompiledModel) is measured once per repetition.

    python benchmarks/host_overhead.py [--repetitions 5] [--rounds 50] [--file FILE.tflite]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from pipeline.bench.child import Child, runtime_version
from pipeline.bench.host import machine_name
from pipeline.bench.statistics import compare

ROUND_SECS = 0.04
WARMUP_SECS = 0.02

# The usual loop, without any code of this project.
BARE_LOOP = """
import statistics, sys, time
import numpy as np
from ai_edge_litert.interpreter import Interpreter

for line in sys.stdin:
    interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
    interpreter.allocate_tensors()
    tensor = interpreter.get_input_details()[0]
    pixels = np.random.randint(-128, 128, tensor["shape"]).astype(tensor["dtype"])
    interpreter.set_tensor(tensor["index"], pixels)
    until = time.perf_counter() + float(sys.argv[2])
    while time.perf_counter() < until:
        interpreter.invoke()
    times = []
    until = time.perf_counter() + float(sys.argv[3])
    while time.perf_counter() < until:
        begin = time.perf_counter_ns()
        interpreter.invoke()
        times.append(time.perf_counter_ns() - begin)
    print(statistics.median(times) / 1e6, flush=True)
"""


def main() -> None:
    """Prints a line per repetition, then the ratio over all of them."""
    arguments = _parser().parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        file = arguments.file or _mobilenet(Path(scratch))
        version = runtime_version("litert")
        print(f"{file.name}, {file.stat().st_size:,} bytes; litert {version}, 1 thread; {machine_name()}")
        ours: list[float] = []
        bare: list[float] = []
        for repetition in range(arguments.repetitions):
            new_ours, new_bare = one_repetition(file, arguments.rounds)
            ours += new_ours
            bare += new_bare
            print(f"  {repetition + 1}: {_line(new_ours, new_bare)}; litert-benchmark {_peer(file, scratch)}")
        ratio = compare(ours, bare)
        print(f"all: {_line(ours, bare)}, 95% interval {ratio.low:.4f} to {ratio.high:.4f}")


def one_repetition(file: Path, num_rounds: int) -> tuple[list[float], list[float]]:
    """The medians of each round in milliseconds, of our loop and of the bare one, in fresh processes."""
    bare_command = [sys.executable, "-P", "-c", BARE_LOOP, str(file), str(WARMUP_SECS), str(ROUND_SECS)]
    ours: list[float] = []
    bare: list[float] = []
    with (
        Child(file, num_threads=1, runtime="litert", patience_secs=60) as child,
        subprocess.Popen(
            bare_command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as loop,
    ):
        child.wait_until_ready()
        turns: list[Callable[[], None]] = [
            lambda: ours.append(_our_turn(child)),
            lambda: bare.append(_bare_turn(loop)),
        ]
        for turn in turns:  # the first turn of a process is left out
            turn()
        ours.clear()
        bare.clear()
        for number in range(num_rounds):
            for turn in turns if number % 2 == 0 else reversed(turns):
                turn()
        assert loop.stdin is not None
        loop.stdin.close()
    return ours, bare


def _our_turn(child: Child) -> float:
    request = {
        "warmup_runs": 1,
        "warmup_min_secs": WARMUP_SECS,
        "num_runs": 1,
        "min_secs": ROUND_SECS,
        "max_secs": 60.0,
    }
    samples: list[int] = child.run_round(request, busy_secs=60)["samples_ns"]
    return statistics.median(samples) / 1e6


def _bare_turn(loop: subprocess.Popen[str]) -> float:
    assert loop.stdin is not None
    assert loop.stdout is not None
    loop.stdin.write("go\n")
    loop.stdin.flush()
    return float(loop.stdout.readline())


def _peer(file: Path, scratch: str) -> str:
    tool = Path(sys.executable).with_name("litert-benchmark")
    if not tool.is_file():
        return "is not installed"
    result = Path(scratch, "peer.json")
    runs = ("--num_runs", "2000", "--warmup_runs", "100")
    command = [str(tool), "--model", str(file), *runs, "--result_json", str(result)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return f"failed: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}"
    return f"{json.loads(result.read_text())['latency']['median_ms']} ms"


def _line(ours: list[float], bare: list[float]) -> str:
    medians = f"ours {statistics.median(ours):.4f} ms, bare loop {statistics.median(bare):.4f} ms"
    return f"{medians}, ratio {compare(ours, bare).ratio:.4f}"


def _mobilenet(folder: Path) -> Path:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import numpy as np

    from export.convert import convert
    from export.precisions import Precision
    from export.settings import ExportSettings
    from models.build import build

    model = build("mobilenet", alpha=0.25, image_size=128, num_classes=1001)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 128, 128, 3), dtype=np.uint8)
    file = folder / "mobilenet_alpha0.25_128_int8.tflite"
    file.write_bytes(convert(model, ExportSettings(Precision.INT8), pixels=pixels))
    return file


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=5, help="each with fresh processes")
    parser.add_argument("--rounds", type=int, default=50, help="turns of each loop in a repetition")
    parser.add_argument("--file", type=Path, help="another .tflite file, already exported")
    return parser


if __name__ == "__main__":
    main()
