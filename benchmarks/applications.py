"""Every image classifier of keras.applications up to 30 M parameters: exported, verified, timed, explained.

Beside it the stock converter's file of the same net, calibrated with the same images. The weights are random,
but as spread out as trained ones: every BatchNormalization has the statistics that its input really has, with
a random scale and offset, and the last layer gives each class its share of the images (`whitened`), so that
the best class differs from image to image and small errors change it. `--norms random` draws the statistics
too, which makes deep nets very sensitive to rounding.

    python benchmarks/applications.py --data PHOTOS [--nets MobileNetV2 ...] [--image-size 224]

Agreement is the number of images, unseen by the calibration, whose best class is the Keras model's. The error
is the rms of the class scores' differences, divided by the scores' deviation. Time is CPU time in LiteRT, one
thread, in paired rounds with their verdict; the seconds to export are CPU time too. Results are kept in
--folder, a line each, so that a killed run can be resumed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from applications_table import Result, Side, print_table, read_results
from rewrites import take_turns
from spread_weights import spread_out
from zoo import scaled, stock_conversion

from export.precisions import Precision
from export.settings import ExportSettings
from pipeline.bench.statistics import compare
from pipeline.data.dataset import Dataset
from pipeline.data.registry import load
from pipeline.explain.reading import Wanted, explain_files
from pipeline.lineage import find_source, with_pixels
from pipeline.steps.export import Place, export
from pipeline.steps.settings import VerifySettings
from pipeline.steps.verify import verify

NETS = {
    "MobileNet": False,
    "MobileNetV2": False,
    "MobileNetV3Small": True,
    "MobileNetV3Large": True,
    "EfficientNetB0": True,
    "EfficientNetB1": True,
    "EfficientNetB2": True,
    "EfficientNetB3": True,
    "EfficientNetV2B0": True,
    "EfficientNetV2B1": True,
    "NASNetMobile": False,
    "DenseNet121": False,
    "DenseNet169": False,
    "ResNet50V2": False,
    "Xception": False,
    "InceptionV3": False,
}
"""Whether the net takes raw pixels; the others take -1..1."""
PRECISIONS = (Precision.FLOAT32, Precision.FLOAT16, Precision.DYNAMIC, Precision.INT8)


def main() -> None:
    """Measures what is missing, each net in its own process, and prints the table."""
    arguments = _parser().parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for net in arguments.nets if not arguments.table else ():
        print(net, file=sys.stderr)
        process = multiprocessing.get_context("spawn").Process(target=measure, args=(net, arguments))
        process.start()
        process.join()
        if process.exitcode:
            print(f"  {net} ended with {process.exitcode}", file=sys.stderr)
    print_table(read_results(arguments.folder))


def measure(net: str, arguments: argparse.Namespace) -> None:
    """Measures one net in every precision that is missing."""
    done = {each.key for each in read_results(arguments.folder)}
    missing = [
        each
        for each in arguments.precisions
        if (net, arguments.image_size, arguments.norms, str(each)) not in done
    ]
    if missing:
        dataset = load(str(arguments.data))
        case = _Case(net, arguments, dataset)
        for precision in missing:
            print(f"  {precision}", file=sys.stderr)
            with (arguments.folder / "results.jsonl").open("a") as file:
                file.write(json.dumps(asdict(case.result(precision))) + "\n")


class _Case:
    """One net with its weights, its images, and the outputs of the Keras model."""

    def __init__(self, net: str, arguments: argparse.Namespace, dataset: Dataset) -> None:
        self._net, self._arguments, self._dataset = net, arguments, dataset
        self._folder = arguments.folder / f"{net}-{arguments.image_size}-{arguments.norms}"
        self._folder.mkdir(exist_ok=True)
        size = arguments.image_size
        self._calibration, _ = dataset.calibration_pixels(
            image_size=size, num_samples=ExportSettings(Precision.INT8).num_calibration, seed=0
        )
        self._images = np.concatenate([self._all(split) for split in ("validation", "test")])
        if arguments.training_too:
            self._images = np.concatenate([self._unseen(), self._images])
        self._model = self._made()
        self._scores = self._model.predict(self._inputs(self._images), verbose=0)

    def _all(self, split: str) -> np.ndarray:
        batches = self._dataset.batches(split, image_size=self._arguments.image_size, batch_size=32)
        return np.concatenate([pixels for pixels, _ in batches])

    def _unseen(self) -> np.ndarray:
        """The training images that calibrate nothing."""
        seen = {each.tobytes() for each in self._calibration}
        images = self._all("train")
        return np.stack([each for each in images if np.rint(each).astype(np.uint8).tobytes() not in seen])

    def result(self, precision: Precision) -> Result:
        """Both files, compared."""
        found: dict[str, Any] = {"ours": None, "stock": None}
        ours, our_secs, refused = self._ours(precision)
        stock, stock_secs = self._stock(precision)
        classes, agreeing = {}, {}
        files = {name: file for name, file in (("ours", ours), ("stock", stock)) if file is not None}
        medians = dict(zip(files, take_turns(list(files.values()), self._arguments), strict=True))
        for name, file in files.items():
            scores = _run(file, self._stored_by_us(precision) if name == "ours" else self._stored(file))
            classes[name] = scores.argmax(axis=1)
            agreeing[name] = classes[name] == self._scores.argmax(axis=1)
            found[name] = Side(
                agreeing=int(agreeing[name].sum()),
                rms_error=_error(_log(scores), _log(self._scores)),
                size_bytes=file.stat().st_size,
                ms=float(np.median(medians[name])),
                export_secs=our_secs if name == "ours" else stock_secs,
            )
        if len(files) == 2:
            verdict = compare(medians["ours"], medians["stock"])
            found |= {
                "ratio": verdict.ratio,
                "larger_than_noise": verdict.larger_than_noise,
                "ours_alone": int((agreeing["ours"] & ~agreeing["stock"]).sum()),
                "stock_alone": int((agreeing["stock"] & ~agreeing["ours"]).sum()),
            }
        if ours is not None:
            found |= {"verified": self._verified(ours), "explained": _explained(ours)}
        return Result(
            net=self._net,
            image_size=self._arguments.image_size,
            norms=self._arguments.norms,
            precision=str(precision),
            parameters=self._model.count_params(),
            num_images=len(self._images),
            num_best_classes=len(set(self._scores.argmax(axis=1).tolist())),
            refused=refused,
            **found,
        )

    def _inputs(self, pixels: np.ndarray) -> np.ndarray:
        """What the net takes for these pixels."""
        return pixels if NETS[self._net] else scaled(pixels)

    def _stored_by_us(self, precision: Precision) -> np.ndarray:
        """The images as a file of ours takes them: raw pixels, in int8 less 128."""
        if precision.spec.is_integer:
            return (np.rint(self._images) - 128).astype(np.int8)
        return self._images.astype(np.float32)

    def _stored(self, file: Path) -> np.ndarray:
        """The images as stock's file takes them, by the scale and zero point of its input."""
        inputs = self._inputs(self._images).astype(np.float32)
        interpreter = Interpreter(model_path=str(file))
        taken = interpreter.get_input_details()[0]
        scale, zero_point = taken["quantization"]
        if not scale:
            return inputs
        limits = np.iinfo(taken["dtype"])
        return np.clip(np.rint(inputs / scale + zero_point), limits.min, limits.max).astype(taken["dtype"])

    def _made(self) -> keras.Model:
        """The net with its weights, read from the folder if it is there."""
        file = self._folder / f"{self._net}.keras"
        if not file.exists():
            pixels = self._inputs(self._calibration)
            model = spread_out(
                self._net,
                pixels,
                image_size=self._arguments.image_size,
                num_classes=len(self._dataset.spec.class_names),
                true_norms=self._arguments.norms == "true",
            )
            model.save(file)
        return keras.models.load_model(file)

    def _ours(self, precision: Precision) -> tuple[Path | None, float, str]:
        source = find_source(
            str(self._folder / f"{self._net}.keras"), data=str(self._arguments.data), folder=self._folder
        )
        if not NETS[self._net]:
            source = with_pixels(source, scale=(1 / 127.5,), offset=(-1.0,))
        begin = time.process_time()
        exported = export(
            source,
            [ExportSettings(precision)],
            runs=self._folder,
            place=Place(folder=self._folder / "export"),
        )
        secs = time.process_time() - begin
        return (exported.files[0] if exported.files else None), secs, " ".join(exported.refused)

    def _stock(self, precision: Precision) -> tuple[Path | None, float]:
        file = self._folder / f"stock_{precision}.tflite"
        begin = time.process_time()
        file.write_bytes(stock_conversion(self._model, precision, self._inputs(self._calibration)))
        return file, time.process_time() - begin

    def _verified(self, file: Path) -> str:
        try:
            found = verify([file], VerifySettings(data=str(self._arguments.data)), runs=self._folder)[0]
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return f"{found.agreement:.3f}"


def _run(file: Path, stored: np.ndarray) -> np.ndarray:
    """Probabilities (images, classes) of the file for images as its input stores them."""
    interpreter = Interpreter(model_path=str(file), num_threads=2)
    interpreter.allocate_tensors()
    taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero_point = given["quantization"]
    outputs = []
    for image in stored:
        interpreter.set_tensor(taken["index"], image[np.newaxis])
        interpreter.invoke()
        output = interpreter.get_tensor(given["index"])[0].astype(np.float32)
        outputs.append((output - zero_point) * scale if scale else output)
    return np.stack(outputs)


def _log(probabilities: np.ndarray) -> np.ndarray:
    """Class scores, centred; a probability is at least the half of int8's step."""
    scores = np.log(np.maximum(probabilities, 1 / 512))
    return scores - scores.mean(axis=1, keepdims=True)


def _error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(((found - expected) ** 2).mean()) / expected.std())


def _explained(file: Path) -> str:
    try:
        found = explain_files([file], Wanted(timing=None, errors=True))[0]
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return f"{len(found.layers)} operators"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="a folder of photos, a sub-folder for each class"
    )
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--precisions", nargs="+", type=Precision, default=list(PRECISIONS))
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--norms", choices=("true", "random"), default="true")
    parser.add_argument(
        "--training-too", action="store_true", help="judge on the training images left over as well"
    )
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--min-secs", type=float, default=2.0, help="of each file, over all rounds")
    parser.add_argument("--folder", type=Path, default=Path("applications"), help="of files and results")
    parser.add_argument("--table", action="store_true", help="print what is there, measure nothing")
    return parser


if __name__ == "__main__":
    main()
