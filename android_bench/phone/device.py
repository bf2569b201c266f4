"""A phone's identity and temperature: Android build, core clusters, battery, thermal state."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from android_bench.errors import DeviceError
from android_bench.phone.adb import Phone

CORE_WORDS = ("all", "big", "little")
THERMAL_NAMES = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
"""Android's thermal status, 0 to 6 (PowerManager.THERMAL_STATUS_*)."""
_NO_SERIALS = ("unknown", "0123456789abcdef", "1234567890", "12345678", "123456789")
_SKIN = 3
"""mType of a skin sensor in dumpsys thermalservice (android.hardware.thermal TemperatureType)."""

HEAT_SCRIPT = "exec 2>&1; echo @@battery; dumpsys battery; echo @@thermal; dumpsys thermalservice"
_IDENTITY_SCRIPT = (
    "exec 2>&1; echo @@properties; getprop; echo @@clusters; "
    "for f in /sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq; "
    'do read khz 2>/dev/null < "$f" && echo "$f $khz"; done; '
    "echo @@cpus; cat /sys/devices/system/cpu/possible; "
)


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Cores of one kind."""

    max_mhz: int
    cpus: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Heat:
    """A phone's temperature and power supply. None for what it does not report."""

    celsius: float | None
    """The warmer of battery and skin."""
    thermal_status: int | None
    """0 none to 6 shutdown; None before Android 10."""
    battery_percent: int | None
    charging: bool | None

    @property
    def throttled(self) -> str | None:
        """Android's name of the throttling level; None if it does not throttle."""
        if not self.thermal_status:
            return None
        name = THERMAL_NAMES[min(self.thermal_status, len(THERMAL_NAMES) - 1)]
        return f"thermal status {self.thermal_status} ({name})"


@dataclass(frozen=True, kw_only=True)
class DeviceInfo:
    """A phone's properties. A serial is personal data: only its hash is stored."""

    serial: str
    """Its name in adb: its own serial, or HOST:PORT over the network."""
    own_serial: str
    """The same by cable and over the network."""
    manufacturer: str
    model: str
    soc: str
    android_version: str
    build: str
    abis: tuple[str, ...]
    """The best first."""
    clusters: tuple[Cluster, ...]
    """The slowest first; empty where the phone hides them."""
    num_cpus: int
    heat: Heat

    @property
    def serial_hash(self) -> str:
        """Eight hexadecimal digits that distinguish phones of one model."""
        return hashlib.sha256(self.own_serial.encode()).hexdigest()[:8]

    @property
    def name(self) -> str:
        """Maker and model, such as Google Pixel 7; the maker is not repeated."""
        if self.model.lower().startswith(self.manufacturer.lower()):
            return self.model
        return f"{self.manufacturer} {self.model}".strip()

    @property
    def where(self) -> str:
        """This phone's name in a report."""
        return f"{self.name} {self.serial_hash}"

    @property
    def machine(self) -> str:
        """The conditions shown beside a figure: SoC, Android version and build."""
        return f"{self.soc}, Android {self.android_version} {self.build}"


def identify(phone: Phone) -> DeviceInfo:
    """Reads a phone's properties. DeviceError if it reports none, or is too old to report exit statuses."""
    if "shell_v2" not in phone.features():
        raise DeviceError(
            f"phone {phone.serial} is too old: its adb daemon does not say how a command ended. "
            "Android 7 or newer is needed."
        )
    done = phone.shell(_IDENTITY_SCRIPT + HEAT_SCRIPT)
    sections = split_sections(done.output)
    properties = parse_properties(sections.get("properties", ""))
    if not properties.get("ro.product.cpu.abi"):
        first = (done.output.strip() or "nothing").splitlines()[0]
        raise DeviceError(
            f"phone {phone.serial} does not answer as an Android phone (getprop names no ABI; it said: "
            f"{first}). Reboot it, then retry: pipeline devices"
        )
    clusters = parse_clusters(sections.get("clusters", ""))
    return DeviceInfo(
        serial=phone.serial,
        own_serial=_own_serial(properties) or phone.serial,
        manufacturer=properties.get("ro.product.manufacturer", "").title(),
        model=properties.get("ro.product.model", "unknown model"),
        soc=_soc(properties),
        android_version=properties.get("ro.build.version.release", "?"),
        build=properties.get("ro.build.id") or _build_of(properties.get("ro.build.fingerprint", "")),
        abis=_abis(properties),
        clusters=clusters,
        num_cpus=_num_cpus(sections.get("cpus", ""), clusters),
        heat=parse_heat(sections),
    )


def read_heat(phone: Phone) -> Heat:
    """The phone's temperature now."""
    return parse_heat(split_sections(phone.shell(HEAT_SCRIPT).output))


def split_sections(output: str) -> dict[str, str]:
    """The text after each line '@@name', by name."""
    pieces = re.split(r"^@@(\w+)\r?$", output, flags=re.MULTILINE)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def parse_properties(output: str) -> dict[str, str]:
    """getprop's lines '[key]: [value]'; a value may hold line breaks."""
    return dict(re.findall(r"^\[([^\]\n]+)\]: \[(.*?)\]\r?$", output, flags=re.MULTILINE | re.DOTALL))


def parse_clusters(output: str) -> tuple[Cluster, ...]:
    """Cores grouped by maximum clock, from lines '/sys/.../cpu4/cpufreq/cpuinfo_max_freq 2850000' (kHz)."""
    found: dict[int, list[int]] = {}
    for cpu, khz in re.findall(r"/cpu([0-9]{1,3})/cpufreq/\S+ ([0-9]{1,9})\b", output):
        found.setdefault(int(khz) // 1000, []).append(int(cpu))
    return tuple(Cluster(max_mhz=mhz, cpus=tuple(sorted(cpus))) for mhz, cpus in sorted(found.items()))


def parse_heat(sections: Mapping[str, str]) -> Heat:
    """Heat from the output of dumpsys battery and dumpsys thermalservice."""
    battery = dict(re.findall(r"^\s*([\w ]+): (\S+)", sections.get("battery", ""), flags=re.MULTILINE))
    thermal = sections.get("thermal", "")
    tenths = battery.get("temperature", "")
    celsius = [int(tenths) / 10] if re.fullmatch(r"-?[0-9]{1,5}", tenths) else []
    celsius += _skin_celsius(thermal)
    status = re.search(r"^Thermal Status: ([0-9]{1,3})\b", thermal, flags=re.MULTILINE)
    level = battery.get("level", "")
    powered = [battery.get(f"{kind} powered") for kind in ("AC", "USB", "Wireless", "Dock")]
    return Heat(
        celsius=max(filter(_is_plausible, celsius), default=None),
        thermal_status=int(status.group(1)) if status else None,
        battery_percent=int(level) if re.fullmatch(r"[0-9]{1,3}", level) else None,
        charging="true" in powered if any(powered) else None,
    )


def affinity_mask(info: DeviceInfo, cores: str, *, num_threads: int) -> int | None:
    """The CPU mask of a --cores word on this phone; None for all CPUs.

    big and little are the fastest or slowest clusters, as many as are needed for num_threads cores.
    DeviceError for a phone that hides its clusters, and for a mask with CPUs that it does not have.
    """
    if cores == "all":
        return None
    if cores in ("big", "little"):
        if not info.clusters:
            raise DeviceError(
                f"{info.name} hides its core clusters, so --cores {cores} has no meaning there. "
                "Give the CPUs as a mask, such as --cores f0, or --cores all."
            )
        return _bits(_enough_clusters(info.clusters, fastest=cores == "big", num_threads=num_threads))
    mask = int(cores, 16)
    if mask >> info.num_cpus:
        highest = f"{(1 << info.num_cpus) - 1:x}"
        raise DeviceError(
            f"--cores {cores} names CPUs that {info.name} does not have: it has {info.num_cpus}, "
            f"so the largest mask is {highest}."
        )
    return mask


def check_cores(cores: str) -> str:
    """The --cores word, or the mask as plain hexadecimal digits. ValueError for anything else."""
    if cores in CORE_WORDS:
        return cores
    digits = cores.lower().removeprefix("0x")
    if not re.fullmatch(r"[0-9a-f]{1,16}", digits) or int(digits, 16) == 0:
        raise ValueError(
            f"'{cores}' names no cores. Give big, little, all, or a mask in hexadecimal: f0 is CPUs 4 to 7."
        )
    return digits.lstrip("0")


def _enough_clusters(clusters: Sequence[Cluster], *, fastest: bool, num_threads: int) -> list[int]:
    cpus: list[int] = []
    for cluster in reversed(clusters) if fastest else clusters:
        cpus += cluster.cpus
        if len(cpus) >= num_threads:
            break
    return cpus


def _bits(cpus: Sequence[int]) -> int:
    return sum(1 << cpu for cpu in cpus)


def _own_serial(properties: Mapping[str, str]) -> str | None:
    """The phone's serial number; None if the maker left a placeholder."""
    for name in ("ro.serialno", "ro.boot.serialno"):
        serial = properties.get(name, "")
        letters = set(serial.lower())
        if len(letters) > 2 and serial.lower() not in _NO_SERIALS and not serial.startswith("EMULATOR"):
            return serial
    return None


def _soc(properties: Mapping[str, str]) -> str:
    """The SoC's name; before Android 12 only the board's platform is known."""
    model = properties.get("ro.soc.model", "")
    if model:
        return f"{properties.get('ro.soc.manufacturer', '')} {model}".strip()
    return properties.get("ro.board.platform") or properties.get("ro.hardware") or "unknown SoC"


def _build_of(fingerprint: str) -> str:
    """The build's id: the fourth part of google/panther/panther:14/UP1A.231005.007/1:user/release-keys."""
    parts = fingerprint.split("/")
    return parts[3] if len(parts) > 3 else "unknown build"


def _abis(properties: Mapping[str, str]) -> tuple[str, ...]:
    listed = properties.get("ro.product.cpu.abilist", "").split(",")
    return tuple(dict.fromkeys([properties["ro.product.cpu.abi"], *filter(None, listed)]))


def _num_cpus(possible: str, clusters: Sequence[Cluster]) -> int:
    """The number of CPUs, from a range such as '0-7', else from the clusters."""
    last = re.search(r"(?<![0-9])([0-9]{1,3})\s*$", possible.strip())
    seen = [cpu for cluster in clusters for cpu in cluster.cpus]
    return max([int(last.group(1)) if last else 0, *seen]) + 1


def _is_plausible(celsius: float) -> bool:
    """Whether a phone that answers can be so warm; a broken sensor may report -999 or 6,553."""
    return -60 <= celsius <= 150


def _skin_celsius(thermal: str) -> list[float]:
    """The current skin sensors' values; if missing, the values that Android cached."""
    remembered, _, now = thermal.partition("Current temperatures from HAL:")
    for text in (now, remembered):
        readings = re.findall(r"Temperature\{mValue=(-?[0-9]{1,6}(?:\.[0-9]*)?), mType=([0-9]{1,3})\b", text)
        if found := [float(value) for value, kind in readings if int(kind) == _SKIN and float(value) > 0]:
            return found
    return []
