"""PyTorch and its libraries, in an environment of the tests' own."""

from own_environment import Peer

TORCH = Peer(
    name="PyTorch",
    # torchvision from PyPI is built for CUDA, which timm and these models do without
    alone=("torchvision==0.28.0", "timm==1.0.31"),
    requirements=(
        "torch==2.13.0",
        "safetensors==0.8.0",
        "huggingface_hub==2.4.0",
        "numpy",
        "pillow",
        "pyyaml",
    ),
    proof="import torch, safetensors",
    required_by="PIPELINE_REQUIRE_TORCH",
)
