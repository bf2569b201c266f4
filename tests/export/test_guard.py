"""Odd but valid graphs are read in a moment; impossible ones are refused with what is wrong."""

import time

import pytest
from ai_edge_litert import schema_py_generated as schema
from flatbuffer_graphs import packed, written

from export.check.load_check import litert_loads
from export.errors import BadModelFileError, ExportError
from export.tflite.inspect import inspect, inspect_bytes
from export.tflite.layers import read_layers
from export.tflite.output import head_of_file
from export.tflite.pack import pack
from export.tflite.submodel import Cutter


def chain(length, *, constant):
    """ADD(x, x) so many times over."""
    operators = [((number, number), (number + 1,)) for number in range(length)]
    start = {"constants": {0: [1, 2, 3, 4]}} if constant else {"inputs": (0,)}
    return written(operators, tensors=[(1, 4)] * (length + 1), outputs=(length,), **start)


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("length", [24, 900])
def test_a_long_chain_of_sums_is_read_and_cut_in_a_moment(length, constant):
    content = chain(length, constant=constant)
    started = time.process_time()
    layers = read_layers(content, name="chain").layers
    part = Cutter(content).cut(length - 1)
    assert time.process_time() - started < 3
    assert len(layers) == length
    assert all(each.on_loading for each in layers) is constant
    assert len(inspect_bytes(part.content, name="part").graph) == (length if constant else 1)


def test_a_constant_that_is_read_by_many_ways_counts_once():
    operators = [((0, 0), (1,)), ((1, 1), (2,)), ((3, 2), (4,))]
    content = written(operators, tensors=[(1, 4)] * 5, inputs=(3,), outputs=(4,), constants={0: [0, 1, 2, 3]})
    last = read_layers(content, name="x").layers[-1]
    assert (last.num_parameters, last.weight_bytes, last.sparsity) == (4, 16, 0.25)


def test_a_constant_of_too_many_steps_is_refused():
    length = 1_100
    operators = [((number, number), (number + 1,)) for number in range(length)]
    operators.append(((length + 1, length), (length + 2,)))
    content = written(
        operators,
        tensors=[(1, 4)] * (length + 3),
        inputs=(length + 1,),
        outputs=(length + 2,),
        constants={0: [0, 1, 2, 3]},
    )
    with pytest.raises(ExportError, match="from more than 1,000 others"):
        read_layers(content, name="x")


IMPOSSIBLE = {
    "circle": ([((0, 2), (1,)), ((1, 1), (2,))], {}, "operator 0 .ADD. reads tensor 2, which operator 1"),
    "own output": ([((0, 1), (1,))], {}, "runs in a circle"),
    "written twice": ([((0, 0), (1,)), ((0, 0), (1,))], {}, "operators 0 and 1 both write tensor 1"),
    "no such tensor": ([((0, 9), (1,))], {}, "operator 0 uses tensor 9"),
    "negative tensor": ([((0, -2), (1,))], {}, "operator 0 uses tensor -2"),
    "no such input": ([((0, 0), (1,))], {"inputs": (-1,)}, "the graph uses tensor -1"),
    "no such output": ([((0, 0), (1,))], {"outputs": (7,)}, "the graph uses tensor 7"),
    "negative size": ([((0, 0), (1,))], {"tensors": [(1, -4), (1, 4)]}, "tensor 0 has the shape"),
    "beyond memory": ([((0, 0), (1,))], {"tensors": [(2**20, 2**20), (1, 4)]}, "more than any memory"),
    "too little data": ([((0, 0), (1,))], {"constants": {0: [1, 2]}}, "tensor 0 holds 8 bytes"),
    "weights of no kernel": (
        [((0, 1), (2,))],
        {"kind": schema.BuiltinOperator.CONV_2D},
        "weights of the shape",
    ),
    "no weights": ([((0,), (2,))], {"kind": schema.BuiltinOperator.CONV_2D}, "lacks an input"),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_an_impossible_graph_is_refused_with_its_fault(case):
    operators, options, fault = IMPOSSIBLE[case]
    content = written(operators, **{"tensors": [(1, 4)] * 3, **options})
    for read in (inspect_bytes, read_layers):
        with pytest.raises(BadModelFileError, match=fault):
            read(content, name="x.tflite")


@pytest.mark.parametrize("field", ["buffer", "type", "opcodeIndex"])
def test_an_index_or_a_type_that_is_not_there_is_refused(field):
    model = schema.ModelT.InitFromPackedBuf(chain(2, constant=False), 0)
    graph = model.subgraphs[0]
    setattr(graph.operators[1] if field == "opcodeIndex" else graph.tensors[1], field, 77)
    with pytest.raises(BadModelFileError, match=r"not there|not known"):
        inspect_bytes(packed(model), name="x")


def test_litert_runs_what_is_accepted_and_refuses_or_misreads_what_is_not(tmp_path):
    """The order of operators is LiteRT's own rule: it computes on whatever the memory holds."""
    good = tmp_path / "good.tflite"
    good.write_bytes(chain(30, constant=False))
    assert litert_loads(good) == (True, None)
    operators, _, _ = IMPOSSIBLE["too little data"]
    short = tmp_path / "short.tflite"
    short.write_bytes(written(operators, tensors=[(1, 4)] * 3, constants={0: [1, 2]}))
    assert litert_loads(short)[0] is False


def test_a_graph_without_operators_or_ends_is_read():
    empty = written([], tensors=[])
    assert inspect_bytes(empty, name="x").graph == ()
    assert read_layers(empty, name="x").layers == ()
    assert pack(empty).tensor_names == ()
    with pytest.raises(ExportError, match="gives no output"):
        head_of_file(inspect_bytes(empty, name="x"))


def test_a_pipe_and_a_file_of_holes_are_refused_unread(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.tflite")
    with pytest.raises(BadModelFileError, match="is a pipe or a device"):
        inspect(tmp_path / "pipe.tflite")
    with (tmp_path / "holes.tflite").open("wb") as file:
        file.truncate(5 * 2**30)
    with pytest.raises(BadModelFileError, match="at most 4,096 MiB"):
        inspect(tmp_path / "holes.tflite")


def test_a_small_file_that_repeats_one_table_without_end_is_refused():
    content = bytearray(chain(1, constant=False))
    graph = schema.Model.GetRootAs(bytes(content), 0).Subgraphs(0)
    start = graph._tab.Vector(graph._tab.Offset(4))
    first = start + int.from_bytes(content[start : start + 4], "little")
    # the list of tensors moves to the end, where all of 300,000 entries are the first tensor
    places = len(content) + 4
    content += (300_000).to_bytes(4, "little") + bytes(4 * 300_000)
    field = graph._tab.Pos + graph._tab.Offset(4)
    content[field : field + 4] = (places - 4 - field).to_bytes(4, "little")
    assert first < places
    with pytest.raises(BadModelFileError, match="300,000 tensors, more than 250,000"):
        inspect_bytes(bytes(content), name="x")
