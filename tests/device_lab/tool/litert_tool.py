"""LiteRT v2's benchmark_model: the same runs, the result in ms on stderr, no files but the result's."""

from __future__ import annotations

import time
from pathlib import Path

from device_lab.tool import spoken
from device_lab.tool.delegates import apply_gpu, apply_npu
from device_lab.tool.measuring import Job, memory_kb, warm_up_and_time
from device_lab.tool.model_runtime import (
    LoadError,
    Model,
    PrepareError,
    import_litert,
    num_bytes,
    random_input,
)
from device_lab.tool.result_proto import Result
from device_lab.tool.tflite_tool import save_result

_SOURCE = "benchmark_litert_model.cc"


def run(job: Job) -> None:
    """One run of the tool; LoadError or PrepareError if it fails."""
    options = job.options
    for line in options.parameter_lines():
        spoken.info(line)
    if options["use_cpu"] and options["require_full_delegation"]:
        spoken.error("Requesting full delegation and CPU acceleration are incompatible.")
        raise SystemExit(134)
    import_litert()
    before_kb, start = memory_kb(), time.perf_counter_ns()
    model = _prepare(job)
    init_us = (time.perf_counter_ns() - start) // 1000
    init_kb = memory_kb() - before_kb
    model_mb = Path(options["graph"]).stat().st_size / 1e6
    spoken.info(f"The input model file size (MB): {model_mb:g}")
    spoken.info(f"Initialized session in {init_us / 1000:g}ms.")
    data = [random_input(details) for details in model.inputs()]
    job.wrong = job.faults.gpu_wrong and options["use_gpu"]
    warmup, timed = warm_up_and_time(job, model, data)
    result = Result(
        init_us=init_us,
        warmup=warmup,
        inference=timed,
        init_kb=init_kb,
        overall_kb=memory_kb() - before_kb,
        peak_mb=0,
        model_mb=model_mb,
        input_bytes=sum(num_bytes(details) for details in model.inputs()),
    )
    _say_result(result)
    save_result(job, result)


def _prepare(job: Job) -> Model:
    options = job.options
    job.threads = 1 if job.faults.threads_ignored else max(options["num_threads"], 1)
    spoken.litert(f"Loading model from: {options['graph']}", line=118, file=_SOURCE)
    try:
        model = Model(options["graph"], num_threads=job.threads, xnnpack=True)
    except LoadError as error:
        raise LoadError(*error.args, "Failed to load model.") from error
    for name, line in (("dispatch_library_path", 92), ("compiler_plugin_library_path", 96)):
        spoken.litert(f"{name}: {options[name]}", line=line, file=_SOURCE)
    model.allocate([])
    if options["use_npu"] and apply_npu(model.nodes(), options["dispatch_library_path"]):
        return model
    if options["use_gpu"]:
        _, complete = apply_gpu(model.nodes(), job.faults, kernel="LITERT_CL")
        if options["require_full_delegation"] and not complete:
            raise PrepareError("Failed to compile model.")
    elif model.xnnpack_created:
        spoken.runtime("Created TensorFlow Lite XNNPACK delegate for CPU.")
    return model


def _say_result(result: Result) -> None:
    """Prints the block of results, shortened if there were no runs."""
    warmup, timed = result.warmup, result.inference
    spoken.litert("\n========== BENCHMARK RESULTS ==========", line=91)
    spoken.litert(f"Model initialization: {result.init_us / 1000:.2f} ms", line=94)
    spoken.litert(f"Warmup (first):       {warmup.first / 1000:.2f} ms", line=96)
    spoken.litert(f"Warmup (avg):         {warmup.mean / 1000:.2f} ms ({warmup.count} runs)", line=98)
    spoken.litert(f"Inference (avg):      {timed.mean / 1000:.2f} ms ({timed.count} runs)", line=100)
    if timed.count:
        spoken.litert(f"Inference (min):      {timed.least / 1000:.2f} ms", line=104)
        spoken.litert(f"Inference (max):      {timed.most / 1000:.2f} ms", line=106)
        spoken.litert(f"Inference (std):      {timed.deviation / 1000:.2f}", line=108)
    else:
        spoken.litert("No inference runs were performed.", line=111)
    if result.throughput > 0:
        spoken.litert(f"Throughput:           {result.throughput:.2f} MB/s", line=115)
    else:
        spoken.litert("No throughput data available (throughput <= 0).", line=118)
    spoken.litert("\nMemory Usage:", line=124)
    spoken.litert(f"Init footprint:       {result.init_kb / 1024:.2f} MB", line=126)
    spoken.litert(f"Overall footprint:    {result.overall_kb / 1024:.2f} MB", line=128)
    spoken.litert("Peak memory usage not available. (peak_mem_mb <= 0)", line=135)
    spoken.litert("======================================\n", line=138)
