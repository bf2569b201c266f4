"""What published weights and a teacher bring: tables of trainings by the commands that a user would call.

    python benchmarks/finetune.py photos FOLDER WEIGHTS
    python benchmarks/finetune.py student FOLDER WEIGHTS [--epochs 12]
    python benchmarks/finetune.py cifar10 CIFAR10_NPZ TEACHER [--images 10000] [--epochs 6]

photos and student: splits of the folder (80/10/10, by seed, each class divided alike). Figures are of
validation and test images together, since either is small; validation chose the epoch, so its share is
a little high. cifar10: of all test images; with --validation of the validation split, to choose
settings on. Seconds are of whole commands, imports included; the files' are the export's.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from finetune_photos import photos
from finetune_teacher import cifar10, student


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tests = parser.add_subparsers(required=True)
    for name, run in {"photos": photos, "student": student}.items():
        of_photos = tests.add_parser(name)
        of_photos.set_defaults(run=run)
        of_photos.add_argument("photos", type=_path)
        of_photos.add_argument("weights", type=_path)
        of_photos.add_argument("--image-size", type=int, default=160)
        of_photos.add_argument("--seeds", type=_numbers, default=(0, 1, 2))
        if run is student:
            of_photos.add_argument("--student-size", type=int, default=128)
            _add_settings(of_photos, epochs=12)
    of_cifar = tests.add_parser("cifar10")
    of_cifar.set_defaults(run=cifar10)
    of_cifar.add_argument("cifar10", type=_path)
    of_cifar.add_argument("teacher", type=_path)
    of_cifar.add_argument("--images", type=int, default=50_000, help="of the training images, the first")
    of_cifar.add_argument("--seeds", type=_numbers, default=(0,))
    of_cifar.add_argument("--validation", action="store_true", help="figures of the validation split")
    _add_settings(of_cifar, epochs=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        options.run(options, Path(folder))


def _add_settings(parser: argparse.ArgumentParser, *, epochs: int) -> None:
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument(
        "--settings",
        type=lambda text: text.split(";"),
        default=("",),
        help="temperatures and weights of the teacher to try, such as 2,0.5;4,0.9",
    )


def _path(text: str) -> Path:
    return Path(text).absolute()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


if __name__ == "__main__":
    main()
