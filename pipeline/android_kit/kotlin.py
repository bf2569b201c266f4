"""The Kotlin and Gradle lines of an Android kit, for one exported file. Pure text, no TensorFlow.

Android and MediaPipe calls as of https://ai.google.dev/edge/mediapipe/solutions/vision/image_classifier/android
and https://ai.google.dev/edge/litert/android; minSdk as these guides and LiteRT's AARs say.
"""

from __future__ import annotations

import string

from export.artifact import ExportArtifact, TensorInfo
from export.head import Head, HeadKind

MEDIAPIPE = "com.google.mediapipe:tasks-vision:1.1.0"
MEDIAPIPE_MIN_SDK = 28
LITERT = "com.google.ai.edge.litert:litert:2.3.0"
LITERT_MIN_SDK = 24
LABELS = "labels.txt"

_BYTES = {"int8": 1, "uint8": 1, "float32": 4}
_PUT = {
    "int8": "input.put(({0} - 128).toByte())",
    "uint8": "input.put({0}.toByte())",
    "float32": "input.putFloat({0}.toFloat())",
}
_STORED = {
    "int8": "output.get(index).toInt()",
    "uint8": "output.get(index).toInt() and 0xFF",
    "float32": "output.getFloat(4 * index)",
}
_RED, _GREEN, _BLUE = "(pixel shr 16 and 0xFF)", "(pixel shr 8 and 0xFF)", "(pixel and 0xFF)"
# Pillow's conversion to grey, as in training (ITU-R 601-2)
_GREY = f"(({_RED} * 19595 + {_GREEN} * 38470 + {_BLUE} * 7471 + 0x8000) shr 16)"


class _Kotlin(string.Template):
    delimiter = "%"


_PIXELS = _Kotlin("""\
package com.example.classifier

import android.graphics.Bitmap

private const val WIDTH = %{width}
private const val HEIGHT = %{height}

/** The model's input: the largest central part of an upright photo, WIDTH x HEIGHT pixels. */
fun asTheModelSees(photo: Bitmap): Bitmap {
    val readable = photo.copy(Bitmap.Config.ARGB_8888, false) // a hardware bitmap's pixels cannot be read
    var width = minOf(photo.width, photo.height * WIDTH / HEIGHT)
    var height = minOf(photo.height, photo.width * HEIGHT / WIDTH)
    val left = (photo.width - width) / 2
    val top = (photo.height - height) / 2
    var part = Bitmap.createBitmap(readable, left, top, width, height)
    while (width >= 2 * WIDTH && height >= 2 * HEIGHT) { // by halves: one large step would skip most pixels
        width /= 2
        height /= 2
        part = Bitmap.createScaledBitmap(part, width, height, true)
    }
    return Bitmap.createScaledBitmap(part, WIDTH, HEIGHT, true)
}
""")

_MEDIAPIPE = _Kotlin("""\
package com.example.classifier

import android.content.Context
import android.graphics.Bitmap
import com.google.mediapipe.framework.image.BitmapImageBuilder
import com.google.mediapipe.tasks.core.BaseOptions
import com.google.mediapipe.tasks.vision.core.RunningMode
import com.google.mediapipe.tasks.vision.imageclassifier.ImageClassifier

/** Classifies a photo with MediaPipe; the class names are in the model file. */
class MediaPipeClassifier(context: Context) : AutoCloseable {
    private val classifier = ImageClassifier.createFromOptions(
        context,
        ImageClassifier.ImageClassifierOptions.builder()
            .setBaseOptions(BaseOptions.builder().setModelAssetPath(MODEL).build())
            .setRunningMode(RunningMode.IMAGE)
            .build(),
    )

    /** %{promise} Not on the main thread. */
    fun classify(photo: Bitmap): List<Pair<String, Float>> {
        val image = BitmapImageBuilder(asTheModelSees(photo)).build()
        val found = classifier.classify(image).classificationResult().classifications().first()
%{answer}
    }

    override fun close() = classifier.close()

    private companion object {
        const val MODEL = "%{model}"
%{names}    }
}
""")

_LITERT = _Kotlin("""\
package com.example.classifier

import android.content.Context
import android.graphics.Bitmap
import java.io.FileInputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.channels.FileChannel
import org.tensorflow.lite.Interpreter

/** Classifies a photo with LiteRT only. Not thread-safe. */
class LiteRtClassifier(context: Context) : AutoCloseable {
    private val labels = context.assets.open(LABELS).bufferedReader().use { it.readLines() }
    private val interpreter = Interpreter(model(context))
    private val input = ByteBuffer.allocateDirect(INPUT_BYTES).order(ByteOrder.nativeOrder())
    private val output = ByteBuffer.allocateDirect(OUTPUT_BYTES).order(ByteOrder.nativeOrder())

    /** %{promise} Not on the main thread. */
    fun classify(photo: Bitmap): List<Pair<String, Float>> {
        val pixels = IntArray(WIDTH * HEIGHT)
        asTheModelSees(photo).getPixels(pixels, 0, WIDTH, 0, 0, WIDTH, HEIGHT)
        input.rewind()
        for (pixel in pixels) {
%{feed}
        }
        input.rewind()
        output.rewind()
        interpreter.run(input, output)
%{answer}
    }

    override fun close() = interpreter.close()

    private fun score(index: Int): Float {
        val stored = %{stored}
        return %{score}
    }

    private fun model(context: Context): ByteBuffer = context.assets.openFd(MODEL).use { asset ->
        FileInputStream(asset.fileDescriptor).use { file ->
            file.channel.map(FileChannel.MapMode.READ_ONLY, asset.startOffset, asset.declaredLength)
        }
    }

    private companion object {
        const val MODEL = "%{model}"
        const val LABELS = "%{labels}"
        const val WIDTH = %{width}
        const val HEIGHT = %{height}
        const val INPUT_BYTES = %{input_bytes}
        const val OUTPUT_BYTES = %{output_bytes}
%{quantization}    }
}
""")


def takes_mediapipe(artifact: ExportArtifact) -> bool:
    """Whether MediaPipe's ImageClassifier loads the file: it takes RGB, as uint8 or float32."""
    return artifact.input.dtype in ("uint8", "float32") and artifact.input.shape[-1] == 3


def pixels(artifact: ExportArtifact) -> str:
    """Pixels.kt: from a photo to the model's image."""
    return _PIXELS.substitute(_size(artifact))


def mediapipe(artifact: ExportArtifact) -> str:
    """MediaPipeClassifier.kt; useful only if takes_mediapipe()."""
    answer, names = "        return found.categories().map { it.categoryName() to it.score() }", ""
    if artifact.head.kind is HeadKind.BINARY:  # MediaPipe knows the scored class alone
        answer = _both(artifact.head, "found.categories().first().score()")
        listed = ", ".join(f'"{_escaped(name)}"' for name in artifact.class_names)
        names = f"        val labels = listOf({listed})\n"
    return _MEDIAPIPE.substitute(
        model=_escaped(artifact.path), answer=answer, names=names, promise=_promise(artifact.head)
    )


def litert(artifact: ExportArtifact) -> str:
    """LiteRtClassifier.kt: feeds the input and reads the output as this file stores them."""
    channels = [_RED, _GREEN, _BLUE] if artifact.input.shape[-1] == 3 else [_GREY]
    feed = [" " * 12 + _PUT[artifact.input.dtype].format(channel) for channel in channels]
    quantized, head = bool(artifact.output.scale), artifact.head
    answer = (
        "        return labels.mapIndexed { index, label -> label to score(index) }"
        ".sortedByDescending { it.second }"
    )
    constants = f"""\
        const val SCALE = {artifact.output.scale!r}f
        const val ZERO_POINT = {artifact.output.zero_point}
"""
    return _LITERT.substitute(
        _size(artifact),
        model=_escaped(artifact.path),
        labels=LABELS,
        promise=_promise(head),
        answer=_both(head, "score(0)") if head.kind is HeadKind.BINARY else answer,
        feed="\n".join(feed),
        stored=_STORED[artifact.output.dtype],
        score="SCALE * (stored - ZERO_POINT)" if quantized else "stored",
        input_bytes=_num_bytes(artifact.input),
        output_bytes=_num_bytes(artifact.output),
        quantization=constants if quantized else "",
    )


def gradle(artifact: ExportArtifact) -> str:
    """The lines for the app's build.gradle.kts."""
    lines = ["// into the android { } block of app/build.gradle.kts:", "androidResources {"]
    lines += ['    noCompress += "tflite"', "}", "", "// into its dependencies { } block, one of:"]
    if takes_mediapipe(artifact):
        lines.append(f'implementation("{MEDIAPIPE}") // MediaPipeClassifier.kt, minSdk {MEDIAPIPE_MIN_SDK}')
    lines.append(f'implementation("{LITERT}") // LiteRtClassifier.kt, minSdk {LITERT_MIN_SDK}')
    return "\n".join(lines) + "\n"


def _promise(head: Head) -> str:
    """What classify() returns."""
    if head.kind is HeadKind.LABELS:
        return f"All labels with their scores, the likeliest first; each holds above {head.threshold:g}."
    return "All classes with their scores, the likeliest first."


def _both(head: Head, score: str) -> str:
    """The lines that make two classes of one score; of equal ones the first class stays first."""
    rest = "1f - second" if head.threshold else "-second"
    return (
        f"        val second = {score}\n"
        f"        return listOf(labels[0] to {rest}, labels[1] to second).sortedByDescending {{ it.second }}"
    )


def _size(artifact: ExportArtifact) -> dict[str, object]:
    return {"height": artifact.input.shape[1], "width": artifact.input.shape[2]}


def _num_bytes(tensor: TensorInfo) -> int:
    num = _BYTES[tensor.dtype]
    for side in tensor.shape:
        num *= side
    return num


def _escaped(text: str) -> str:
    """The text escaped for a Kotlin string."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
