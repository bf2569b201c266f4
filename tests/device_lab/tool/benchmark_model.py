"""The lab's benchmark_model: acts as TFLite's tool or LiteRT's, and really runs the file, with LiteRT.

A launcher executes it with: flavour, site-packages, time of its start, and the unchanged command line.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time

_FLAVOUR, _PACKAGES, _STARTED = sys.argv[1:4]
_WORDS = sys.argv[4:]
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # noqa: PTH100, PTH120
sys.path.append(_PACKAGES)

from pathlib import Path  # noqa: E402

from device_lab.faults import Faults, read_faults  # noqa: E402
from device_lab.heat import read_heat, slowdown, warm_up  # noqa: E402
from device_lab.run_log import append  # noqa: E402
from device_lab.tool import spoken  # noqa: E402
from device_lab.tool.command_line import CommandLine  # noqa: E402

LAB = Path("/lab")
"""Exists only inside a phone."""
_CPUS = "/sys/devices/system/cpu"
_SIGNALS = {128 + number: number for number in (signal.SIGABRT, signal.SIGKILL, signal.SIGSEGV)}


def main() -> None:
    """Runs the tool and ends the process as the tool would."""
    in_phone = (LAB / "state/num_cpus").exists()
    key = f"{os.getpid()}-{_STARTED}"
    if in_phone:
        _note_start(key)
    threads, status = [0], 1
    try:
        status = _run(in_phone, threads)
    except SystemExit as end:
        status = int(end.code or 0)
    except BrokenPipeError:
        status = 128 + signal.SIGPIPE
    except BaseException:
        import traceback

        traceback.print_exc()
    if in_phone:
        _note_end(key, status, threads[0])
    _leave(status)


def _run(in_phone: bool, threads: list[int]) -> int:
    faults = read_faults(LAB, _WORDS) if in_phone else Faults()
    # STARTING! comes before the flags are looked at
    spoken.info("STARTING!")
    options = CommandLine(_FLAVOUR, _WORDS[1:], ignored=faults.unconsumed)
    if not _accepted(options):
        return _failed()
    if in_phone:
        _see_the_machine()
    from device_lab.tool import litert_tool, tflite_tool
    from device_lab.tool.measuring import Job
    from device_lab.tool.model_runtime import LoadError, PrepareError

    job = Job(options, faults, faults.slow * (slowdown(LAB) if in_phone else 1.0))
    try:
        (litert_tool if _FLAVOUR == "litert" else tflite_tool).run(job)
    except (LoadError, PrepareError) as error:
        for line in error.args:
            spoken.error(line)
        return _failed()
    finally:
        threads[0] = job.threads
    return 0


def _accepted(options: CommandLine) -> bool:
    """Prints what is wrong with the flags; False if the tool ends."""
    for name in options.duplicates:
        spoken.warn(f"Duplicate flags: {name}")
    for line in options.errors:
        spoken.error(line)
    if options.refused:
        spoken.error(options.usage(_WORDS[0]))
        return False
    if options.unconsumed:
        spoken.warn(f"Unconsumed cmdline flags: {' '.join(options.unconsumed)}")
    return True


def _failed() -> int:
    spoken.error("Benchmarking failed.")
    return 1


def _see_the_machine() -> None:
    """Removes the phone's cores from this process's view: XNNPACK must see the machine's."""
    from device_lab.linux import NEW_MOUNTS, unmount, unshare

    unshare(NEW_MOUNTS)
    unmount(_CPUS)


def _note_start(key: str) -> None:
    append(
        LAB,
        {
            "id": key,
            "argv": _WORDS,
            "flavour": _FLAVOUR,
            "process": os.getpid(),
            "affinity": os.environ.get("LAB_AFFINITY"),
            "num_threads": 0,
            "started_s": float(_STARTED),
        },
    )


def _note_end(key: str, status: int, threads: int) -> None:
    heat = read_heat(LAB)
    if heat is not None and threads:
        warm_up(LAB, heat)
    append(LAB, {"id": key, "status": status, "num_threads": threads, "ended_s": time.monotonic()})


def _leave(status: int) -> None:
    """Ends at once, by a signal if the status is above 128."""
    if status in _SIGNALS:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(_SIGNALS[status], signal.SIG_DFL) if status != 128 + signal.SIGKILL else None
        os.kill(os.getpid(), _SIGNALS[status])
    os._exit(status)


if __name__ == "__main__":
    main()
