"""What benchmark_model prints, read back.

expected_logs.csv was written by hand, by reading every captured log, before the parser was run on any of
them; of its reasons, a word or two of ours were put in after.
"""

import re
from dataclasses import replace

import pytest
from captured_logs import EXPECTED, LOGS, captured, figures_of, needs_logs
from printed_logs import APPLIED, BLOCKS, FAILED, GOOD, LITERT, NOT_EXECUTED, OLD, REPLACING, TIMED, completed

from android_bench.delegates import Delegation, kind_of
from android_bench.errors import LogError
from android_bench.printed.lines import Stats, parse_stats
from android_bench.printed.pasted import parse_log
from android_bench.printed.run import parse_run


def with_line(line, *, before="INFO: The input model"):
    """GOOD with one line more."""
    return GOOD.replace(before, f"{line}\n{before}", 1)


# --- the captured logs ---


@needs_logs
@pytest.mark.parametrize("row", EXPECTED)
def test_a_captured_log_holds_what_a_reader_finds_in_it(row):
    text, _ = captured(row["file"])
    log = parse_log(text)
    assert len(log.runs) == int(row["runs"])
    for report in log.runs:
        assert figures_of(report) == (row["median_ms"], row["avg_ms"], row["valid"])
    said = [reason for report in log.runs for reason in report.reasons]
    said += [failure.reason for failure in log.failures]
    if row["reason"].startswith("segmentation fault"):
        assert "cut" in said[0]  # only the exit status says it
        return
    assert len(said) == (1 if row["reason"] else 0)
    assert all(row["reason"] in reason for reason in said)


@needs_logs
@pytest.mark.parametrize("row", [each for each in EXPECTED if "/" in each.values[0]["file"]])
def test_a_capture_read_with_its_exit_status_is_the_same_run_in_any_order_of_its_streams(row):
    stderr_first, status = captured(row["file"])
    stdout = (LOGS / f"{row['file']}.stdout").read_text()
    stdout_first = stdout + stderr_first.removesuffix(stdout)
    for text in (stderr_first, stdout_first):
        if row["runs"] == "1":
            assert figures_of(parse_run(text, status=status)) == (
                row["median_ms"],
                row["avg_ms"],
                row["valid"],
            )
        else:
            with pytest.raises(LogError, match=re.escape(row["reason"])):
                parse_run(text, status=status)


def test_every_captured_log_has_a_row():
    if not LOGS.is_dir():
        pytest.skip(f"the captured logs are not at {LOGS}")
    files = {str(path.relative_to(LOGS)) for path in LOGS.glob("*.txt")}
    files |= {str(path.relative_to(LOGS).with_suffix("")) for path in LOGS.glob("*/*.stdout")}
    assert files == {parameter.values[0]["file"] for parameter in EXPECTED}


@needs_logs
def test_details_of_captured_logs():
    by_name = {path.name[:2]: parse_log(path.read_text()) for path in LOGS.glob("*.txt")}
    apk = by_name["19"].runs[0]
    assert apk.delegations == (
        Delegation(
            name="TfLiteXNNPackDelegate", kind="xnnpack", taken=539, total=548, partitions=19, extent="part"
        ),
    )
    assert (apk.asked_runs, apk.num_threads, apk.timed.count, apk.warmup.count) == (25, 4, 25, 3)
    both = by_name["11"].runs[0]
    assert [(each.kind, each.extent) for each in both.delegations] == [("gpu", "all"), ("nnapi", "none")]
    assert both.asked_delegates == ("gpu", "nnapi")
    litert = by_name["16"].runs[0]
    assert (litert.tool, litert.timed.count, litert.timed.std_ms, litert.first_ms) == (
        "litert",
        10,
        9.92,
        7441.04,
    )
    assert by_name["24"].runs[0].timed == Stats(count=None, avg_ms=79.7609)
    assert by_name["20"].failures[0].line == 12


# --- one run ---


def test_a_run_is_read_whole():
    report = parse_run(GOOD, status=0)
    assert report.timed == TIMED
    assert report.warmup.count == 3
    assert (report.tool, report.graph, report.num_threads) == ("tflite", "/data/local/tmp/net.tflite", 4)
    assert (report.asked_runs, report.asked_min_secs, report.asked_max_secs) == (20, 1, 60)
    assert (report.init_ms, report.first_ms) == (12.345, 9.001)
    assert report.model_size_bytes == 2_500_000
    assert report.init_memory_bytes == 4.5 * 1024**2
    assert report.overall_memory_bytes == 8.25 * 1024**2
    assert report.peak_memory_bytes == 49 * 1024**2
    assert report.reasons == ()


def test_an_old_run_has_no_percentiles_and_its_first_inference_is_the_warm_ups():
    report = parse_run(OLD)
    assert (report.timed.median_ms, report.timed.avg_ms, report.first_ms) == (None, 747.733, 751.932)
    assert (report.asked_runs, report.asked_max_secs) == (50, None)
    assert report.overall_memory_bytes == 5 * 1024**2


def test_litert_v2_without_its_blocks_gives_what_its_results_say():
    report = parse_run(LITERT)
    assert report.timed == Stats(count=50, min_ms=82.1, max_ms=88.9, avg_ms=85.23, std_ms=3.21)
    assert report.warmup == Stats(count=2, first_ms=120.45, avg_ms=98.76)
    assert (report.tool, report.init_ms, report.first_ms) == ("litert", 45.32, 120.45)
    assert (report.init_memory_bytes, report.peak_memory_bytes) == (25.5 * 1024**2, 35 * 1024**2)
    assert report.reasons == ()
    assert [each.share for each in report.delegations] == ["9 of 10 nodes"]


def test_litert_v2_with_its_blocks_gives_their_digits():
    results = LITERT.replace("98.76 ms (2", "8.50 ms (3").replace("85.23 ms (50", "7.11 ms (25")
    report = parse_run(results + BLOCKS)
    assert (report.tool, report.timed, report.warmup.first_ms) == ("litert", TIMED, 9.001)
    with pytest.raises(LogError, match="the summary is not of the timed block"):
        parse_run(BLOCKS + results.replace("(25 runs)", "(24 runs)"))
    with pytest.raises(LogError, match="cut in the timed block"):
        parse_run((results + BLOCKS).rstrip())  # p95=7500 could have been longer


@pytest.mark.parametrize("order", ["forwards", "stderr last"])
def test_lines_of_stderr_may_come_anywhere(order):
    lines = GOOD.splitlines(keepends=True)
    stderr = lines[7:9]
    stdout = lines[:7] + lines[9:]
    text = "".join(stderr + stdout if order == "forwards" else stdout + stderr)
    assert parse_run(text) == parse_run(GOOD)
    assert parse_log(text).runs == (parse_run(GOOD),)


# --- the line of a block ---


@pytest.mark.parametrize(
    ("line", "count", "median_ms"),
    [
        ("count=1 curr=5436", 1, 5.436),
        ("count=1 curr=5436 p5=5436 median=5436 p95=5436", 1, 5.436),
        ("count=7 curr=12(all same)", 7, 0.012),
        ("count=7 curr=12(all same) p5=12 median=12 p95=12", 7, 0.012),
    ],
)
def test_of_equal_runs_every_figure_follows(line, count, median_ms):
    stats = parse_stats(line)
    assert (stats.count, stats.std_ms) == (count, 0)
    others = {
        stats.first_ms,
        stats.last_ms,
        stats.min_ms,
        stats.max_ms,
        stats.avg_ms,
        stats.p5_ms,
        stats.p95_ms,
    }
    assert others == {median_ms} == {stats.median_ms}


def test_a_count_of_zero_has_no_figures():
    assert parse_stats("count=0 p5=0 median=0 p95=0") == parse_stats("count=0") == Stats(count=0)


@pytest.mark.parametrize(
    "line",
    [
        "count=25 first=37601 curr=37528 min=37413 max=3760",
        "count=25 first=37601 curr=37528",
        "count=15 first=5 curr=5 min=4 max=6 avg=5.1",
        "count=15 first=5 curr=5 min=4 max=6 avg=5.1 std=1 p5=4 median=5",
        "count=15 first=5 curr=5 min=4 max=6 avg=nan std=1",
        "count=15 curr=6",
        "count=1 curr=6(all same)",
        "count=1 first=6 curr=6 min=6 max=6 avg=6 std=0",
        "count=3 first=5 curr=5 min=4 max=6 avg=7.1 std=1",
        "count=3 first=5 curr=5 min=7 max=6 avg=5.1 std=1",
        "count=3 first=5 curr=5 min=4 max=6 avg=5.1 std=1 p5=6 median=5 p95=4",
        "count=2 curr=6(all same) p5=5 median=6 p95=6",
        "Timings (microseconds): count=1 curr=11409",
    ],
)
def test_a_line_that_is_cut_or_contradicts_itself_gives_nothing(line):
    assert parse_stats(line) is None


def test_the_average_may_be_in_scientific_notation():
    text = GOOD.replace("avg=7105.25", "avg=2.20029e+06").replace("(avg): 7105.25", "(avg): 2.20029e+06")
    text = text.replace("max=7999", "max=2999000")
    assert parse_run(text).timed.avg_ms == 2200.29


# --- whether it is what was asked for ---


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            "WARN: Unconsumed cmdline flags: --no_such=1 --other=a b",
            "the tool does not know the flag --no_such=1",
        ),
        ("WARN: Duplicate flags: num_runs", "the flag num_runs was given twice, and the first counts"),
        (
            "WARN: Tensor # 0 is named input:0 but flags call it foo",
            "tensor 0 is named input:0, but the flags call it foo",
        ),
        ("INFO: Use gpu: [1]", "no line says that GPU took any node"),
        ("INFO: Use NNAPI: [1]", "no line says that NNAPI took any node"),
        ("INFO: Use Hexagon: [1]", "no line says that Hexagon took any node"),
        (NOT_EXECUTED, "NNAPI took no node"),
        (
            "ERROR: First 0 operations will run on the GPU, and the remaining 81 on the CPU.",
            "GPU took no node of 81",
        ),
    ],
)
def test_a_run_that_is_not_what_was_asked_for_says_why(line, reason):
    assert reason in parse_run(with_line(line)).reasons
    assert reason in parse_log(with_line(line)).runs[0].reasons


@pytest.mark.parametrize(
    ("line", "kind", "share"),
    [
        (
            "ERROR: 294 operations will run on the GPU, and the remaining 6 operations will run on the CPU.",
            "gpu",
            "294 of 300 nodes",
        ),
        (APPLIED.format("NNAPI", "partially", " w/ 11 delegate kernels"), "nnapi", "a part of the graph"),
        (
            "INFO: TfLiteHexagonDelegate delegate: 125 nodes delegated out of 126 nodes with 1 partitions.",
            "hexagon",
            "125 of 126 nodes",
        ),
        (REPLACING.format(7, 9, "DispatchDelegate", "subgraph 0 (main)"), "npu", "7 of 9 nodes"),
    ],
)
def test_a_delegate_that_took_a_part_is_valid_and_says_which(line, kind, share):
    report = parse_run(with_line(line))
    assert report.reasons == ()
    (found,) = (each for each in report.delegations if each.kind == kind)
    assert (found.extent, found.share) == ("part", share)


def test_two_unknown_flags_are_two():
    report = parse_run(with_line("WARN: Unconsumed cmdline flags: --a=1 --b-c=x y"))
    assert report.unconsumed_flags == ("--a=1", "--b-c=x y")
    assert len(report.reasons) == 2


def test_fewer_runs_than_asked_for_are_a_reason():
    text = GOOD.replace("at least 20 iterations", "at least 50 iterations")
    assert parse_run(text).reasons == ("the run count fell short: 25 of 50",)


def test_fewer_runs_that_filled_the_longest_time_are_as_many_as_were_asked_for():
    asked = "at least 50 iterations and at least 1 seconds but terminate if exceeding {} seconds"
    given = "at least 20 iterations and at least 1 seconds but terminate if exceeding 60 seconds"
    filled = GOOD.replace(given, asked.format(0.17))  # 25 runs of 7.1 ms take 0.178 s
    assert parse_run(filled).reasons == ()
    assert parse_run(filled).timed.count == 25
    assert parse_run(GOOD.replace(given, asked.format(0.5))).reasons == (
        "the run count fell short: 25 of 50",
    )


@pytest.mark.parametrize(
    "figures",
    [
        "curr=0(all same)",
        "curr=0(all same) p5=0 median=0 p95=0",
        "first=0 curr=0 min=0 max=9 avg=0.4 std=1 p5=0 median=0 p95=4",
    ],
)
def test_a_run_of_0_microseconds_is_below_the_clocks_resolution(figures):
    average = "0.4" if "avg" in figures else "0"
    text = GOOD.replace(GOOD.splitlines()[15].partition("count=25 ")[2], figures)
    text = text.replace("Inference (avg): 7105.25", f"Inference (avg): {average}")
    assert parse_run(text).reasons == ("an inference took 0 microseconds: below the clock's resolution",)


@pytest.mark.parametrize(
    "line",
    [
        "INFO: Use gpu: [0]",
        "INFO: Use xnnpack: [1]",
        APPLIED.format("XNNPACK", "partially", " w/ 2 delegate kernels"),
        "WARN: Failed to get the input model file size.",
    ],
)
def test_these_are_no_reason(line):
    assert parse_run(with_line(line)).reasons == ()


def test_a_gpu_that_takes_the_whole_graph_is_valid():
    text = with_line(
        "INFO: Use gpu: [1]\n"
        + REPLACING.format(49, 49, "TfLiteGpuDelegateV2", "the whole graph")
        + "\n"
        + APPLIED.format("GPU", "completely", "")
    )
    report = parse_run(text)
    assert report.reasons == ()
    gpu = report.delegations[1]
    assert gpu == Delegation(
        name="TfLiteGpuDelegateV2", kind="gpu", taken=49, total=49, partitions=1, extent="all"
    )


def test_a_delegate_that_is_not_executed_took_nothing_whatever_it_replaced():
    text = with_line(REPLACING.format(31, 31, "TfLiteNnapiDelegate", "subgraph 0") + "\n" + NOT_EXECUTED)
    nnapi = parse_run(text).delegations[1]
    assert (nnapi.taken, nnapi.total, nnapi.extent) == (0, 31, "none")
    assert parse_run(text).reasons == ("NNAPI took no node of 31",)


def test_the_subgraphs_of_one_delegate_are_added_up_and_a_second_word_on_one_corrects_the_first():
    counts = ((3, 10, 0), (10, 10, 0), (4, 5, 1))
    lines = [REPLACING.format(taken, total, "LITERT_CL", f"subgraph {at}") for taken, total, at in counts]
    text = with_line("\n".join(lines))
    gpu = parse_run(text).delegations[1]
    assert (gpu.taken, gpu.total, gpu.extent) == (14, 15, "part")


def test_an_xnnpack_that_was_only_created_is_of_unknown_extent():
    text = "".join(line for line in GOOD.splitlines(keepends=True) if "Replacing" not in line)
    assert [(each.kind, each.extent) for each in parse_run(text).delegations] == [("xnnpack", "unknown")]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("TfLiteXNNPackDelegate", "xnnpack"),
        ("TfLiteGpuDelegateV2", "gpu"),
        ("LITERT_CL", "gpu"),
        ("LITERT_GL", "gpu"),
        ("WEBGPU", "gpu"),
        ("TfLiteNnapiDelegate", "nnapi"),
        ("TfLiteHexagonDelegate", "hexagon"),
        ("DispatchDelegate", "npu"),
        ("TfLiteInputDelegate", "other"),
    ],
)
def test_a_delegate_is_known_by_its_name(name, kind):
    assert kind_of(name) == kind


# --- runs that did not complete ---


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [
        (FAILED, 1, "Could not open 'x.tflite' (Failed to mmap model x.tflite)"),
        (GOOD + "ERROR: Benchmarking failed.\n", None, "Benchmarking failed; the last line was"),
        (GOOD, 1, "exit status 1; the last line was"),
        (GOOD, 139, "segmentation fault (status 139); the last line was"),
        (GOOD, -9, "killed (status -9)"),
        (
            "STARTING!\nLoaded model m\n",
            139,
            "segmentation fault (status 139); the last line was 'Loaded model m'",
        ),
        ("STARTING!\n", 134, "aborted (status 134)"),
        ("", 137, "killed (status 137); nothing was printed"),
        ("", 140, "ended by signal 12 (status 140)"),
        ("", 0, "the tool printed nothing"),
        ("", None, "the tool printed nothing"),
        (
            "sh: ./benchmark_model: not executable: 64-bit ELF file\n",
            126,
            "not executable: 64-bit ELF file",
        ),
        (
            "sh: ./benchmark_model: can't execute: Permission denied\n",
            126,
            "can't execute: Permission denied",
        ),
        ("sh: ./benchmark_model: inaccessible or not found\n", 127, "inaccessible or not found"),
        (
            'CANNOT LINK EXECUTABLE "./benchmark_model": library "libc++_shared.so" not found\n',
            1,
            'library "libc++_shared.so" not found',
        ),
        ("", 126, "the phone's shell cannot execute it (status 126)"),
        ("sh: ./benchmark_model: not found\n", None, "./benchmark_model: not found"),
        ("STARTING!\nSegmentation fault \n", None, "Segmentation fault; the last line was 'STARTING"),
        ("\n".join(GOOD.splitlines()[:16]), 0, "no summary after 'count=25"),
        ("\n".join(GOOD.splitlines()[:15]) + "\n", 0, "no summary after 'Running benchmark"),
    ],
)
def test_a_run_that_failed_or_was_cut_says_why(text, status, reason):
    with pytest.raises(LogError, match=re.escape(reason)):
        parse_run(text, status=status)


def test_a_dry_run_has_no_latency_and_never_one_of_zero():
    text = re.sub(r"count=\d+ .*", "count=0 p5=0 median=0 p95=0", GOOD)
    text = re.sub(r"First inference.*", "First inference: 0, Warmup (avg): 0, Inference (avg): 0", text)
    with pytest.raises(LogError, match="no inference was timed"):
        parse_run(text, status=0)
    summary_alone = next(line for line in text.splitlines() if "timings" in line) + "\n"
    for each in (text, summary_alone):
        log = parse_log(each)
        assert (len(log.runs), len(log.failures)) == (0, 1)


def test_without_a_warm_up_the_first_inference_is_the_first_timed_one():
    text = re.sub(r"count=3 .*", "count=0 p5=0 median=0 p95=0", GOOD)
    text = text.replace("First inference: 9001, Warmup (avg): 8501.33", "First inference: 0, Warmup (avg): 0")
    report = parse_run(text)
    assert (report.warmup, report.first_ms) == (None, 7.001)


def test_a_summary_without_the_timed_block_is_a_run_in_a_log_but_not_of_a_process():
    text = next(line for line in GOOD.splitlines() if "timings" in line) + "\n"
    run = parse_log(text).runs[0]
    assert run.timed == Stats(count=None, avg_ms=7.10525)
    with pytest.raises(LogError, match="no line of the timed block"):
        parse_run(text)


def test_one_block_alone_is_the_timed_one_only_where_the_summary_says_so():
    lines = GOOD.splitlines(keepends=True)
    assert parse_log("".join(lines[14:])).runs[0].timed == TIMED
    assert parse_log("".join(lines[:13] + lines[17:])).runs == ()
    warmup, block = (line.partition("count=")[2] for line in (lines[12], lines[15]))
    alike = GOOD.replace(warmup, block).replace("8501.33", "7105.25").splitlines(keepends=True)
    assert parse_log("".join(alike)).runs[0].warmup.count == 25
    assert parse_log("".join(alike[:13] + alike[17:])).runs == ()


@pytest.mark.parametrize("form", ["{}", "INFO: {}", "07-14 13:14:52.097 22838 22901 I tflite  : {}"])
def test_without_a_summary_whole_blocks_are_a_run_that_is_not_valid(form):
    words = [re.sub("^[A-Z]+: ", "", line) for line in GOOD.splitlines()[:16] if line]
    text = "".join(form.format(line) + "\n" for line in words)
    (run,) = parse_log(text).runs
    whole = parse_run(GOOD)
    assert run == replace(
        whole,
        init_memory_bytes=None,
        overall_memory_bytes=None,
        peak_memory_bytes=None,
        reasons=("no summary",),
    )
    assert len(parse_log(text + text).runs) == 2
    assert [len(each) for each in (parse_log(text + FAILED).runs, parse_log(text + GOOD).runs)] == [1, 2]
    assert parse_log(text + "ERROR: out of memory\n").runs[0].reasons == (
        "no summary after the error 'out of memory'",
    )
    grepped = "".join(form.format(line) + "\n" for line in words if line.startswith("count="))
    assert [each.timed for each in parse_log(grepped).runs] == [TIMED]


@pytest.mark.parametrize("num_lines", [13, 15])
def test_a_warm_up_alone_is_never_the_timed_runs(num_lines):
    log = parse_log("".join(GOOD.splitlines(keepends=True)[:num_lines]))
    assert (log.runs, len(log.failures)) == ((), 1)


def test_without_running_benchmark_lines_the_first_block_is_the_warm_up():
    text = "".join(line for line in GOOD.splitlines(keepends=True) if "Running benchmark" not in line)
    run = parse_log(text).runs[0]
    assert (run.timed, run.warmup.count, run.asked_runs) == (TIMED, 3, 20)


@pytest.mark.parametrize(("wrong", "right"), [("avg=7105.25", "avg=7105.26"), ("avg=8501.33", "avg=8501.34")])
def test_a_block_that_the_summary_contradicts_is_no_run(wrong, right):
    log = parse_log(GOOD.replace(wrong, right, 1))
    assert log.runs == ()
    assert "the summary is not of the" in log.failures[0].reason


def test_a_summary_that_may_be_cut_counts_only_where_it_agrees_with_the_block():
    whole = GOOD[: GOOD.index("INFO: Note")].rstrip("\n")
    assert parse_log(whole).runs[0].timed == TIMED
    for num_lost in range(1, 40):
        assert completed(whole[:-num_lost]) == []
    alone = whole[whole.index("INFO: Inference timings") :]
    assert parse_log(alone).runs == ()
    assert len(parse_log(alone + "\n").runs) == 1


def test_the_error_named_is_the_first_that_matters():
    text = """\
STARTING!
INFO: Use gpu: [1]
ERROR: Following operations are not supported by GPU delegate:
ERROR: TRANSPOSE_CONV: Max version supported: 3. Requested version 4.
ERROR: 40 operations will run on the GPU, and the remaining 9 operations will run on the CPU.
ERROR: clCreateCommandQueue failed
Failed to apply GPU delegate.
Benchmarking failed.
"""
    with pytest.raises(LogError, match=r"^clCreateCommandQueue failed \(Failed to apply GPU delegate\)$"):
        parse_run(text, status=1)


def test_two_runs_are_not_one():
    with pytest.raises(LogError, match="holds 2 runs"):
        parse_run(GOOD + GOOD)


# --- logs from anywhere ---


def logcat(text, pid, form):
    return "".join(
        form.format(pid=pid, message=line.removeprefix("INFO: ").removeprefix("VERBOSE: ")) + "\n"
        for line in text.splitlines()
        if line
    )


THREADTIME = "07-14 13:14:52.097 {pid} {pid} I tflite  : {message}"


@pytest.mark.parametrize(
    "form",
    [
        THREADTIME,
        "2026-" + THREADTIME,
        "07-08 15:33:58.993 I/tflite  ( {pid}): {message}",
        "I/tflite  ({pid}): {message}",
        "I0000 00:00:1758455104.504065   62590 benchmark_model.cc:51] {message}",
        "INFO: [tflite/tools/benchmark_model.cc:96] {message}",
        "2024-05-01T10:00:00.123Z INFO: {message}",
        "    {message}",
        "\x1b[32mINFO:\x1b[0m {message}\x1b[K",
        "{message}",
        "{message}\r",
        "INFO: {message}\r\r",
    ],
)
def test_any_prefix_is_taken_off(form):
    log = parse_log(logcat(GOOD, 22838, form))
    assert log.failures == ()
    assert log.runs == (parse_run(GOOD),)


def test_two_processes_in_one_logcat_are_kept_apart():
    other = GOOD.replace("7105.25", "7200.5").replace("net.tflite", "other.tflite")
    ours, theirs = (logcat(text, pid, THREADTIME).splitlines() for text, pid in ((GOOD, 11), (other, 22)))
    mixed = "\n".join(line for pair in zip(ours, theirs, strict=True) for line in pair) + "\n"
    log = parse_log(mixed)
    assert [run.timed.avg_ms for run in log.runs] == [7.10525, 7.2005]
    assert [run.graph for run in log.runs] == ["/data/local/tmp/net.tflite", "/data/local/tmp/other.tflite"]
    assert log.failures == ()


def test_runs_after_one_another_are_told_apart_and_failed_ones_have_their_line():
    prompt = "phone:/data/local/tmp $ ./benchmark_model --graph=x.tflite\n"
    text = prompt + GOOD + prompt + FAILED + prompt + OLD + prompt + GOOD[: GOOD.index("INFO: count=25")]
    log = parse_log(text)
    assert [run.timed.avg_ms for run in log.runs] == [7.10525, 747.733]
    assert len(log.failures) == 2
    lines = text.splitlines()
    assert lines[log.failures[0].line - 1] == "ERROR: Could not open 'x.tflite'."
    assert "Running benchmark for at least 20" in lines[log.failures[1].line - 1]


def test_a_refused_start_and_then_a_good_run():
    text = "/system/bin/sh: ./benchmark_model: can't execute: Permission denied\n" + GOOD
    log = parse_log(text)
    assert [run.timed for run in log.runs] == [TIMED]
    assert [failure.line for failure in log.failures] == [1]


def test_the_errors_of_a_second_run_that_were_merged_early_leave_the_first_alone():
    lines = FAILED.splitlines(keepends=True)
    log = parse_log(GOOD + "".join(lines[2:] + lines[:2]))
    assert [run.timed for run in log.runs] == [TIMED]
    assert len(log.failures) == 1


def test_a_run_whose_inference_failed_is_none_although_it_has_a_summary():
    log = parse_log(GOOD + "ERROR: Benchmarking failed.\n" + OLD)
    assert [run.timed.avg_ms for run in log.runs] == [747.733]
    assert "Benchmarking failed" in log.failures[0].reason


def test_results_of_litert_v2_after_a_run_that_was_cut_are_its_own():
    cut = GOOD[: GOOD.index(" max=7999")] + "\n"
    log = parse_log(cut + LITERT)
    assert [run.timed.avg_ms for run in log.runs] == [85.23]
    assert "cut" in log.failures[0].reason


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "hello\nworld",
        "ls: cannot access 'x': No such file or directory\n",
        "sh: gcc: not found\nKilled\nERROR: Failed to load model of something else\n",
        "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n",
        "count of things=3\nTimings (microseconds): count=1 curr=5\n",
    ],
)
def test_a_text_without_the_tool_in_it_gives_neither(text):
    log = parse_log(text)
    assert (log.runs, log.failures) == ((), ())
