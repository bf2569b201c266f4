"""The programs to push: launchers of the lab's benchmark tool, as ELF files for this machine."""

from __future__ import annotations

import compileall
import importlib.util
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

from device_lab.adb_daemon import LabUnavailable

_SOURCE = Path(__file__).with_name("launcher.c")
_SCRIPT = Path(__file__).parent / "tool" / "benchmark_model.py"
_MACHINE_OFFSET = 18
_X86_64, _AARCH64 = 62, 183


def build_launcher(target: Path, flavour: str) -> Path:
    """An ELF that runs the tool as `flavour` (tflite or litert) from any folder."""
    if shutil.which("gcc") is None:
        raise LabUnavailable("no gcc, which builds the program that is pushed")
    values = {
        "PYTHON": os.path.realpath(sys.executable),
        "SCRIPT": str(_SCRIPT),
        "PACKAGES": str(_packages()),
        "FLAVOUR": flavour,
    }
    defines = [f'-D{name}="{value}"' for name, value in values.items()]
    command = ["gcc", "-O1", *defines, "-o", str(target), str(_SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise LabUnavailable(f"gcc failed: {done.stderr.strip()}")
    return target


def write_wrong_abi(target: Path, source: Path) -> Path:
    """A copy whose header names another machine."""
    content = bytearray(source.read_bytes())
    (machine,) = struct.unpack_from("<H", content, _MACHINE_OFFSET)
    struct.pack_into("<H", content, _MACHINE_OFFSET, _AARCH64 if machine == _X86_64 else _X86_64)
    target.write_bytes(content)
    target.chmod(0o755)
    return target


def compile_tool() -> None:
    """Compiles the tool's bytecode, so that its start need not."""
    compileall.compile_dir(_SOURCE.parent, quiet=2)


def copy_adb(target: Path) -> Path:
    """Copies Google's adb from adbutils' wheel."""
    found = importlib.util.find_spec("adbutils")
    if found is None:
        raise LabUnavailable("adbutils, whose wheel carries adb, is not installed")
    source = Path(found.origin).parent / "binaries" / "adb"
    if not source.is_file():
        raise LabUnavailable(f"adbutils carries no adb for this machine: {source} is missing")
    shutil.copyfile(source, target)
    target.chmod(0o755)
    return target


def _packages() -> Path:
    """The site-packages with LiteRT in it."""
    found = importlib.util.find_spec("ai_edge_litert")
    if found is None:
        raise LabUnavailable("ai-edge-litert, which runs the models, is not installed")
    return Path(found.origin).parents[1]
