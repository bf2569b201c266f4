"""A packed file beside the one that the converter wrote, in both runtimes and by the bytes themselves."""

import copy
import hashlib
import json
import subprocess
import sys

import flatbuffers
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from export.check.verify import NamedLayers, Samples, verify
from export.convert import convert
from export.errors import BadModelFileError, ExportError
from export.plan import converted_model
from export.precisions import Precision
from export.settings import ExportSettings
from export.tflite.app_metadata import with_labels_file, with_metadata_entry
from export.tflite.inspect import inspect_bytes, named
from export.tflite.notes import with_note
from export.tflite.pack import pack
from models.build import build
from models.registry import FAMILIES

RUNTIMES = {"litert": "ai_edge_litert.interpreter", "tflite-runtime": "tflite_runtime.interpreter"}
GOOGLES_MOBILENET_025_128_BYTES = 525_598
"""mobilenet_v1_0.25_128_quant.tflite, which has one scale a tensor where ours have one a channel."""

_ANSWERS = """
import hashlib, importlib, json, sys
import numpy as np
runtime = importlib.import_module(sys.argv[1])
answers = {}
for path in sys.argv[2:]:
    for way in ({"model_path": path}, {"model_content": open(path, "rb").read()}):
        try:
            interpreter = runtime.Interpreter(num_threads=1, **way)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            answers[f"{path} {next(iter(way))}"] = "refused"
            continue
        takes, gives = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        pixels, outputs = np.random.default_rng(0), b""
        for _ in range(3):
            image = pixels.integers(-128, 128, takes["shape"]).astype(takes["dtype"])
            interpreter.set_tensor(takes["index"], image)
            interpreter.invoke()
            outputs += interpreter.get_tensor(gives["index"]).tobytes()
        answers[f"{path} {next(iter(way))}"] = outputs.hex()
print(json.dumps(answers))
"""


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, nets):
    """Precision -> the converter's bytes, of a small member of each family."""
    model = nets.random_statistics(build(request.param, num_classes=10, **FAMILIES[request.param].tiny), 0)
    pixels = np.random.default_rng(0).integers(0, 256, (2, *model.input_shape[1:]), dtype=np.uint8)
    return {precision: convert(model, ExportSettings(precision), pixels=pixels) for precision in Precision}


@pytest.fixture(params=list(Precision))
def content(request, exported):
    """The small net in each precision, as converted."""
    return exported(request.param).read_bytes()


@pytest.fixture
def int8(exported):
    return exported("int8").read_bytes()


def _unpacked(content):
    return schema.ModelT.InitFromPackedBuf(content, 0)


def _rewritten(model):
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _data_places(content):
    """Where the data of each buffer begins in the bytes; None for an empty one."""
    model = schema.Model.GetRootAs(content, 0)
    buffers = [model.Buffers(index) for index in range(model.BuffersLength())]
    return [None if each.DataIsNone() else each._tab.Vector(each._tab.Offset(4)) for each in buffers]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_both_runtimes_give_the_very_bits_from_file_and_from_memory(tmp_path, family, runtime):
    pytest.importorskip(RUNTIMES[runtime], reason=f"{runtime} has no wheel for this machine")
    for precision, content in family.items():
        (tmp_path / f"{precision}_before").write_bytes(content)
        (tmp_path / f"{precision}_after").write_bytes(pack(content).content)
    paths = sorted(map(str, tmp_path.iterdir()))
    command = [sys.executable, "-c", _ANSWERS, RUNTIMES[runtime], *paths]
    answers = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    before = {where: answer for where, answer in answers.items() if "_before" in where}
    after = {where: answer for where, answer in answers.items() if "_after" in where}
    assert {where.replace("_before", "_after"): answer for where, answer in before.items()} == after
    refused = {where for where, answer in answers.items() if answer == "refused"}
    assert all(f"{Precision.DYNAMIC}_" in where and runtime != "litert" for where in refused)


def test_litert_sees_the_tensors_and_the_work_of_the_file_before(content):
    """XNNPACK takes what it took: its nodes stand in the list of operators."""
    before, after = Interpreter(model_content=content), Interpreter(model_content=pack(content).content)
    for each in (before, after):
        each.allocate_tensors()
    assert repr(_nameless(after.get_tensor_details())) == repr(_nameless(before.get_tensor_details()))
    assert repr(after._get_ops_details()) == repr(before._get_ops_details())
    assert after.get_signature_list() == before.get_signature_list()
    assert repr(after.get_input_details()) == repr(before.get_input_details())
    assert repr(after.get_output_details()) == repr(before.get_output_details())


def _nameless(details):
    return [{name: value for name, value in each.items() if name != "name"} for each in details]


def test_the_graph_is_as_it_was_but_for_the_names(content):
    packed = pack(content)
    before, after = inspect_bytes(content, name="x"), inspect_bytes(packed.content, name="x")
    assert after.graph == before.graph
    assert after.tensors != before.tensors
    assert named(after, packed.tensor_names).tensors == before.tensors


def test_names_left_in_are_those_of_inputs_and_outputs_and_signatures(int8):
    model = _unpacked(pack(int8).content)
    (graph,) = model.subgraphs
    assert {index for index, tensor in enumerate(graph.tensors) if tensor.name} == {
        *graph.inputs,
        *graph.outputs,
    }
    (signature,) = model.signatureDefs
    assert [each.name for each in signature.inputs] == [b"image"]


def test_names_that_are_kept_are_all_there(int8):
    packed = pack(int8, keep_names=True)
    before, after = inspect_bytes(int8, name="x"), inspect_bytes(packed.content, name="x")
    assert after.tensors == before.tensors
    assert packed.tensor_names == tuple(tensor.name for tensor in before.tensors)
    assert b"CONVERSION_METADATA" in packed.content
    assert len(pack(int8).content) < len(packed.content) < len(int8)


def test_names_of_another_file_are_refused(int8):
    packed = pack(int8)
    contents = inspect_bytes(packed.content, name="x")
    with pytest.raises(ExportError, match="do not belong to this file's"):
        named(contents, packed.tensor_names[::-1])
    with pytest.raises(ExportError, match="do not belong to this file's"):
        named(contents, [*packed.tensor_names, "one more"])


def test_constant_data_lies_where_the_schema_wants_it(content):
    packed = pack(content).content
    places = [place for place in _data_places(packed) if place is not None]
    assert places
    assert {place % 16 for place in places} == {0}


def test_what_the_object_api_writes_is_not_aligned(int8):
    """Else the test above would hold without the packing."""
    assert {place % 16 for place in _data_places(int8) if place is not None} != {0}


def test_packing_a_packed_file_changes_nothing(content):
    packed = pack(content).content
    assert pack(packed).content == packed


def test_equal_constants_are_stored_once(int8):
    model = _unpacked(int8)
    sizes = [0 if buffer.data is None else len(buffer.data) for buffer in model.buffers]
    largest = int(np.argmax(sizes))
    graph = model.subgraphs[0]
    again = copy.copy(next(tensor for tensor in graph.tensors if tensor.buffer == largest))
    again.buffer = len(model.buffers)
    graph.tensors.append(again)
    model.buffers.append(schema.BufferT(data=model.buffers[largest].data.copy()))
    twice = _rewritten(model)
    places = [place for place in _data_places(pack(twice).content) if place is not None]
    assert len(places) == len(set(places)) + 1
    assert len(pack(twice).content) < len(twice) - sizes[largest]
    assert _constants(pack(twice).content) == _constants(twice)


def _constants(content):
    """The data of each tensor, by its index."""
    model = _unpacked(content)
    data = [model.buffers[tensor.buffer].data for tensor in model.subgraphs[0].tensors]
    return [b"" if each is None else each.tobytes() for each in data]


def test_equal_scales_and_zero_points_are_stored_once(int8):
    packed = pack(int8).content
    graph = schema.Model.GetRootAs(packed, 0).Subgraphs(0)
    found = [graph.Tensors(index).Quantization() for index in range(graph.TensorsLength())]
    for field, read in ((8, "ScaleAsNumpy"), (10, "ZeroPointAsNumpy")):
        vectors = {
            (each._tab.Vector(each._tab.Offset(field)), getattr(each, read)().tobytes())
            for each in found
            if each is not None and each._tab.Offset(field)
        }
        assert len(vectors) == len({values for _, values in vectors}) > 1


def test_metadata_is_kept_but_for_the_converters_own(int8):
    content = with_note(with_metadata_entry(int8, model_name="small"), "mine", "ä")
    before, after = _metadata(content), _metadata(pack(content).content)
    assert before.keys() - after.keys() == {b"CONVERSION_METADATA"}
    assert after.keys() == {b"min_runtime_version", b"pixels", b"TFLITE_METADATA", b"mine"}
    assert all(before[name] == held for name, held in after.items())


def _metadata(content):
    model = _unpacked(content)
    return {each.name: model.buffers[each.buffer].data.tobytes() for each in model.metadata}


def test_metadata_at_its_older_place_is_kept(int8):
    model = _unpacked(int8)
    model.buffers.append(schema.BufferT(data=np.frombuffer(b"older", np.uint8)))
    model.metadataBuffer = np.array([len(model.buffers) - 1], np.int32)
    packed = _unpacked(pack(_rewritten(model)).content)
    assert packed.buffers[packed.metadataBuffer[0]].data.tobytes() == b"older"


def test_loops_and_branches_give_what_they_gave(tmp_path):
    @tf.function(input_signature=[tf.TensorSpec((4,), tf.float32)])
    def grown(values):
        return tf.while_loop(lambda x: tf.reduce_sum(x) < 100, lambda x: [x * 1.5 + 1], [values])[0]

    converter = tf.lite.TFLiteConverter.from_concrete_functions([grown.get_concrete_function()], tf.Module())
    content = converter.convert()
    packed = pack(content)
    assert len(_unpacked(packed.content).subgraphs) == len(_unpacked(content).subgraphs) > 1
    assert len(packed.tensor_names) == len(_unpacked(content).subgraphs[0].tensors)
    contents = inspect_bytes(packed.content, name="x")
    assert named(contents, packed.tensor_names).graph == inspect_bytes(content, name="x").graph
    answers = []
    for each in (content, packed.content):
        interpreter = Interpreter(model_content=each)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.arange(4, dtype=np.float32))
        interpreter.invoke()
        answers.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    np.testing.assert_array_equal(*answers)


def test_layers_are_found_by_the_names_of_the_sidecar(net, int8, test_images, tmp_path):
    labels = np.arange(len(test_images)) % 5
    packed = pack(int8)
    converted = converted_model(net, ExportSettings(Precision.INT8))
    found = {}
    for name, content, names in (("before", int8, ()), ("after", packed.content, packed.tensor_names)):
        (tmp_path / name).write_bytes(content)
        found[name] = verify(
            net,
            tmp_path / name,
            Samples(batches=[(test_images, labels)], dataset="blocks", dataset_fingerprint="", split="test"),
            layers=NamedLayers(model=converted, tensor_names=names),
        )
    assert len(found["before"].layers) > 5
    assert found["after"].layers == found["before"].layers


def test_mobilenet_is_smaller_than_googles_file_of_it():
    model = build("mobilenet", alpha=0.25, image_size=128, num_classes=1001)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 128, 128, 3), dtype=np.uint8)
    packed = pack(convert(model, ExportSettings(Precision.INT8), pixels=pixels)).content
    assert len(packed) < GOOGLES_MOBILENET_025_128_BYTES


@pytest.mark.parametrize("length", [0, 6, 1000, 8000])
def test_a_truncated_file_is_refused(int8, length):
    with pytest.raises(BadModelFileError, match="the file to pack is"):
        pack(int8[:length])


def test_damage_is_refused_or_harmless(int8):
    """Whatever stands in the bytes, nothing but our own errors comes out."""
    rng = np.random.default_rng(5)
    outcomes = set()
    for _ in range(200):
        damaged = bytearray(int8)
        for place in rng.integers(8, len(damaged), 2):
            damaged[place] = rng.integers(0, 256)
        try:
            outcomes.add(hashlib.sha256(pack(bytes(damaged)).content).hexdigest())
        except ExportError as error:
            outcomes.add(type(error).__name__)
    assert "BadModelFileError" in outcomes
    assert len(outcomes) > 2, "some damage is in the weights alone, and packed"


def test_an_archive_behind_the_model_is_not_lost_but_refused(int8):
    labelled = with_labels_file(int8, ["a", "b", "c", "d", "e"])
    with pytest.raises(ExportError, match=r"archive behind its model \(labels\.txt\)"):
        pack(labelled)


def test_weights_behind_the_flatbuffer_are_not_lost_but_refused(int8):
    model = _unpacked(int8)
    model.buffers[-1].data, model.buffers[-1].offset, model.buffers[-1].size = None, 64, 4
    with pytest.raises(ExportError, match="weights behind its flatbuffer"):
        pack(_rewritten(model))
