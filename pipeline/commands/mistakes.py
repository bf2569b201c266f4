"""What click refuses, in this project's words: what happened, what was expected, what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import click

from spelling import nearest_names

ELSEWHERE = {
    "model": "FAMILY", "arch": "FAMILY", "model-name": "FAMILY", "network": "FAMILY", "backbone": "FAMILY",
    "lr": "learning-rate", "lr0": "learning-rate", "initial-lr": "learning-rate", "eta": "learning-rate",
    "batch": "batch-size", "bs": "batch-size", "b": "batch-size",
    "imgsz": "image-size", "img": "image-size", "img-size": "image-size", "input-size": "image-size",
    "size": "image-size", "resolution": "image-size", "input-shape": "image-size", "crop-size": "image-size",
    "wd": "weight-decay", "l2": "weight-decay", "opt": "optimizer", "optim": "optimizer",
    "sched": "schedule", "scheduler": "schedule", "lr-scheduler": "schedule", "lr-schedule": "schedule",
    "epoch": "epochs", "n-epochs": "epochs", "num-epochs": "epochs", "epochs-head": "head-epochs",
    "epochs-finetune": "epochs", "pretrained": "weights", "imagenet": "weights", "transfer": "weights",
    "finetune": "weights", "fine-tune": "weights", "freeze-backbone": "freeze", "unfreeze": "freeze",
    "distill": "teacher", "distillation": "teacher", "kd": "teacher", "teacher-model": "teacher",
    "temperature": "teacher-temperature", "kd-temperature": "teacher-temperature",
    "kd-weight": "teacher-weight", "distillation-weight": "teacher-weight", "early-stopping": "patience",
    "class-weight": "class-weights", "warmup": "warmup-epochs",
    "smoothing": "label-smoothing", "random-seed": "seed", "clip-grad": "clip-norm",
    "width": "alpha", "width-mult": "alpha", "width-multiplier": "alpha", "multiplier": "alpha",
    "dataset": "data", "data-dir": "data", "data-path": "data", "train-dir": "data", "images": "data",
    "dir": "data", "source": "data", "continue": "resume", "checkpoint": "resume",
    "output": "out", "output-dir": "out", "out-dir": "out", "o": "out", "outdir": "out", "save-dir": "out",
    "fp32": "float32", "f32": "float32", "fp16": "float16", "f16": "float16", "half": "float16",
    "quantize": "int8", "quantization": "int8", "quant": "int8", "integer": "int8", "full-integer": "int8",
    "int16": "int16x8", "dyn": "dynamic", "dynamic-range": "dynamic", "representative-dataset": "data",
    "calibration-images": "num-calibration", "num-samples": "num-calibration", "inference-type": "io-dtype",
    "input-type": "io-dtype", "label-file": "labels", "class-names": "labels", "mean": "offset",
    "std": "scale", "rescale": "scale", "from-logits": "logits", "cle": "equalize",
    "sparsity": "prune", "pruning": "prune", "clusters": "cluster", "num-clusters": "cluster",
    "tolerance": "max-drop", "max-accuracy-drop": "max-drop", "threshold": "max-drop",
    "threads": "num-threads", "j": "num-threads", "nthreads": "num-threads", "t": "num-threads",
    "runs": "num-runs", "n": "num-runs", "iterations": "num-runs", "iters": "num-runs", "repeat": "num-runs",
    "warm-up": "warmup-runs", "rounds": "num-rounds", "android": "adb", "phone": "adb", "device": "serial",
    "on-device": "adb", "gpu": "delegate", "use-gpu": "delegate", "use-nnapi": "delegate", "npu": "delegate",
    "nnapi": "delegate", "profile": "op-profile", "profiling": "op-profile", "log": "from-log",
    "enable-op-profiling": "op-profile", "samples": "limit", "num-images": "limit", "max-samples": "limit",
    "overwrite": "force", "replace": "force", "y": "force", "yes": "force", "exist-ok": "force",
    "keras-model": "model", "output-format": "format", "f": "format",
}  # fmt: skip
"""What other tools call an option -> what it is called here."""
ABSENT = {
    ("val-split", "validation-split", "test-split", "val", "split-ratio"): (
        "Images keep their split by their content; folders named train, validation and test are used as they "
        "are: pipeline data FOLDER"
    ),
    ("verbose", "v", "quiet", "q", "debug"): "TF_CPP_MIN_LOG_LEVEL=0 shows what TensorFlow says.",
    ("workers", "num-workers"): "All cores read images.",
}  # fmt: skip
"""Options of other tools that have no counterpart, and what there is."""
_RANGE = re.compile(r"(?P<value>.+) is not in the range (?P<range>.+?)\.?$")
_CHOICE = re.compile(r"(?P<value>'.*') is not one of (?P<known>.+?)\.?$")
_NOT_A_NUMBER = re.compile(r"(?P<value>'.*') is not a valid (?P<kind>.+?)\.?$")
_PATH = re.compile(
    r"(?P<what>File|Directory|Path) '(?P<path>.*)' "
    r"(?P<wrong>does not exist|is a directory|is a file|is not \w+)\.?$"
)
_KINDS = {
    "integer": ("a whole number", "3"),
    "integer range": ("a whole number", "3"),
    "float": ("a number", "0.5"),
    "float range": ("a number", "0.5"),
    "boolean": ("yes or no", "true"),
}


def explained(error: click.ClickException, command: str = "") -> str:
    """A refusal by click as one line; `command` is the word after `pipeline`, where there is one."""
    context = getattr(error, "ctx", None)
    program = f"pipeline {command}".strip()
    if context is not None and context.parent is not None:
        program = context.command_path
    see = f"All options: {program} --help"
    if isinstance(error, click.NoSuchOption):
        return f"{_unknown_option(error, program)} {see}"
    if isinstance(error, click.MissingParameter):
        return f"{_missing(error)} {see}"
    if isinstance(error, click.BadParameter):
        return f"{_named(error)}: {_bad(error.message)}"
    if found := re.fullmatch(r"Option '(?P<name>.*)' requires an argument\.", error.message):
        return f"{found['name']} has no value. Give one after it. {see}"
    if found := re.fullmatch(r"Got unexpected extra arguments? \((?P<words>.*)\)", error.message):
        takes = " ".join(context.command.collect_usage_pieces(context)) if context else ""
        words = found["words"]
        meant = (
            f"Did you mean '--data {words}'? "
            if "--data" in _options(context) and Path(words).exists()
            else ""
        )
        return f"'{words}' was not expected. {meant}Usage: {program} {takes}"
    if found := re.fullmatch(r"Option '(?P<name>.*)' does not take a value\.", error.message):
        return f"{found['name']} is a switch and takes no value. Give it alone. {see}"
    message = error.message.rstrip(".")
    return f"{message[:1].lower()}{message[1:]}. {see}"


def _unknown_option(error: click.NoSuchOption, program: str) -> str:
    name = error.option_name
    word = name.lstrip("-").lower().replace("_", "-")
    known = _options(error.ctx)
    said = f"unknown option {name}."
    for words, there_is in ABSENT.items():
        if word in words and f"--{word}" not in known:
            return f"{said} {there_is.rstrip('.')}."
    meant = _meant(word, known)
    if meant == "FAMILY" and program.endswith(("train", "models")):
        return f"{said} The family has no option before it: {program} mobilenet."
    if meant == "FAMILY":
        return f"{said} The model has no option before it: {program} MODEL.keras."
    if meant == "delegate" or meant == "--delegate":
        kind = word.removeprefix("use-")
        value = "" if kind == "delegate" else f" {kind}"
        return f"{said} Did you mean '--delegate{value}', with --adb?"
    return f"{said} Did you mean '{meant}'?" if meant else said


def _meant(word: str, known: Sequence[str]) -> str | None:
    """The option that a word means: spelled otherwise, named so elsewhere, or the nearest."""
    if f"--{word}" in known:
        return f"--{word}"
    for candidate in (word, word.removeprefix("no-")):
        here = ELSEWHERE.get(candidate)
        if here == "FAMILY" or (here and f"--{here}" in known):
            return "FAMILY" if here == "FAMILY" else f"--{here}"
    near = nearest_names(f"--{word}", known, cutoff=0.7)
    return near[0] if near else None


def _options(context: click.Context | None) -> list[str]:
    if context is None:
        return []
    names = [name for each in context.command.get_params(context) for name in each.opts + each.secondary_opts]
    return [name for name in names if name.startswith("--")]


def _named(error: click.BadParameter) -> str:
    parameter = error.param
    if parameter is None:
        return str(error.param_hint or "a value")
    if isinstance(parameter, click.Option):
        return max((each for each in parameter.opts if each.startswith("-")), key=len)
    return parameter.make_metavar(error.ctx) if error.ctx else str(parameter.name)


def _missing(error: click.MissingParameter) -> str:
    name = _named(error).strip("[]")
    return f"{name} is missing. Give it: {error.ctx.command_path if error.ctx else 'pipeline'} {name}."


def _bad(message: str) -> str:
    """A type's complaint in our words; a message of ours unchanged."""
    if found := _RANGE.fullmatch(message):
        return f"{found['value']} is out of range. Give a number {_range(found['range'])}."
    if found := _CHOICE.fullmatch(message):
        known = re.findall(r"'(.*?)'", found["known"])
        near = nearest_names(found["value"].strip("'"), known)
        hint = f"Did you mean '{near[0]}'? " if near else ""
        return f"unknown value {found['value']}. {hint}Known: {', '.join(known)}."
    if (found := _NOT_A_NUMBER.fullmatch(message)) and found["kind"] in _KINDS:
        kind, example = _KINDS[found["kind"]]
        return f"{found['value']} is not {kind}. Give {kind}, such as {example}."
    if found := _PATH.fullmatch(message):
        if found["wrong"] == "does not exist":
            return f"there is no {found['path']}. Check the path."
        if found["wrong"].startswith("is not"):
            return f"{found['path']} {found['wrong']}. Check its permissions."
        kind = "file" if found["what"] == "File" else "folder"
        return f"{found['path']} {found['wrong'].replace('directory', 'folder')}. Give a {kind}."
    return message


def _range(written: str) -> str:
    """click's 'x>=1' in words."""
    found = re.fullmatch(r"(?:(?P<low>\S+?)(?P<from><=?))?x(?:(?P<to><=?|>=?)(?P<high>\S+))?", written)
    if found is None:
        return written
    low, high = found["low"], found["high"]
    if low is not None and high is not None:
        return f"from {low} to {high}" if found["from"] == "<=" else f"above {low}, at most {high}"
    words = {">=": "of at least", ">": "above", "<=": "of at most", "<": "below"}
    return f"{words[found['to']]} {high}"
