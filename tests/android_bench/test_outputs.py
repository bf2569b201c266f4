"""Which tools can run a sample and give its output."""

import pytest

from android_bench.errors import ToolError
from android_bench.tool.outputs import InputTensor, run_samples
from android_bench.tool.runner import ToolFlags


@pytest.mark.parametrize(
    ("kind", "names", "said"),
    [
        ("tflite", {"graph", "input_layer_value_files"}, "takes input files but .* no --output_filepath"),
        ("litert", {"graph"}, "takes no input files and writes no outputs"),
    ],
)
def test_a_tool_that_cannot_run_samples_says_what_it_lacks(kind, names, said):
    flags = ToolFlags(kind=kind, names=frozenset(names))
    with pytest.raises(ToolError, match=said):
        run_samples(None, None, flags, None, tensor=InputTensor(name="x", shape=(1,)), samples=[])
