"""Weights that PyTorch's libraries saved give the outputs of those libraries in our definitions.

timm and torchvision run in an environment of the tests' own, with random weights and statistics. float32 sums
in another order: 1e-5 of the largest score.
"""

import json

import keras
import numpy as np
import pytest
from own_environment import run
from pytorch_environment import TORCH

from models.build import build
from models.errors import CheckpointError
from models.weights.arrays import read_arrays
from models.weights.fill import family_with, load_weights

NETS = {
    "timm_mobilenet": ("mobilenet", {"padding": "both_sides", "epsilon": 1e-5}, (64, 65)),
    "torchvision_densenet": ("densenet", {"variant": "121", "growth_rate": 8}, (64,)),
    "timm_densenet": ("densenet", {"variant": "121"}, (64,)),
    "squeezenet1_0": ("squeezenet", {"version": "1.0"}, (64, 67)),
    "squeezenet1_1": ("squeezenet", {"version": "1.1"}, (64, 65)),
}
"""Name -> our family, its knobs, image sizes."""
CLASSES = 7

_PROGRAM = """
import json, sys
import numpy, torch
# torchvision's CUDA library cannot be loaded without CUDA; its operators are not used
library = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
import timm, torchvision
from safetensors.torch import save_file

folder, classes, sizes = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
torch.manual_seed(0)
nets = {
    "timm_mobilenet": timm.create_model("mobilenetv1_100", num_classes=classes),
    "timm_densenet": timm.create_model("densenet121", num_classes=classes),
    "torchvision_densenet": torchvision.models.DenseNet(
        growth_rate=8, block_config=(6, 12, 24, 16), num_init_features=16, num_classes=classes
    ),
    "squeezenet1_0": torchvision.models.squeezenet1_0(num_classes=classes),
    "squeezenet1_1": torchvision.models.squeezenet1_1(num_classes=classes),
}
for name, net in nets.items():
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.3, 0.3),
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.5, 2.0),
            ):
                tensor.uniform_(low, high)
    net.eval()
    save_file(net.state_dict(), f"{folder}/{name}.safetensors")
    for size in sizes[name]:
        images = torch.randn(2, 3, size, size)
        with torch.no_grad():
            scores = net(images)
        numpy.savez(f"{folder}/{name}_{size}.npz", images=images.numpy(), scores=scores.numpy())
half = {key: value.to(torch.bfloat16) for key, value in nets["squeezenet1_1"].state_dict().items()}
save_file(half, f"{folder}/bfloat16.safetensors")
torch.save(nets["squeezenet1_1"].state_dict(), f"{folder}/pickled.pth")
torch.save(nets["squeezenet1_1"].state_dict(), f"{folder}/legacy.bin", _use_new_zipfile_serialization=False)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder of files that PyTorch wrote: weights, and images with the scores of each net."""
    folder = tmp_path_factory.mktemp("torch")
    sizes = json.dumps({name: sizes for name, (_, _, sizes) in NETS.items()})
    run(TORCH.python(), "-c", _PROGRAM, folder, CLASSES, sizes, what="running PyTorch")
    return folder


@pytest.mark.parametrize(
    ("name", "size"), [(name, size) for name, (_, _, sizes) in NETS.items() for size in sizes]
)
def test_scores_are_those_of_pytorch(saved, name, size):
    family, knobs, _ = NETS[name]
    knobs = {
        **knobs,
        "image_size": size,
        "stem": "imagenet",
        "num_classes": CLASSES,
        "scale": 1.0,
        "offset": 0.0,
    }
    model = build(family, **knobs)
    load_weights(model, saved / f"{name}.safetensors")
    scores = keras.Model(model.input, model.get_layer("logits").output)
    with np.load(saved / f"{name}_{size}.npz") as made:
        images, expected = made["images"].transpose(0, 2, 3, 1), made["scores"]
    found = scores(images, training=False).numpy()
    assert np.abs(found - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max())
    assert expected.std() > 1e-3


@pytest.mark.parametrize("name", NETS)
def test_family_is_told_by_the_names_of_the_arrays(saved, name):
    family = family_with(read_arrays(saved / f"{name}.safetensors"))
    assert family is not None
    assert family.name == NETS[name][0]


def test_padding_of_pytorch_is_not_that_of_tensorflow(saved):
    model = build(
        "mobilenet", image_size=64, stem="imagenet", num_classes=CLASSES, epsilon=1e-5, scale=1.0, offset=0.0
    )
    load_weights(model, saved / "timm_mobilenet.safetensors")
    scores = keras.Model(model.input, model.get_layer("logits").output)
    with np.load(saved / "timm_mobilenet_64.npz") as made:
        images, expected = made["images"].transpose(0, 2, 3, 1), made["scores"]
    assert np.abs(scores(images, training=False).numpy() - expected).max() > 0.01


def test_bfloat16_weights_are_read(saved):
    whole, half = (read_arrays(saved / f"{name}.safetensors") for name in ("squeezenet1_1", "bfloat16"))
    for name, array in whole.items():
        np.testing.assert_allclose(half[name], array, rtol=2**-8)


@pytest.mark.parametrize("file", ["pickled.pth", "legacy.bin"])
def test_pickle_is_refused_with_what_to_use_instead(saved, tmp_path, file):
    for path in (saved / file, tmp_path / "renamed.safetensors"):
        path.write_bytes((saved / file).read_bytes())
        with pytest.raises(CheckpointError, match=r"is a pickle.*safetensors"):
            read_arrays(path)


def test_new_head_takes_other_classes(saved):
    model = build("squeezenet", image_size=64, stem="imagenet", num_classes=3)
    before = model.get_layer("conv10").get_weights()
    load_weights(model, saved / "squeezenet1_1.safetensors", without="conv10")
    arrays = read_arrays(saved / "squeezenet1_1.safetensors")
    kernel = model.get_layer("conv1").get_weights()[0]
    np.testing.assert_array_equal(kernel, arrays["features.0.weight"].transpose(2, 3, 1, 0))
    for new, old in zip(model.get_layer("conv10").get_weights(), before, strict=True):
        np.testing.assert_array_equal(new, old)
