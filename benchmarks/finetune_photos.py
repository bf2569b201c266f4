"""A folder of few photos from published weights: the head alone, the whole net, and its int8 file."""

from __future__ import annotations

import argparse
from pathlib import Path

from finetune_runs import SHARES, Row, command, link_split, print_table, together, told, trained

from export.check.paired import mcnemar_p


def photos(options: argparse.Namespace, scratch: Path) -> None:
    """Prints the table, and whether int8 can be told from float over all splits."""
    rows: list[Row] = []
    for seed in options.seeds:
        place = scratch / str(seed)
        link_split(options.photos, place / "photos", seed)
        train = ("mobilenet", "--weights", str(options.weights), "--image-size", str(options.image_size))
        train = (*train, "--seed", str(seed), "--data", str(place / "photos"))
        for what, more in {"head alone": ("--freeze", "all"), "fine-tuned": ()}.items():
            rows += told([trained(place, what, *train, *more)[0]], f"split {seed}")
    only_float = only_int8 = num = 0
    for seed in options.seeds:
        of_files, counts = _files(scratch / str(seed))
        rows += told(of_files, f"split {seed}")
        only_float, only_int8, num = only_float + counts[0], only_int8 + counts[1], num + counts[2]
    print_table(rows)
    print(
        f"\nint8 against its Keras model, all splits together: {only_float} of {num} images right in float "
        f"alone, {only_int8} in int8 alone; McNemar's exact p = {mcnemar_p(only_float, only_int8):.3g}"
    )


def _files(place: Path) -> tuple[list[Row], tuple[int, int, int]]:
    """The files of the whole net, which was trained last; their seconds are the export's.

    And the images that the float model, and the int8 file, alone get right, of how many.
    """
    _, wall, cpu = command(place, "export", "--float32", "--int8")
    verified = [each for split in SHARES for each in command(place, "verify", "--split", split)[0]]
    rows, of_file = [], []
    for precision in ("float32", "int8"):
        of_file = [each for each in verified if each["path"].endswith(f"_{precision}.tflite")]
        top1 = together([(each["tflite_top1"], each["num_samples"]) for each in of_file])
        rows.append(Row(what=f"fine-tuned, {precision} file", top1=top1, wall_secs=wall, cpu_secs=cpu))
    names = ("num_only_keras_right", "num_only_tflite_right", "num_samples")
    only_float, only_int8, num = (sum(each[name] for each in of_file) for name in names)
    return rows, (only_float, only_int8, num)
