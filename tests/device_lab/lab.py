"""A lab of phones made of real peers: Google's adb and Debian's adb daemon, in their own network."""

from __future__ import annotations

import itertools
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from device_lab.adb_daemon import LabUnavailable, adb_daemon
from device_lab.binaries import build_launcher, compile_tool, copy_adb, write_wrong_abi
from device_lab.linux import NEW_NETWORK, enter
from device_lab.phone import Phone
from device_lab.phone_facts import ANDROID_ABIS, read_facts, write_phone

STORAGE_MB = 512
_FIRST_SERVER_PORT = 16037
_FIRST_PHONE_PORT = 17001
_ADB_S = 60.0
_WAIT_S = 20.0
_POLL_S = 0.01
_WITHOUT_REAL_PHONES = {"ADB_USB": "0", "ADB_MDNS": "0", "ADB_EMU": "0"}
"""Without these the server searches for the machine's own phones, which also takes three seconds."""
_UNSET = ("ADB_SERVER_SOCKET", "ANDROID_ADB_SERVER_ADDRESS", "ANDROID_ADB_SERVER_HOST", "ANDROID_SERIAL")


class Server(NamedTuple):
    """The address of an adb server."""

    host: str
    port: int


class Lab:
    """Phones and the adb server that knows them. Close it, or use it in a `with`."""

    def __init__(self) -> None:
        """Needs root, Debian's apt, gcc and, the first time, the network; LabUnavailable without them."""
        _require()
        self.daemon = adb_daemon()
        self._folder = Path(tempfile.mkdtemp(prefix="device-lab-"))
        self._processes: list[subprocess.Popen] = []
        self._phones: list[Phone] = []
        self._phone_ports = itertools.count(_FIRST_PHONE_PORT, 2)
        self._server_ports = itertools.count(_FIRST_SERVER_PORT)
        self._holder: subprocess.Popen | None = None
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        compile_tool()
        self.adb_path = copy_adb(self._folder / "adb")
        self.benchmark_model = build_launcher(self._folder / "benchmark_model", "tflite")
        """An ELF for this machine that acts as TFLite's benchmark_model."""
        self.litert_benchmark_model = build_launcher(self._folder / "litert_benchmark_model", "litert")
        """The same as LiteRT v2's benchmark_model."""
        self.wrong_abi_binary = write_wrong_abi(self._folder / "wrong_abi", self.benchmark_model)
        """The first of them, said to be for another machine."""
        self._holder = self._spawn("holder", str(self._folder), inside=False, stdin=subprocess.PIPE)
        self.server = self.second_server()

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends every process in the lab's network and removes its folder. May be called twice."""
        for phone in self._phones:
            phone.kill()
        if self._holder is not None:
            self._holder.stdin.close()
            self._holder.wait()
        for process in self._processes:
            process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def holder(self) -> int:
        """The process that holds the lab's network and mounts."""
        return self._holder.pid

    # the network

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Moves the calling thread into the lab's network, with adb's environment, and back at the end.

        Threads and processes started in between are in it too.
        """
        before = dict(os.environ)
        with open("/proc/thread-self/ns/net") as home:  # noqa: PTH123
            with Path(f"/proc/{self.holder}/ns/net").open() as network:
                enter(network.fileno(), NEW_NETWORK)
            try:
                for name in _UNSET:
                    os.environ.pop(name, None)
                os.environ.update(self.environment())
                yield
            finally:
                enter(home.fileno(), NEW_NETWORK)
                for name in {*_UNSET, *self.environment()}:
                    os.environ.pop(name, None)
                    if name in before:
                        os.environ[name] = before[name]

    def environment(self) -> dict[str, str]:
        """The environment variables of adb and adbutils in the lab's network."""
        return {
            "ANDROID_ADB_SERVER_PORT": str(self.server.port),
            "ADBUTILS_ADB_PATH": str(self.adb_path),
            **_WITHOUT_REAL_PHONES,
        }

    def command_inside(self, *words: str) -> list[str]:
        """A command line that runs in the lab's network when started from outside."""
        return ["nsenter", f"--net=/proc/{self.holder}/ns/net", *words]

    # adb servers

    def second_server(self) -> Server:
        """Another adb server, without phones yet: `lab.phone(..., server=...)` adds one."""
        server = Server("127.0.0.1", next(self._server_ports))
        home = self._folder / f"server-{server.port}"
        home.mkdir()
        with (home / "log").open("w") as log:
            process = subprocess.Popen(
                self.command_inside(str(self.adb_path), "-P", str(server.port), "nodaemon", "server"),
                env={"HOME": str(home), "PATH": os.environ["PATH"], **_WITHOUT_REAL_PHONES},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes.append(process)
        self._wait_for_port(server.port)
        return server

    def adb(self, *words: str, server: Server | None = None) -> subprocess.CompletedProcess:
        """adb's result, as text; its exit status is not checked."""
        port = (server or self.server).port
        return subprocess.run(
            self.command_inside(str(self.adb_path), "-P", str(port), *words),
            env={**os.environ, "HOME": str(self._folder), **_WITHOUT_REAL_PHONES},
            capture_output=True,
            text=True,
            timeout=_ADB_S,
        )

    def states(self, server: Server | None = None) -> dict[str, str]:
        """Serial -> state, as `adb devices` lists them."""
        lines = self.adb("devices", server=server).stdout.splitlines()
        return dict(line.split("\t") for line in lines if "\t" in line)

    # phones

    def phone(
        self, profile: str = "pixel7", *, server: Server | None = None, storage_mb: int = STORAGE_MB
    ) -> Phone:
        """A new phone of a recorded profile (a file's name in phones/), started and connected."""
        facts = read_facts(profile)
        port = next(self._phone_ports)
        folder = self._folder / f"{profile}-{port}"
        write_phone(folder, facts)
        size = f"size={storage_mb}m,mode=771"
        self._in_mounts("mount", "-t", "tmpfs", "-o", size, "storage", str(folder / "storage"))
        (folder / "storage_mb").write_text(str(storage_mb))
        phone = Phone(self, folder, facts, port=port, server=server or self.server)
        self._phones.append(phone)
        phone.start()
        return phone

    def unauthorized_phone(self, *, server: Server | None = None) -> str:
        """The serial of a phone whose owner has not agreed to the computer."""
        return self._peer("unauthorized", server)

    def offline_phone(self, *, server: Server | None = None) -> str:
        """The serial of a phone that accepts adb's connection but does not answer."""
        return self._peer("offline", server)

    def forget(self, phone: Phone, folder: Path) -> None:
        """Frees the resources of a removed phone."""
        self._phones.remove(phone)
        self._in_mounts("umount", str(folder / "storage"))
        shutil.rmtree(folder)

    def resize_storage(self, folder: Path, size_bytes: int | None) -> None:
        """Resizes a phone's storage; None restores its first size."""
        size = size_bytes or f"{(folder / 'storage_mb').read_text()}m"
        self._in_mounts("mount", "-o", f"remount,size={size}", str(folder / "storage"))

    def _peer(self, kind: str, server: Server | None) -> str:
        port = next(self._phone_ports)
        self._spawn("peers", kind, str(port))
        serial = f"127.0.0.1:{port}"
        chosen = server or self.server
        connecting = subprocess.Popen(
            self.command_inside(str(self.adb_path), "-P", str(chosen.port), "connect", serial),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._processes.append(connecting)
        deadline = time.monotonic() + _WAIT_S
        while self.states(chosen).get(serial) != kind:
            if time.monotonic() > deadline:
                raise TimeoutError(f"adb does not call {serial} {kind}: {self.states(chosen)}")
            time.sleep(_POLL_S)
        return serial

    # processes

    def _spawn(
        self, module: str, *words: str, inside: bool = True, stdin: int = subprocess.DEVNULL
    ) -> subprocess.Popen:
        """Starts a module of the lab and waits until it prints "ready"."""
        command = [sys.executable, "-S", "-m", f"device_lab.{module}", *words]
        complaints = self._folder / f"{module}-{len(self._processes)}.log"
        with complaints.open("w") as log:
            process = subprocess.Popen(
                self.command_inside(*command) if inside else command,
                env={"PYTHONPATH": str(Path(__file__).parents[1]), "PATH": os.environ["PATH"]},
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._processes.append(process)
        with process.stdout as output:
            if output.readline() != b"ready\n":
                reason = (complaints.read_text().splitlines() or ["no message"])[-1]
                raise LabUnavailable(f"{module}.py did not start: {reason}")
        return process

    def _in_mounts(self, *words: str) -> None:
        command = ["nsenter", f"--mount=/proc/{self.holder}/ns/mnt", *words]
        subprocess.run(command, check=True, capture_output=True)

    def _wait_for_port(self, port: int) -> None:
        """Waits until a process in the lab's network listens on the port."""
        deadline = time.monotonic() + _WAIT_S
        while not self._listens(port):
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing listens on port {port}")
            time.sleep(_POLL_S)

    def _listens(self, port: int) -> bool:
        tables = [Path(f"/proc/{self.holder}/net/{name}") for name in ("tcp", "tcp6")]
        texts = [table.read_text() for table in tables if table.exists()]
        lines = [line.split() for text in texts for line in text.splitlines()[1:]]
        return any(words[3] == "0A" and words[1].endswith(f":{port:04X}") for words in lines)


def _require() -> None:
    if sys.platform != "linux":
        raise LabUnavailable("the lab needs Linux")
    if os.geteuid() != 0:
        raise LabUnavailable("the lab needs root, for namespaces and mounts")
    if platform.machine() not in ANDROID_ABIS:
        raise LabUnavailable(f"Android has no ABI for this machine, {platform.machine()}")
    missing = [tool for tool in ("nsenter", "mount", "taskset") if shutil.which(tool) is None]
    if missing:
        raise LabUnavailable(f"{', '.join(missing)} not found")
