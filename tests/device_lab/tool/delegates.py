"""What the tool does and prints for a delegate's flag.

The lab's GPU is the CPU under another name: the faults set which nodes it takes, its speed and whether its
outputs are right. The lab's NNAPI takes no nodes, as on phones that have only the reference accelerator, or
all with the fault `nnapi_takes`.
"""

from __future__ import annotations

from device_lab.faults import Faults
from device_lab.tool import spoken
from device_lab.tool.command_line import CommandLine
from device_lab.tool.model_runtime import Model, Node, PrepareError

GPU_KERNEL = "TfLiteGpuDelegateV2"
NNAPI_KERNEL = "TfLiteNnapiDelegate"


def apply_by_hand(options: CommandLine, model: Model, faults: Faults) -> None:
    """Applies each requested delegate; PrepareError if one fails."""
    asked = [name for name in ("use_gpu", "use_hexagon", "use_nnapi", "use_xnnpack") if options[name]]
    if not asked and options["require_full_delegation"]:
        raise PrepareError("Disallowed CPU fallback detected.")
    _say_created(asked)
    nodes = model.nodes()
    for name in asked:
        if name == "use_gpu":
            title, kernels, complete = "GPU", *apply_gpu(nodes, faults, kernel=GPU_KERNEL)
        elif name == "use_hexagon":
            _fail_hexagon(len(nodes))
        elif name == "use_nnapi":
            title, kernels, complete = "NNAPI", *_nnapi(nodes, faults)
        else:
            title, kernels, complete = "XNNPACK", *_xnnpack(nodes, already="use_gpu" in asked)
        _say_applied(title, kernels, complete=complete)
        if options["require_full_delegation"] and not complete:
            raise PrepareError("Disallowed CPU fallback detected.")


def accelerators(options: CommandLine) -> None:
    """Prints the line that NNAPI adds to the parameters."""
    if options["use_nnapi"]:
        spoken.info("NNAPI accelerators available: [nnapi-reference]")


def apply_gpu(nodes: list[Node], faults: Faults, *, kernel: str) -> tuple[int, bool]:
    """The number of the GPU's kernels, and whether it takes every node."""
    if faults.gpu_fails:
        raise PrepareError("Failed to apply GPU delegate.")
    taken = num_on_gpu(len(nodes), faults)
    if taken < len(nodes):
        _say_unsupported(nodes, taken)
    if taken:
        _say_replaced(taken, len(nodes), kernel)
        spoken.runtime("Loaded OpenCL library with dlopen.")
        spoken.runtime("Initialized OpenCL-based API.")
        spoken.runtime("Created 1 GPU delegate kernels.")
    return (1 if taken else 0), taken == len(nodes)


def apply_npu(nodes: list[Node], dispatch_library_path: str) -> bool:
    """Whether LiteRT's NPU takes every node: only with the vendor's library; without it, none, silently."""
    if dispatch_library_path:
        _say_replaced(len(nodes), len(nodes), "DispatchDelegate")
    return bool(dispatch_library_path)


def num_on_gpu(num: int, faults: Faults) -> int:
    """How many of `num` nodes the GPU takes."""
    if faults.gpu_none:
        return 0
    return num - 1 if faults.gpu_partial else num


def _nnapi(nodes: list[Node], faults: Faults) -> tuple[int, bool]:
    """The number of NNAPI's kernels, and whether it takes every node."""
    if not faults.nnapi_takes:
        return 0, False
    _say_replaced(len(nodes), len(nodes), NNAPI_KERNEL)
    return 1, True


def taken_off_cpu(options: CommandLine, num: int, faults: Faults) -> tuple[str, int]:
    """The kernel other than XNNPACK's that takes nodes, and how many of `num` it takes, from the first."""
    if options["use_gpu"]:
        return GPU_KERNEL, num_on_gpu(num, faults)
    if options["use_nnapi"] and faults.nnapi_takes:
        return NNAPI_KERNEL, num
    return "", 0


def _xnnpack(nodes: list[Node], *, already: bool) -> tuple[int, bool]:
    """The number of XNNPACK's kernels, and whether it takes every node; none after the GPU."""
    if already:
        return 0, False
    kernels = {node.kernel for node in nodes if node.kernel is not None}
    return len(kernels), len(kernels) == 1 and all(node.kernel is not None for node in nodes)


def _say_created(asked: list[str]) -> None:
    if "use_gpu" in asked:
        spoken.runtime("Created TensorFlow Lite delegate for GPU.")
        spoken.info("GPU delegate created.")
    if "use_nnapi" in asked:
        spoken.runtime("Created TensorFlow Lite delegate for NNAPI.")
        spoken.info("NNAPI delegate created.")
    if "use_xnnpack" in asked:
        spoken.info("XNNPACK delegate created.")
    if len(asked) > 1:
        spoken.info(f"Going to apply {len(asked)} delegates one after another.")


def _say_applied(name: str, kernels: int, *, complete: bool) -> None:
    applied = f"Explicitly applied {name} delegate, and the model graph will be"
    if complete:
        spoken.info(f"{applied} completely executed by the delegate.")
    elif kernels:
        spoken.info(f"{applied} partially executed by the delegate w/ {kernels} delegate kernels.")
    else:
        spoken.info(
            f"Though {name} delegate is explicitly applied, the model graph will not be"
            " executed by the delegate."
        )


def _say_replaced(taken: int, total: int, kernel: str) -> None:
    spoken.runtime(
        f"Replacing {taken} out of {total} node(s) with delegate ({kernel}) node,"
        " yielding 1 partitions for subgraph 0.",
        level="VERBOSE",
    )


def _say_unsupported(nodes: list[Node], taken: int) -> None:
    names = sorted({node.name for node in nodes[taken:]})
    reasons = "".join(f"{name}: Operation is not supported.\n" for name in names)
    left = len(nodes) - taken
    summary = (
        f"{taken} operations will run on the GPU, and the remaining {left} operations will run on the CPU."
        if taken
        else f"No operations will run on the GPU, and all {left} operations will run on the CPU."
    )
    spoken.error(f"Following operations are not supported by GPU delegate:\n{reasons}{summary}")


def _fail_hexagon(num: int) -> None:
    spoken.runtime("loaded libcdsprpc.so")
    spoken.runtime(
        f"TfLiteHexagonDelegate delegate: {num} nodes delegated out of {num} nodes with 1 partitions.\n"
    )
    raise PrepareError(
        "hexagon_nn_config failed. Error: -1",
        "Delegate kernel was not initialized",
        f"Node number {num} (TfLiteHexagonDelegate) failed to prepare.\n",
        "Restored original execution plan after delegate application failure.",
        "Failed to apply Hexagon delegate.",
    )
