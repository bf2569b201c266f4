"""DenseNet-BC 100-12 with the published weights, exported int8, on the whole CIFAR-10 test set.

The weights are those of deeplearning-wisc/dice (MIT), which reach 94.03% in float32. Calibration sees
training images alone.

    PIPELINE_CIFAR10=cifar10.npz python benchmarks/densenet_cifar10.py [WEIGHTS.npz]
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from export.artifact import Precision
from export.exporter import export_model
from export.verify import verify
from models.build import build
from models.checkpoints import CHECKPOINTS, load_checkpoint
from pipeline.data.registry import load

CHECKPOINT = CHECKPOINTS["densenet_bc_100_12_cifar10"]
SHARED_WEIGHTS = Path(__file__).parents[2] / "shared" / "weights"


def main() -> None:
    """Prints the top-1 of the Keras model and of the int8 file."""
    weights = Path(sys.argv[1]) if len(sys.argv) > 1 else SHARED_WEIGHTS / CHECKPOINT.file
    if not weights.exists():
        sys.exit(f"{weights} is not here: give the path of {CHECKPOINT.file}")
    if "PIPELINE_CIFAR10" not in os.environ:
        sys.exit("set PIPELINE_CIFAR10 to the path of a cifar10.npz")
    model = build(CHECKPOINT.family, **CHECKPOINT.knobs)
    load_checkpoint(model, weights)
    dataset = load(os.environ["PIPELINE_CIFAR10"])
    pixels, calibration = dataset.calibration_pixels(image_size=32, num_samples=200, seed=0)
    with tempfile.TemporaryDirectory() as scratch:
        keras_file = Path(scratch, "densenet_bc_100_12.keras")
        model.save(keras_file)
        target = keras_file.with_name("densenet_bc_100_12_int8.tflite")
        artifact = export_model(
            keras_file,
            target,
            Precision.INT8,
            model_name="densenet_bc_100_12",
            family=CHECKPOINT.family,
            knobs=CHECKPOINT.knobs,
            class_names=dataset.spec.class_names,
            dataset=dataset.spec.name,
            calibration=calibration,
            pixels=pixels,
        )
        found = verify(
            model,
            target,
            dataset.batches("test", image_size=32, batch_size=100),
            dataset=dataset.spec.name,
            dataset_fingerprint=dataset.spec.fingerprint,
            split="test",
            progress=_progress,
        )
        print(
            f"int8: {artifact.size_bytes:,} bytes, "
            f"float operators {list(artifact.float_operators)}, {found.num_samples:,} images, "
            f"Keras {found.keras_top1:.2f}%, file {found.tflite_top1:.2f}%, "
            f"agreement {found.agreement:.2f}%, error grows most at {found.worst_layer}, "
            f"{found.seconds:.0f} s"
        )


def _progress(done: int) -> None:
    print(f"\r{done:,} images", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
