"""The operator profile, as text of several versions and as CSV."""

import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from android_bench.printed.profile import is_delegate_node, is_quantization, parse_profile, summarize

LOGS = Path(__file__).parents[3] / "shared" / "reference" / "logs"
needs_logs = pytest.mark.skipif(not LOGS.is_dir(), reason=f"the captured logs are not at {LOGS}")

TEXT = """\
INFO: Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
\t                             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t           Convolution (NHWC, F32) IGEMM\t    0.117\t    0.500\t  2.181%\t  2.181%\t     0.000\t        1\tDelegate/Convolution (NHWC, F32) IGEMM:0
\t                       Mean (ND) Reduce2\t    0.003\t    0.125\t  0.073%\t 97.571%\t     0.000\t        3\tDelegate/Mean (ND) Reduce2:1
\t                                QUANTIZE\t    0.001\t    0.125\t  0.025%\t 99.982%\t     0.000\t        1\t[net/quantize;a b]:2

============================== Top by Computation Time ==============================
\t                             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t           Convolution (NHWC, F32) IGEMM\t    0.117\t    0.500\t  2.181%\t  2.181%\t     0.000\t        1\tDelegate/Convolution (NHWC, F32) IGEMM:0

Number of nodes executed: 3
============================== Summary by node type ==============================
"""  # noqa: E501 - as printed
INIT = """\
INFO: Profiling Info for Benchmark Initialization:
============================== Run Order ==============================
                        [node type]   [first]  [avg ms]      [%]    [cdf%]   [mem KB] [times called]  [Name]
            ModifyGraphWithDelegate     6.348     6.348  55.640%   55.640%   7148.000              1  ModifyGraphWithDelegate/0

Number of nodes executed: 1
"""  # noqa: E501 - as printed
START = """\
============================== Run Order ==============================
\t             [node type]\t  [start]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t                 CONV_2D\t    0.000\t    4.269\t    3.000\t  0.107%\t  0.107%\t     0.000\t        0\t[a/Relu6]
\t                 SOFTMAX\t   79.443\t    0.029\t    1.000\t -nan%\t  1.993%\t     0.000\t        0\t[b]

Number of nodes executed: 2
"""  # noqa: E501 - as printed
CSV = """\
Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
Convolution (NHWC, F32) IGEMM, 0.122, 0.5, 2.28325%, 2.28325%, 0, 1, Delegate/Convolution (NHWC\t F32) IGEMM:0
Mean (ND) Reduce2, 0.1, 0.125, 2%, 98%, 0, 3, Delegate/Mean (ND) Reduce2:1
QUANTIZE, 0, 0.125, 0.00196394%, 99.9682%, 0, 1, [net/quantize;a b]:2

Number of nodes executed: 3
"""
LITERT = """\
INFO: [./litert/tools/benchmark_litert_model.h:179]\x20
============================== Run Order ==============================
\t                             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t        LiteRT::Run[buffer registration]\t    0.020\t    0.100\t  3.309%\t  3.309%\t     0.000\t        1\tLiteRT::Run[buffer registration]/0
\t                         AllocateTensors\t    0.291\t    0.291\t  0.022%\t  3.331%\t   452.000\t        0\tAllocateTensors/0
\t         Fully Connected (NC, PF32) GEMM\t    0.538\t    0.300\t 92.948%\t 97.018%\t     0.000\t        1\tDelegate/Fully Connected (NC, PF32) GEMM:1

Number of nodes executed: 3
"""  # noqa: E501 - as printed
TEXTS = [INIT + TEXT, START, CSV, LITERT]


def read(name):
    return parse_profile((LOGS / name).read_text())


@pytest.mark.parametrize(
    "text", [TEXT, CSV, INIT + TEXT, TEXT.replace("\t", "   "), TEXT.replace("\n", "\r\n")]
)
def test_text_and_csv_give_the_same_operators(text):
    profile = parse_profile(text)
    assert profile.complete
    found = [(each.node_type, each.name, each.avg_ms, each.delegated) for each in profile.operators]
    assert found == [
        ("Convolution (NHWC, F32) IGEMM", "Delegate/Convolution (NHWC, F32) IGEMM:0", 0.5, True),
        ("Mean (ND) Reduce2", "Delegate/Mean (ND) Reduce2:1", 0.125, True),
        ("QUANTIZE", "[net/quantize;a b]:2", 0.125, False),
    ]


def test_the_share_is_reckoned_from_all_calls_and_not_read():
    assert [each.share_percent for each in parse_profile(TEXT).operators] == [50.0, 37.5, 12.5]
    assert [each.inference_ms for each in parse_profile(TEXT).operators] == [0.5, 0.375, 0.125]


def test_where_no_calls_are_counted_each_operator_ran_once():
    profile = parse_profile(START)
    assert profile.complete
    assert [each.share_percent for each in profile.operators] == [75.0, 25.0]


def test_what_was_called_less_than_once_in_an_inference_takes_none_of_its_time():
    profile = parse_profile(LITERT)
    assert profile.complete
    assert [each.share_percent for each in profile.operators] == [25.0, 0.0, pytest.approx(75.0)]


def test_the_initialisation_stands_apart():
    profile = parse_profile(INIT + TEXT)
    assert [each.node_type for each in profile.init_operators] == ["ModifyGraphWithDelegate"]
    assert parse_profile(INIT).operators == ()
    assert not parse_profile(INIT).complete


def test_tables_that_the_main_one_contains_are_left_out():
    text = TEXT.replace("\n\n====", "\n\nDelegate internal:\n====", 1) + START
    profile = parse_profile(text)
    assert (len(profile.operators), profile.complete) == (3, False)


@pytest.mark.parametrize(
    ("node_type", "name", "delegated"),
    [
        ("TfLiteNnapiDelegate", "[a;b1, c;d]:31", True),
        ("TfLiteXNNPackDelegate", "[probs]:31", True),
        ("TfLiteGpuDelegateV2", "[probs]:31", True),
        ("LITERT_CL", "[probs]:31", True),
        ("DELEGATE", "[probs]", True),
        ("CONV_2D", "[delegate/probs]:31", False),
    ],
)
def test_a_delegates_own_node_is_delegated(node_type, name, delegated):
    """As in tensorflow/tensorflow#46084 and mozilla/DeepSpeech#2270: the tool looks into none of them."""
    figures = "    7.375\t    6.549\t 99.9%\t 99.9%\t     0.000\t        1"
    row = f"\t     {node_type}\t{figures}\t{name}"
    text = "\n".join([*TEXT.splitlines()[:3], row, "", "Number of nodes executed: 1", ""])
    (operator,) = parse_profile(text).operators
    assert (operator.node_type, operator.name, operator.delegated) == (node_type, name, delegated)
    assert is_delegate_node(node_type) is delegated


def test_by_type_the_slowest_is_first():
    types = summarize(parse_profile(TEXT))
    assert [(each.node_type, each.count, each.inference_ms) for each in types] == [
        ("Convolution (NHWC, F32) IGEMM", 1, 0.5),
        ("Mean (ND) Reduce2", 1, 0.375),
        ("QUANTIZE", 1, 0.125),
    ]


@pytest.mark.parametrize(
    ("node_type", "expected"),
    [
        ("QUANTIZE", True),
        ("DEQUANTIZE", True),
        ("FAKE_QUANT", True),
        ("Convert (NC, F32, QS8)", True),
        ("Convert (NC, QU8, F32)", True),
        ("CONV_2D", False),
        ("Convolution (NHWC, QC8) IGEMM", False),
        ("QUANTIZED_16BIT_LSTM", False),
        ("CAST", False),
    ],
)
def test_what_only_turns_numbers_into_others_is_quantization(node_type, expected):
    assert is_quantization(node_type) is expected


@pytest.mark.parametrize("text", ["", "hello\n", TEXT.replace("Number of nodes executed: 3", "")])
def test_a_profile_that_does_not_say_how_many_is_not_complete(text):
    assert not parse_profile(text).complete


def test_a_row_that_is_missing_makes_it_incomplete():
    lines = TEXT.splitlines(keepends=True)
    assert not parse_profile("".join(lines[:4] + lines[5:])).complete


@needs_logs
@pytest.mark.parametrize(
    ("name", "num_operators", "num_init", "complete"),
    [
        ("14_linux_x86_64_cpu_opprofile_no_start_column_TRUNCATED.txt", 4, 2, False),
        ("24_readme_opprofile_start_column.txt", 31, 0, True),
        ("litert_2.1.4_x86_64/opprof_f32.stdout", 34, 2, True),
        ("litert_2.1.4_x86_64/opprof_csv_f32.csv", 34, 2, True),
        ("litert_2.1.4_x86_64/noxnn_opprof_csv_f32.csv", 34, 1, True),
        ("tflite_2.9_x86_64/opprof_f32.stdout", 34, 2, True),
        ("13_linux_x86_64_cpu_plain.txt", 0, 0, False),
    ],
)
def test_captured_profiles_are_read_to_the_last_operator(name, num_operators, num_init, complete):
    profile = read(name)
    assert (len(profile.operators), len(profile.init_operators), profile.complete) == (
        num_operators,
        num_init,
        complete,
    )


@needs_logs
@pytest.mark.parametrize(
    "name",
    [
        "litert_2.1.4_x86_64/opprof_f32.stdout",
        "litert_2.1.4_x86_64/opprof_csv_f32.csv",
        "tflite_2.9_x86_64/opprof_f32.stdout",
    ],
)
def test_the_tools_own_summary_by_type_says_the_same(name):
    """Within its rounding: it cuts each operator to whole µs before it adds them up."""
    text = (LOGS / name).read_text()
    theirs = {
        kind.strip(): (int(count), float(ms))
        for kind, count, ms in re.findall(
            r"^\s*(.*?)(?:,|\t)\s+(\d+)(?:,|\t)\s+([\d.]+)(?:,|\t)",
            text.rpartition("Summary by node")[2],
            re.M,
        )
    }
    ours = summarize(parse_profile(text))
    assert {each.node_type for each in ours} == set(theirs)
    for each in ours:
        count, ms = theirs[each.node_type]
        assert each.count == count
        assert each.inference_ms == pytest.approx(ms, abs=0.001 * count + 1e-9)


def rows(profile):
    return [(each.node_type, each.name, each.avg_ms, each.times_called) for each in profile.operators]


@pytest.mark.parametrize("text", TEXTS)
def test_cut_at_any_byte_a_row_is_whole_or_left_out(text):
    whole = parse_profile(text)
    for end in range(len(text)):
        cut = parse_profile(text[:end])
        assert rows(cut) == rows(whole)[: len(rows(cut))]
        assert not cut.complete or rows(cut) == rows(whole)


@settings(max_examples=200, deadline=None)
@given(
    text=st.sampled_from(TEXTS),
    changes=st.lists(st.tuples(st.integers(0, 2000), st.characters()), max_size=6),
)
def test_a_garbled_profile_raises_nothing(text, changes):
    letters = list(text)
    for index, letter in changes:
        letters[index % len(letters)] = letter
    profile = parse_profile("".join(letters))
    for operator in (*profile.operators, *profile.init_operators):
        assert math.isfinite(operator.share_percent)
    assert sum(each.count for each in summarize(profile)) == len(profile.operators)
