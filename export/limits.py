"""How large a file from elsewhere may be, and what it may hold: every bound of every reader. No imports.

A reader refuses more with one of our errors, before the memory is taken.
"""

from __future__ import annotations

MIB = 2**20
GIB = 2**30

TFLITE_BYTES = 4 * GIB
"""A .tflite file, which is read whole. Its flatbuffer ends at 2 GiB; weights behind it may follow."""
TFLITE_OPERATORS = 100_000
"""Operators of all graphs of a file. The largest net of keras.applications, NASNetLarge, has below 2,000."""
TFLITE_TENSORS = 250_000
"""Tensors of all graphs, and entries of each other list of the file."""
TFLITE_RANK = 32
"""Dimensions of a tensor; LiteRT's kernels take up to 8."""
TFLITE_TENSOR_VALUES = 2**34
"""Values of one tensor: more than any phone's memory."""
TFLITE_CONSTANT_STEPS = 1_000
"""Operators that compute one constant from others. A converter leaves one or two."""

TFLITE_PARTS_BYTES = 8 * GIB
"""What a file's operators take, each cut out with its constants to be timed: a constant may be in many."""

UNPACKED_TIMES = 50
"""An archive's content beside the archive's own size. Pruned weights reach 10; a bomb is beyond 1,000."""
UNPACKED_ALWAYS_BYTES = 256 * MIB
"""What any archive may unpack to, however small it is."""
MODEL_BYTES = 4 * GIB
"""A Keras model's file, or all files of a SavedModel's folder. ConvNeXtXLarge's has 1.3 GiB."""
MODEL_CONFIG_BYTES = 16 * MIB
"""A Keras model's configuration as JSON. NASNetLarge's has 1 MiB."""
SAVED_MODEL_GRAPH_BYTES = 256 * MIB
"""A SavedModel's graph, without its weights: mostly a few MiB."""
SAVED_MODEL_NODES = 2_000_000
"""Operations of a SavedModel's graph, those of a function as often as it is called."""
KERAS_CALLS = 100_000
"""Calls of layers, those in a nested model as often as it is called. NASNetLarge has 1,000."""
KERAS_OUTPUT_VALUES = 2**26
"""Values that a layer gives for one image, 256 MiB: 64 channels of 1024x1024."""
KERAS_MULTIPLICATIONS = 10**12
"""Multiplications of a layer for one image, minutes of a core. All of NASNetLarge has 0.024 of it."""
KERAS_LAYER_VISITS = 1_000_000
"""Layers times the passes over them that calling each takes; in files of Keras's own the passes are a few."""
HDF5_OBJECTS = 100_000
"""Groups and arrays in a file of weights."""

RECORD_BYTES = 16 * MIB
"""A JSON file that describes another: a sidecar, a run's record, a kit's list. DenseNet-201's has 0.2 MiB."""
LABELS_BYTES = 16 * MIB
"""A file of class names, beside a model or inside it. ImageNet's 21,843 names are 0.5 MiB."""
CLASSES = 100_000
"""Classes of a data set or a file. The largest public one, ImageNet-21k, has 21,843."""
LOG_BYTES = 256 * MIB
"""A saved log. A day of logcat has about 100 MiB."""
