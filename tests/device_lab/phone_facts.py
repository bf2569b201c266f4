"""The recorded profiles of phones, and the files and folders that report them inside a lab phone."""

from __future__ import annotations

import os
import platform
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

from device_lab import heat

PROFILES = Path(__file__).parent / "phones"
_PROGRAMS = Path(__file__).parent / "bin"
ANDROID_ABIS = {"x86_64": "x86_64", "aarch64": "arm64-v8a"}
"""The machine's architecture -> Android's name for it."""
_BATTERY = {
    "ac_powered": "false",
    "usb_powered": "true",
    "max_charging_current": "500000",
    "battery_status": "2",
    "level": "85",
}


@dataclass(frozen=True)
class Cluster:
    """Equal cores."""

    cpus: int
    max_khz: int
    min_khz: int


@dataclass(frozen=True)
class PhoneFacts:
    """A recorded phone."""

    properties: dict[str, str]
    clusters: tuple[Cluster, ...]
    thermal_zones: dict[str, float]
    """Name -> degrees above the battery."""
    thermalservice: bool

    @property
    def num_cpus(self) -> int:
        return sum(cluster.cpus for cluster in self.clusters)


def machine_abi() -> str:
    """Android's name for this machine's architecture."""
    return ANDROID_ABIS[platform.machine()]


def read_facts(name: str) -> PhoneFacts:
    """The profile of that name, with this machine's ABI added to its list for the lab's binaries."""
    with (PROFILES / f"{name}.toml").open("rb") as file:
        recorded = tomllib.load(file)
    properties = recorded["properties"]
    abis = properties["ro.product.cpu.abilist"].split(",")
    if machine_abi() not in abis:
        properties["ro.product.cpu.abilist"] = ",".join([*abis, machine_abi()])
    clusters = tuple(Cluster(**cluster) for cluster in recorded["clusters"])
    return PhoneFacts(properties, clusters, recorded["thermal_zones"], recorded["thermalservice"])


def write_phone(folder: Path, facts: PhoneFacts) -> None:
    """Fills a phone's new folder: lab/ (programs and state), cpu/, and the mount points."""
    for name in ("lab/state", "lab/offsets", "root", "storage"):
        (folder / name).mkdir(parents=True)
    lab = folder / "lab"
    shutil.copytree(_PROGRAMS, lab / "bin")
    (lab / "bin/sh").symlink_to("/bin/sh")
    write_properties(lab, facts.properties)
    _write_state(lab / "state", facts)
    _write_zones(lab, facts.thermal_zones)
    heat.set_celsius(lab, heat.ROOM_CELSIUS)
    heat.set_status(lab, 0)
    _write_cpus(folder / "cpu", facts)


def write_properties(lab: Path, properties: dict[str, str]) -> None:
    """Writes the properties that getprop reads."""
    lines = [f"[{name}]: [{value}]\n" for name, value in sorted(properties.items())]
    (lab / "properties").write_text("".join(lines))


def _write_state(state: Path, facts: PhoneFacts) -> None:
    for name, value in _BATTERY.items():
        (state / name).write_text(f"{value}\n")
    (state / "num_cpus").write_text(f"{facts.num_cpus}\n")
    cpus = sorted(os.sched_getaffinity(0))
    (state / "machine_cpus").write_text(f"{' '.join(map(str, cpus))}\n")
    if facts.thermalservice:
        (state / "has_thermalservice").touch()


def _write_zones(lab: Path, zones: dict[str, float]) -> None:
    for number, (name, offset) in enumerate(zones.items()):
        zone = lab / "thermal" / f"thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "type").write_text(f"{name}\n")
        (lab / "offsets" / zone.name).write_text(f"{offset}\n")


def _write_cpus(cpu: Path, facts: PhoneFacts) -> None:
    """Writes /sys/devices/system/cpu: a policy per cluster, and a link to it from each of its cores."""
    first = 0
    everyone = f"0-{facts.num_cpus - 1}\n"
    for cluster in facts.clusters:
        policy = cpu / "cpufreq" / f"policy{first}"
        policy.mkdir(parents=True)
        members = range(first, first + cluster.cpus)
        for name, value in _policy(cluster, members).items():
            (policy / name).write_text(f"{value}\n")
        for number in members:
            core = cpu / f"cpu{number}"
            core.mkdir()
            (core / "cpufreq").symlink_to(f"../cpufreq/{policy.name}")
            (core / "online").write_text("1\n")
        first += cluster.cpus
    for name in ("possible", "present", "online"):
        (cpu / name).write_text(everyone)
    (cpu / "kernel_max").write_text("31\n")


def _policy(cluster: Cluster, members: range) -> dict[str, object]:
    cpus = " ".join(map(str, members))
    return {
        "cpuinfo_max_freq": cluster.max_khz,
        "cpuinfo_min_freq": cluster.min_khz,
        "scaling_max_freq": cluster.max_khz,
        "scaling_min_freq": cluster.min_khz,
        "scaling_cur_freq": cluster.max_khz,
        "scaling_governor": "schedutil",
        "affected_cpus": cpus,
        "related_cpus": cpus,
    }
