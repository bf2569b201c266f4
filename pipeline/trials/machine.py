"""How many trials this machine carries out at once: by its cores and memory, or its GPUs."""

from __future__ import annotations

import os
import re
import subprocess

from pipeline.bench.host import num_cpus
from pipeline.data.memory import available_bytes
from pipeline.trials.local import Machine

TRIAL_BYTES = 1_200_000_000
"""Memory that is set aside for a trial's process: TensorFlow's libraries, a small net and its images."""


def machine_for(*, at_once: int | None = None, threads: int = 1) -> Machine:
    """This machine, with as many trials at once as asked, or as it has room for."""
    gpus = found_gpus()
    if at_once is None:
        by_memory = max(1, available_bytes() // TRIAL_BYTES)
        at_once = len(gpus) or max(1, min(num_cpus() // threads, by_memory))
    return Machine(at_once=at_once, threads=threads, gpus=gpus)


def found_gpus() -> tuple[str, ...]:
    """The GPUs that TensorFlow's processes may use, by the names that CUDA_VISIBLE_DEVICES takes."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return tuple(name for name in allowed.split(",") if name.strip() not in ("", "-1"))
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(re.findall(r"^GPU (\d+):", listed.stdout, re.MULTILINE))
