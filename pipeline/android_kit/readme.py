"""The README of an Android kit: three steps, and the file's inputs and outputs."""

from __future__ import annotations

from export.artifact import ExportArtifact, TensorInfo
from export.head import HeadKind
from pipeline.android_kit import kotlin

_TEXT = """\
# {model_name} for Android

1. Copy `{file}` and `{labels}` into `app/src/main/assets/`.
2. Copy the lines of `dependencies.gradle.kts` into `app/build.gradle.kts`. Newer versions may exist:
   https://maven.google.com
3. Copy `Pixels.kt` and {classifiers} beside your own Kotlin,
   put your package into their first line, and call:

   ```kotlin
   {name}(context).use {{ classifier ->
       val (label, score) = classifier.classify(photo).first()
   }}
   ```

{choice}

Turn the photo upright first (a camera's JPEG has the orientation in its EXIF data). The model sees the
largest central part of it, as in training; the rest is ignored.

| | |
| --- | --- |
| file | `{file}`, {size_bytes:,} bytes, {precision} |
| SHA-256 | `{sha256}` |
| input | {input} |
| pixels | {pixels} |
| output | {output}: {head} |
| classes | {num_classes}, in the order of `{labels}` |
| oldest TFLite runtime | {runtime} |
"""
_BOTH = """\
`MediaPipeClassifier.kt` is shorter; `LiteRtClassifier.kt` does the same with a smaller library and contains
the code that feeds pixels and reads scores. One of them is enough."""
_ONE = """\
`LiteRtClassifier.kt` contains the code that feeds pixels and reads scores. {why}"""
_INTEGER = """\
MediaPipe's ImageClassifier
takes no int8 input ("Requested one of these types: uint8/float32, got INT8"): to use it, export the model
again with `--io-dtype uint8`."""
_SCORED = """

MediaPipe's ImageClassifier by itself returns the score of `{name}` alone, since the model has one output; the
class above makes both classes of it."""
_GREY = "MediaPipe's ImageClassifier takes RGB images only."


def readme(artifact: ExportArtifact) -> str:
    """README.md of the kit."""
    short = kotlin.takes_mediapipe(artifact)
    why = _INTEGER if artifact.input.dtype == "int8" else _GREY
    return _TEXT.format(
        model_name=artifact.model_name,
        file=artifact.path,
        labels=kotlin.LABELS,
        classifiers=("`MediaPipeClassifier.kt` or " if short else "") + "`LiteRtClassifier.kt`",
        name="MediaPipeClassifier" if short else "LiteRtClassifier",
        choice=_both(artifact) if short else _ONE.format(why=why),
        size_bytes=artifact.size_bytes,
        precision=artifact.precision.value,
        sha256=artifact.sha256,
        input=_in_words(artifact.input),
        pixels=artifact.pixels,
        output=_in_words(artifact.output),
        head=artifact.head.in_words,
        num_classes=len(artifact.class_names),
        runtime=artifact.min_runtime_version or "not said in the file",
    )


def _both(artifact: ExportArtifact) -> str:
    if artifact.head.kind is not HeadKind.BINARY:
        return _BOTH
    return _BOTH + _SCORED.format(name=artifact.class_names[1])


def _in_words(tensor: TensorInfo) -> str:
    shape = " x ".join(map(str, tensor.shape))
    if not tensor.scale:
        return f"{shape} {tensor.dtype}"
    return f"{shape} {tensor.dtype}, scale {tensor.scale!r}, zero point {tensor.zero_point}"
