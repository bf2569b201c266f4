"""The names of layers in a network trained quantized, which its file's tensors have too."""

QUANTIZED_PREFIX = "quant_"
"""What TensorFlow Model Optimization puts before a layer's name."""
PART = ">"
"""What comes between a layer's name and that of a part of it, such as its activation."""
