"""TFLite's benchmark_model: its lines in their order, its streams, its files, its exit statuses."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from device_lab.tool import spoken
from device_lab.tool.delegates import accelerators, apply_by_hand, taken_off_cpu
from device_lab.tool.input_layers import Layer, check_layers, input_data, read_layers
from device_lab.tool.measuring import (
    Job,
    PeakMemory,
    megabytes,
    memory_kb,
    outputs,
    resident_pages,
    warm_up_and_time,
)
from device_lab.tool.model_runtime import LoadError, Model, PrepareError, import_litert, num_bytes
from device_lab.tool.op_profile import Row, operator_rows, profile_text
from device_lab.tool.result_proto import Result, encode
from device_lab.tool.timings import Timings

_XNNPACK = "Created TensorFlow Lite XNNPACK delegate for CPU."
_MODES = ("stdout", "csv", "proto")
_APPROXIMATE = (
    "Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the"
    " actual memory footprint of the model at runtime. Take the information at your discretion."
)


def run(job: Job) -> None:
    """One run of the tool; LoadError or PrepareError if it fails."""
    options = job.options
    layers = _validated(options)
    for line in options.parameter_lines():
        spoken.info(line)
        if line.startswith("Use NNAPI"):
            accelerators(options)
    import_litert()
    peak = None
    if options["report_peak_memory_footprint"]:
        peak = PeakMemory(options["memory_footprint_check_interval_ms"])
    before_kb, start = memory_kb(), time.perf_counter_ns()
    model, stages_us = _prepare(job, layers)
    init_us = (time.perf_counter_ns() - start) // 1000
    init_kb = memory_kb() - before_kb
    model_mb = Path(options["graph"]).stat().st_size / 1e6
    spoken.info(f"The input model file size (MB): {model_mb:g}")
    spoken.info(f"Initialized session in {init_us / 1000:g}ms.")
    data = input_data(layers, model)
    job.wrong = job.faults.gpu_wrong and options["use_gpu"]
    warmup, timed = warm_up_and_time(job, model, data)
    result = Result(
        init_us=init_us,
        warmup=warmup,
        inference=timed,
        init_kb=init_kb,
        overall_kb=memory_kb() - before_kb,
        peak_mb=peak.stop() if peak else 0,
        model_mb=model_mb,
        input_bytes=sum(num_bytes(details) for details in model.inputs()),
    )
    _say_result(result)
    if options["enable_op_profiling"]:
        _profile(job, model, stages_us, timed)
    save_result(job, result)
    _save_outputs(job, model)


def save_result(job: Job, result: Result) -> None:
    """Writes the protocol buffer to --result_file_path."""
    path = job.options["result_file_path"]
    if not path:
        return
    if job.faults.endless_file:
        os.symlink("/dev/zero", path)  # noqa: PTH211
        return
    factor = 2.0 if job.faults.proto_differs else 1.0
    try:
        with open(path, "wb") as file:  # noqa: PTH123
            spoken.info(f"Saving benchmark result to: {path}")
            file.write(encode(result, mean_factor=factor, percentiles=not job.faults.no_median))
    except OSError:
        spoken.error(f"Failed to save benchmark result to: {path}")
    else:
        spoken.info(f"Saved benchmark result to: {path}")


def _validated(options: Any) -> list[Layer]:
    if not options["graph"]:
        raise PrepareError("Please specify the name of your TF Lite input file with --graph")
    mode = options["op_profiling_output_mode"]
    if options["enable_op_profiling"] and mode not in _MODES:
        raise PrepareError(
            f"Output mode{mode} is not supported. Supported values are: 'stdout', 'csv' and 'proto'."
        )
    return read_layers(options)


def _prepare(job: Job, layers: list[Layer]) -> tuple[Model, dict[str, int]]:
    """The model, ready to run, and the microseconds of each stage."""
    options, stages = job.options, {}
    job.threads = 1 if job.faults.threads_ignored else max(options["num_threads"], 1)
    by_hand = "use_xnnpack" in options.given
    # XNNPACK simulates the GPU
    xnnpack = options["use_xnnpack"] or not by_hand or options["use_gpu"]
    start = time.perf_counter_ns()
    try:
        model = Model(options["graph"], num_threads=job.threads, xnnpack=xnnpack)
    except LoadError as error:
        raise LoadError(*error.args, f"Failed to load model {options['graph']}") from error
    except PrepareError:
        spoken.info(f"Loaded model {options['graph']}")
        raise
    spoken.info(f"Loaded model {options['graph']}")
    if options["use_gpu"]:
        spoken.info("Initialized TensorFlow Lite runtime.")
    loaded = time.perf_counter_ns()
    check_layers(layers, model)
    failure = _allocate(model, layers)
    _, num_off_cpu = taken_off_cpu(options, len(model.nodes()), job.faults)
    played = num_off_cpu == len(model.nodes())
    if model.xnnpack_created and not played:
        spoken.runtime(_XNNPACK)
    if failure is not None:
        raise failure
    apply_by_hand(options, model, job.faults)
    if xnnpack:
        stages["ModifyGraphWithDelegate"] = (loaded - start) // 1000
    stages["AllocateTensors"] = (time.perf_counter_ns() - loaded) // 1000
    return model, stages


def _allocate(model: Model, layers: list[Layer]) -> PrepareError | None:
    try:
        model.allocate([layer.shape for layer in layers])
    except PrepareError as error:
        return error
    return None


def _say_result(result: Result) -> None:
    warmup, timed = result.warmup, result.inference
    spoken.info(
        f"Inference timings in us: Init: {result.init_us}, First inference: {warmup.first},"
        f" Warmup (avg): {warmup.mean:g}, Inference (avg): {timed.mean:g}"
    )
    spoken.info(_APPROXIMATE)
    spoken.info(
        "Memory footprint delta from the start of the tool (MB):"
        f" init={result.init_kb / 1024:g} overall={result.overall_kb / 1024:g}"
    )
    if result.peak_mb > 0:
        pages, shared = resident_pages()
        spoken.info(f"Overall peak memory footprint (MB) via periodic monitoring: {result.peak_mb:g}")
        # the tool's own spelling
        spoken.info("Memory status at the end of exeution:")
        spoken.info(f"- VmRSS              : {megabytes(pages)} MB")
        spoken.info(f"+ RssAnnon           : {megabytes(pages) - megabytes(shared)} MB")
        spoken.info(f"+ RssFile + RssShmem : {megabytes(shared)} MB")


def _profile(job: Job, model: Model, stages_us: dict[str, int], timed: Timings) -> None:
    """Prints the operators' times or writes them."""
    options = job.options
    path, mode = options["op_profiling_output_file"], options["op_profiling_output_mode"]
    if options["profiling_output_csv_file"]:
        path, mode = options["profiling_output_csv_file"], "csv"
    stages = [Row(name, f"{name}/0", us / 1000, us / 1000) for name, us in stages_us.items()]
    off_cpu = taken_off_cpu(options, len(model.nodes()), job.faults)
    rows = operator_rows(model, timed, off_cpu=off_cpu, coarse=job.faults.coarse_profile)
    sections = {
        "Profiling Info for Benchmark Initialization": (stages, Timings((sum(stages_us.values()),))),
        "Operator-wise Profiling Info for Regular Benchmark Runs": (rows, timed),
    }
    text = profile_text(sections, mode, "" if path else "INFO: ")
    if path:
        Path(path).write_text(text)
    else:
        spoken.unfinished(text)


def _save_outputs(job: Job, model: Model) -> None:
    """Writes the raw outputs; silent if it cannot, like the tool."""
    path = job.options["output_filepath"]
    if not path or job.options["dry_run"]:
        return
    if os.access(os.path.dirname(path) or ".", os.W_OK):  # noqa: PTH120
        try:
            Path(path).write_bytes(outputs(job, model))
        except OSError:
            return
