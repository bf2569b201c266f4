"""The result file, against bytes made here by the wire format's rules and against one that the tool wrote."""

import dataclasses
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from android_bench.errors import LogError
from android_bench.printed.result_file import ToolResult, differences, read_result, with_result
from android_bench.printed.run import parse_run

REAL = Path(__file__).parents[3] / "shared" / "reference" / "logs" / "litert_2.1.4_x86_64" / "result_f32"
needs_real = pytest.mark.skipif(
    not REAL.with_suffix(".pb").is_file(), reason=f"the captured result file is not at {REAL}.pb"
)

LATENCY = (7.10525, 6.903, 7.999, 0.101, 7.1, 6.95, 7.5, 12.345, 9.001, 8.50133)
TEXT = """\
The input model file size (MB): 2.5
Running benchmark for at least 1 iterations and at least 0.5 seconds
count=3 first=9001 curr=8001 min=8001 max=9001 avg=8501.33 std=410 p5=8001 median=8502 p95=9001
Running benchmark for at least 20 iterations and at least 1 seconds
count=25 first=7001 curr=7202 min=6903 max=7999 avg=7105.25 std=101 p5=6950 median=7100 p95=7500
Inference timings in us: Init: 12345, First inference: 9001, Warmup (avg): 8501.33, Inference (avg): 7105.25
Memory footprint delta from the start of the tool (MB): init=4.5 overall=8.25
"""
V2 = """\
========== BENCHMARK RESULTS ==========
Model initialization: 12.35 ms
Warmup (first):       9.00 ms
Warmup (avg):         8.50 ms (3 runs)
Inference (avg):      7.11 ms (25 runs)
Inference (min):      6.90 ms
Inference (max):      8.00 ms
Inference (std):      0.10
Init footprint:       4.50 MB
"""


def varint(value):
    """A number in the wire format: seven bits a byte, the least first."""
    value &= (1 << 64) - 1
    content = bytearray()
    while value > 0x7F:
        content.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*content, value])


def fixed(number, value):
    return varint(number << 3 | 5) + struct.pack("<f", value)


def whole(number, value):
    return varint(number << 3) + varint(value)


def nested(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def result_file(*, latency=LATENCY, memory=(4608, 8448), num_runs=25, num_warmup_runs=3):
    """A file as the tool writes it: latency, memory (kB), then the rest."""
    times = b"".join(fixed(number, value) for number, value in enumerate(latency, start=1))
    sizes = b"".join(whole(number, value) for number, value in enumerate(memory, start=1))
    rest = fixed(1, 2.5) + whole(2, num_runs) + whole(3, num_warmup_runs) + fixed(4, 99.5)
    return nested(2, times) + nested(3, sizes) + nested(4, rest)


def test_every_field_is_read_by_its_number():
    result = read_result(result_file(memory=(4608, 8448)))
    assert (result.num_runs, result.num_warmup_runs) == (25, 3)
    names = ("avg", "min", "max", "std", "median", "p5", "p95", "init", "first", "warmup_avg")
    for name, value in zip(names, LATENCY, strict=True):
        assert getattr(result, f"{name}_ms") == pytest.approx(value, rel=1e-7)  # 32 bits hold 7 digits
    assert (result.init_memory_bytes, result.overall_memory_bytes) == (4608 * 1024, 8448 * 1024)
    assert (result.model_size_bytes, result.peak_memory_bytes) == (2_500_000, None)


@needs_real
def test_a_file_that_the_tool_wrote_says_what_its_decoded_copy_says():
    decoded = dict(re.findall(r"(\w+): (\S+)", REAL.with_suffix(".pbtxt").read_text()))
    result = read_result(REAL.with_suffix(".pb").read_bytes())
    assert (result.num_runs, result.num_warmup_runs) == (172, 86)
    assert result.init_memory_bytes == int(decoded["init_footprint_kb"]) * 1024
    assert result.model_size_bytes == 16_863_844
    names = {"stddev_ms": "std_ms", "first_inference_ms": "first_ms", "average_warm_up_ms": "warmup_avg_ms"}
    for name in ("avg_ms", "min_ms", "median_ms", "p5_ms", "p95_ms", "init_ms", *names):
        assert getattr(result, names.get(name, name)) == pytest.approx(float(decoded[name]), rel=1e-7)


def test_a_file_that_was_cut_anywhere_is_refused():
    content = result_file()
    for end in range(len(content)):
        with pytest.raises(LogError, match=r"empty|cut"):
            read_result(content[:end])


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 10, b"\xff" * 40, nested(9, b"x")])
def test_something_else_is_refused(content):
    with pytest.raises(LogError):
        read_result(content)


def test_a_dry_run_has_no_figures():
    with pytest.raises(LogError, match="no inference was timed"):
        read_result(result_file(num_runs=0))


def test_without_a_warm_up_there_is_no_first_inference_of_zero():
    result = read_result(result_file(latency=(*LATENCY[:8], 0.0, 0.0), num_warmup_runs=0))
    assert (result.first_ms, result.warmup_avg_ms) == (None, None)


def test_a_figure_that_is_no_number_is_missing():
    result = read_result(result_file(latency=(7.0, float("nan"), *LATENCY[2:])))
    assert result.min_ms is None


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=100) | st.lists(st.integers(0, 100), min_size=1, max_size=4).map(tuple))
def test_garbage_raises_nothing_but_a_log_error(garbage):
    content = garbage
    if isinstance(garbage, tuple):
        content = bytearray(result_file())
        for index in garbage:
            content[index % len(content)] ^= 1 << index % 8
    try:
        result = read_result(bytes(content))
    except LogError:
        return
    assert isinstance(result, ToolResult)
    assert result.num_runs > 0


# --- against the text of the same run ---


@pytest.mark.parametrize("text", [TEXT, V2])
def test_the_text_and_the_file_of_one_run_agree_within_their_digits(text):
    assert differences(parse_run(text), read_result(result_file())) == ()


def test_every_figure_is_compared():
    report, result = parse_run(TEXT), read_result(result_file())
    for field in dataclasses.fields(ToolResult):
        value = getattr(result, field.name)
        if value is not None:
            other = dataclasses.replace(result, **{field.name: value + max(1, value // 10)})
            assert len(differences(report, other)) == 1, field.name


@pytest.mark.parametrize("change_ms", [-0.002, 0.002])
def test_two_microseconds_are_a_difference(change_ms):
    other = result_file(latency=(*LATENCY[:4], LATENCY[4] + change_ms, *LATENCY[5:]))
    (difference,) = differences(parse_run(TEXT), read_result(other))
    assert difference == f"the text says median 7.1 ms, the result file {7.1 + change_ms:.3f} ms"


def test_two_decimals_are_what_litert_v2_is_held_to():
    other = result_file(latency=(LATENCY[0] + 0.02, *LATENCY[1:]))
    assert len(differences(parse_run(V2), read_result(other))) == 1


def test_another_number_of_runs_is_a_difference():
    (difference,) = differences(parse_run(TEXT), read_result(result_file(num_runs=26)))
    assert difference == "the text says num_runs 25, the result file 26"


def test_what_the_text_does_not_print_is_not_compared():
    old = re.sub(r" p5=.*", "", TEXT)
    assert differences(parse_run(old), read_result(result_file())) == ()


@pytest.mark.parametrize("text", [TEXT, V2])
def test_the_result_files_figures_take_the_texts_place(text):
    report = parse_run(text, status=0)
    found = with_result(report, read_result(result_file()))
    assert found.timed.count == 25
    # as the file's 32-bit floats have them, where v2's text has two decimals and no median
    assert found.timed.avg_ms == pytest.approx(7.10525, rel=1e-6)
    assert found.timed.median_ms == pytest.approx(7.1, rel=1e-6)
    assert found.init_ms == pytest.approx(12.345, rel=1e-6)
    assert found.delegations == report.delegations
    assert found.warmup == report.warmup
