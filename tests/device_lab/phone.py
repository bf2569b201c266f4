"""One phone: a real adb daemon with its own root, and what a test can do to it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from device_lab import heat
from device_lab.faults import Faults, write_faults
from device_lab.heat import Heat
from device_lab.phone_facts import PhoneFacts, write_properties
from device_lab.process_table import command_line, processes_sharing
from device_lab.run_log import Run, read_runs

if TYPE_CHECKING:
    from device_lab.lab import Lab, Server

_START_S = 10.0
_POLL_S = 0.01
_ENVIRONMENT = {
    "PATH": "/lab/bin:/usr/bin:/bin:/usr/sbin:/sbin",
    "HOME": "/",
    "ANDROID_DATA": "/data",
    "ANDROID_ROOT": "/system",
    "LANG": "C.UTF-8",
}


class Phone:
    """Made by `Lab.phone`. Its serial is host:port."""

    def __init__(self, lab: Lab, folder: Path, facts: PhoneFacts, *, port: int, server: Server) -> None:
        self.facts = facts
        self.server = server
        self.port = port
        self.serial = f"127.0.0.1:{port}"
        self.storage = Path(f"/proc/{lab.holder}/root{folder / 'storage'}")
        """The machine's path of /data/local/tmp."""
        self._lab = lab
        self._folder = folder
        self._state = folder / "lab"
        self._helper: subprocess.Popen | None = None
        self._daemon = 0
        self._properties = dict(facts.properties)
        # two phones of one profile are two phones
        self.set_property("ro.serialno", f"{facts.properties['ro.serialno']}{port}")

    # the daemon

    def start(self) -> None:
        """Starts the daemon and connects adb to it."""
        log = self._folder / "adbd.log"
        log.unlink(missing_ok=True)
        spec = self._folder / "root.json"
        spec.write_text(json.dumps(self._spec(log)))
        self._helper = subprocess.Popen(
            [sys.executable, "-S", "-m", "device_lab.phone_root", str(spec)],
            env={"PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        with self._helper.stdout as output:
            first = output.readline()
        if not first:
            self._helper.wait()
            self._helper = None
            raise RuntimeError(f"the root of {self.serial} could not be made: see its traceback")
        self._daemon = int(first)
        self._wait_for("adbd started", log)
        self.connect()

    def connect(self) -> None:
        """`adb connect`, until adb calls the phone a device."""
        deadline = time.monotonic() + _START_S
        while self.state() != "device":
            if time.monotonic() > deadline:
                raise TimeoutError(f"adb does not reach {self.serial}: {self.state()}")
            self.adb("connect", self.serial, on_server=True)

    def disconnect(self) -> None:
        """`adb disconnect`: the server forgets the phone."""
        self.adb("disconnect", self.serial, on_server=True)

    def kill(self) -> None:
        """Ends the daemon and everything it runs with SIGKILL, like a phone that loses power."""
        helper, self._helper = self._helper, None
        if helper is None:
            return
        with contextlib.suppress(ProcessLookupError):  # another thread was faster
            os.kill(self._daemon, signal.SIGKILL)
        helper.wait()

    def restart(self) -> None:
        """Reboots the phone: with the same port and storage, connected again."""
        self.kill()
        self.start()

    def remove(self) -> None:
        """Ends the phone for good and removes it from adb."""
        self.kill()
        self.disconnect()
        self._lab.forget(self, self._folder)

    def freeze(self) -> None:
        """Stops the daemon, but not what it runs: the connection stays open without answers."""
        os.kill(self._daemon, signal.SIGSTOP)

    def thaw(self) -> None:
        """Continues a frozen daemon."""
        os.kill(self._daemon, signal.SIGCONT)

    # adb

    def adb(self, *words: str, on_server: bool = False) -> subprocess.CompletedProcess:
        """adb's result for this phone, exit status not checked; `on_server` for commands without a serial."""
        chosen = () if on_server else ("-s", self.serial)
        return self._lab.adb(*chosen, *words, server=self.server)

    def shell(self, command: str) -> subprocess.CompletedProcess:
        """`adb shell` of one command line."""
        return self.adb("shell", command)

    def state(self) -> str:
        """Its state in `adb devices`; "" if adb does not list it."""
        return self._lab.states(self.server).get(self.serial, "")

    # what it says of itself

    def set_temperature(self, celsius: float) -> None:
        """Sets the battery's temperature; the thermal zones follow."""
        heat.set_celsius(self._state, celsius)

    def temperature(self) -> float:
        """The battery's temperature in degrees Celsius."""
        return heat.celsius(self._state)

    def set_thermal_status(self, status: int) -> None:
        """0 none, 1 light, 2 moderate, 3 severe, 4 critical, 5 emergency, 6 shutdown."""
        heat.set_status(self._state, status)

    def set_level(self, percent: int) -> None:
        """Sets the battery's level."""
        self._write_state("level", percent)

    def set_charging(self, charging: bool) -> None:
        """Sets what `dumpsys battery` says of the cable; adb itself needs none here."""
        self._write_state("usb_powered", str(charging).lower())
        self._write_state("battery_status", 2 if charging else 3)

    def set_property(self, name: str, value: str) -> None:
        """Sets a property for getprop."""
        self._properties[name] = value
        write_properties(self._state, self._properties)

    def warm_per_run(
        self,
        *,
        celsius: float = 2.0,
        slowdown: float = 1.0,
        threshold_celsius: float = 40.0,
        cool_celsius_per_s: float = 0.0,
        room_celsius: float = heat.ROOM_CELSIUS,
    ) -> None:
        """Each run of the tool warms the phone; from the threshold on it throttles, and time cools it.

        Throttling is a thermal status of 2 (3 and 4 at 5 and 10 degrees more) and a slower tool.
        """
        heat.write_heat(
            self._state, Heat(celsius, slowdown, threshold_celsius, cool_celsius_per_s, room_celsius)
        )

    # what goes wrong

    def set_faults(self, **faults: bool | float | str) -> None:
        """Sets these faults of the tool, and clears all others: see `faults.Faults`."""
        write_faults(self._state, Faults(**faults))

    def clear_faults(self) -> None:
        """Clears all faults of the tool."""
        write_faults(self._state, Faults())

    def fill_disk(self, *, free_bytes: int = 0) -> None:
        """Fills the storage up to `free_bytes`, rounded up to 4096 bytes."""
        volume = os.statvfs(self.storage)
        used = (volume.f_blocks - volume.f_bfree) * volume.f_frsize
        self._lab.resize_storage(self._folder, max(used + free_bytes, volume.f_frsize))

    def free_disk(self) -> None:
        """Undoes `fill_disk`."""
        self._lab.resize_storage(self._folder, None)

    def truncate_models(self) -> list[Path]:
        """Cuts every TFLite file on the storage to its first half; returns those files."""
        models = [path for path in self._files() if _magic(path, 4) == b"TFL3"]
        for path in models:
            os.truncate(path, path.stat().st_size // 2)
        return models

    def make_tool_unexecutable(self) -> list[Path]:
        """Removes the executable bits of every ELF file on the storage; returns those files."""
        programs = [path for path in self._files() if _magic(path, 0) == b"\x7fELF"]
        for path in programs:
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o111)
        return programs

    # what happened

    def runs(self) -> list[Run]:
        """Every run of the benchmark tool so far."""
        return read_runs(self._state)

    def processes(self) -> list[str]:
        """The command lines of the daemon's running processes."""
        if self._helper is None:
            return []
        below = [each for each in processes_sharing(self._daemon, "pid") if each != self._daemon]
        return [words for words in map(command_line, below) if words]

    def _files(self) -> list[Path]:
        return [path for path in sorted(self.storage.rglob("*")) if path.is_file()]

    def _write_state(self, name: str, value: object) -> None:
        (self._state / "state" / name).write_text(f"{value}\n")

    def _spec(self, log: Path) -> dict:
        return {
            "holder": self._lab.holder,
            "folder": str(self._folder),
            "log": str(log),
            "command": self._lab.daemon.command,
            "environment": {**_ENVIRONMENT, "ADBD_PORT": str(self.port)},
        }

    def _wait_for(self, words: str, log: Path) -> None:
        deadline = time.monotonic() + _START_S
        while words not in (text := log.read_text() if log.exists() else ""):
            if self._helper.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"the daemon of {self.serial} did not start: {text.strip()}")
            time.sleep(_POLL_S)


def _magic(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(4)
