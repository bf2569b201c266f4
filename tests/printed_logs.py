"""What the tools print, as the tests of its parser take it."""

from android_bench.printed.lines import Stats
from android_bench.printed.pasted import parse_log

GOOD = """\
INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Min num runs: [20]
INFO: Num threads: [4]
INFO: Graph: [/data/local/tmp/net.tflite]
INFO: #threads used for CPU inference: [4]
INFO: Loaded model /data/local/tmp/net.tflite
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
VERBOSE: Replacing 30 out of 31 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 2 partitions for subgraph 0.
INFO: The input model file size (MB): 2.5
INFO: Initialized session in 12.345ms.
INFO: Running benchmark for at least 2 iterations and at least 0.5 seconds but terminate if exceeding 60 seconds.
INFO: count=3 first=9001 curr=8001 min=8001 max=9001 avg=8501.33 std=410 p5=8001 median=8502 p95=9001

INFO: Running benchmark for at least 20 iterations and at least 1 seconds but terminate if exceeding 60 seconds.
INFO: count=25 first=7001 curr=7202 min=6903 max=7999 avg=7105.25 std=101 p5=6950 median=7100 p95=7500

INFO: Inference timings in us: Init: 12345, First inference: 9001, Warmup (avg): 8501.33, Inference (avg): 7105.25
INFO: Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual one.
INFO: Memory footprint delta from the start of the tool (MB): init=4.5 overall=8.25
INFO: Overall peak memory footprint (MB) via periodic monitoring: 49
"""  # noqa: E501 - as printed
TIMED = Stats(
    count=25,
    first_ms=7.001,
    last_ms=7.202,
    min_ms=6.903,
    max_ms=7.999,
    avg_ms=7.10525,
    std_ms=0.101,
    p5_ms=6.95,
    median_ms=7.1,
    p95_ms=7.5,
)
OLD = """\
$ ./benchmark_model --graph=old.tflite
STARTING!
Num threads: [1]
Graph: [old.tflite]
Use gpu : [0]
Loaded model old.tflite
Initialized session in 21.03ms
Running benchmark for at least 1 iterations and at least 0.5 seconds
count=1 curr=751932

Running benchmark for at least 50 iterations and at least 1 seconds
count=50 first=747738 curr=747428 min=747331 max=748577 avg=747733 std=293

Average inference timings in us: Warmup: 751932, Init: 21030, no stats: 747733
Peak memory footprint (MB): init=2.5 overall=5
"""
LITERT = """\
INFO: [litert/runtime/compiled_model.cc:415] Flatbuffer model initialized directly.
INFO: Replacing 9 out of 10 node(s) with delegate (LITERT_CL) node, yielding 2 partitions for subgraph 0.
INFO: [litert/tools/benchmark_litert_model.h:72]\x20
========== BENCHMARK RESULTS ==========
INFO: [litert/tools/benchmark_litert_model.h:73] Model initialization: 45.32 ms
I0000 00:00:1758455104.504065   62590 benchmark_litert_model.h:75] Warmup (first):       120.45 ms
INFO: [litert/tools/benchmark_litert_model.h:77] Warmup (avg):         98.76 ms (2 runs)
INFO: [litert/tools/benchmark_litert_model.h:79] Inference (avg):      85.23 ms (50 runs)
INFO: [litert/tools/benchmark_litert_model.h:83] Inference (min):      82.10 ms
INFO: [litert/tools/benchmark_litert_model.h:85] Inference (max):      88.90 ms
INFO: [litert/tools/benchmark_litert_model.h:87] Inference (std):      3.21
INFO: [litert/tools/benchmark_litert_model.h:94] Throughput:           12.45 MB/s
INFO: [litert/tools/benchmark_litert_model.h:103]\x20
Memory Usage:
INFO: [litert/tools/benchmark_litert_model.h:105] Init footprint:       25.50 MB
INFO: [litert/tools/benchmark_litert_model.h:107] Overall footprint:    32.25 MB
INFO: [litert/tools/benchmark_litert_model.h:112] Peak memory:          35.00 MB
INFO: [litert/tools/benchmark_litert_model.h:117] ======================================
"""
APPLIED = "INFO: Explicitly applied {} delegate, and the model graph will be {} executed by the delegate{}."
NOT_EXECUTED = (
    "INFO: Though NNAPI delegate is explicitly applied, the model graph will not be executed by the delegate."
)
REPLACING = "VERBOSE: Replacing {} out of {} node(s) with delegate ({}) node, yielding 1 partitions for {}."
BLOCKS = "".join(GOOD.splitlines(keepends=True)[11:16])
FAILED = """\
STARTING!
Graph: [x.tflite]
ERROR: Could not open 'x.tflite'.
Failed to mmap model x.tflite
Benchmarking failed.
"""


def completed(text):
    """The runs that have their summary."""
    return [run for run in parse_log(text).runs if not any("no summary" in each for each in run.reasons)]
