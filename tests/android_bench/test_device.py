"""What a phone says of itself, in the words that Android prints."""

from __future__ import annotations

import pytest

from android_bench.errors import DeviceError
from android_bench.phone.device import (
    Cluster,
    DeviceInfo,
    Heat,
    affinity_mask,
    check_cores,
    parse_clusters,
    parse_heat,
    parse_properties,
    split_sections,
)

BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  Dock powered: false
  Max charging current: 500000
  status: 2
  health: 2
  present: true
  level: 87
  scale: 100
  voltage: 4278
  temperature: 312
  technology: Li-ion
"""
THERMAL = """IsStatusOverride: false
ThermalEventListeners:
\tcallbacks: 2
Thermal Status: {status}
Cached temperatures:
\tTemperature{{mValue=31.2, mType=2, mName=battery, mStatus=0}}
\tTemperature{{mValue=35.7, mType=3, mName=VIRTUAL-SKIN, mStatus=0}}
\tTemperature{{mValue=61.0, mType=0, mName=BIG, mStatus=0}}
HAL Ready: true
"""
PIXEL_7 = (
    Cluster(max_mhz=1803, cpus=(0, 1, 2, 3)),
    Cluster(max_mhz=2348, cpus=(4, 5)),
    Cluster(max_mhz=2850, cpus=(6, 7)),
)


def info(clusters: tuple[Cluster, ...] = PIXEL_7) -> DeviceInfo:
    """A phone of these clusters."""
    return DeviceInfo(
        serial="192.168.1.7:5555",
        own_serial="R58M12ABCDE",
        manufacturer="Xiaomi",
        model="Xiaomi 13",
        soc="QTI SM8550",
        android_version="13",
        build="TKQ1",
        abis=("arm64-v8a",),
        clusters=clusters,
        num_cpus=8,
        heat=Heat(celsius=None, thermal_status=None, battery_percent=None, charging=None),
    )


def heat(battery: str = BATTERY, thermal: str = THERMAL.format(status=0)) -> Heat:
    """What these two services say."""
    return parse_heat({"battery": battery, "thermal": thermal})


def test_the_warmer_of_battery_and_skin_counts_and_a_processor_does_not():
    assert heat() == Heat(celsius=35.7, thermal_status=0, battery_percent=87, charging=True)


def test_a_skin_temperature_that_android_only_remembers_gives_way_to_the_present_one():
    now = "Current temperatures from HAL:\n\tTemperature{mValue=29.9, mType=3, mName=skin, mStatus=0}\n"
    assert heat(thermal=THERMAL.format(status=0) + now).celsius == 31.2  # the battery's


def test_a_phone_before_android_10_knows_its_battery_alone():
    old = heat(thermal="Can't find service: thermalservice\n")
    assert (old.celsius, old.thermal_status, old.throttled) == (31.2, None, None)


@pytest.mark.parametrize(("status", "name"), [(1, "light"), (2, "moderate"), (3, "severe"), (6, "shutdown")])
def test_throttling_has_androids_name(status, name):
    assert heat(thermal=THERMAL.format(status=status)).throttled == f"thermal status {status} ({name})"


def test_a_phone_that_says_nothing_has_no_figures():
    nothing = Heat(celsius=None, thermal_status=None, battery_percent=None, charging=None)
    assert heat(battery="", thermal="") == nothing


def test_cores_of_one_clock_are_a_cluster_whatever_their_order():
    clocks = {7: 2850, 0: 1803, 6: 2850, 4: 2348, 5: 2348, 1: 1803, 2: 1803, 3: 1803}
    lines = [
        f"/sys/devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq {mhz}000" for cpu, mhz in clocks.items()
    ]
    assert parse_clusters("\n".join(lines)) == PIXEL_7


@pytest.mark.parametrize(
    ("cores", "num_threads", "mask"),
    [
        ("all", 1, None),
        ("big", 1, 0b1100_0000),
        ("big", 2, 0b1100_0000),
        ("big", 4, 0b1111_0000),
        ("big", 8, 0b1111_1111),
        ("little", 1, 0b0000_1111),
        ("little", 5, 0b0011_1111),
        ("f0", 1, 0xF0),
    ],
)
def test_big_and_little_are_as_many_clusters_as_the_threads_need(cores, num_threads, mask):
    assert affinity_mask(info(), cores, num_threads=num_threads) == mask


def test_a_phone_of_one_cluster_is_big_and_little_at_once():
    one = info((Cluster(max_mhz=2016, cpus=tuple(range(8))),))
    assert affinity_mask(one, "big", num_threads=1) == affinity_mask(one, "little", num_threads=1) == 0xFF


def test_cpus_that_the_phone_does_not_have_are_refused():
    with pytest.raises(
        DeviceError, match=r"--cores 100 names CPUs that Xiaomi 13 does not have: it has 8.*ff"
    ):
        affinity_mask(info(), "100", num_threads=1)


def test_a_phone_that_hides_its_clusters_is_told_to_take_a_mask():
    with pytest.raises(DeviceError, match=r"hides its core clusters.*--cores f0"):
        affinity_mask(info(()), "big", num_threads=1)


@pytest.mark.parametrize(("word", "checked"), [("big", "big"), ("0xF0", "f0"), ("0f", "f")])
def test_a_word_for_cores_is_read(word, checked):
    assert check_cores(word) == checked


@pytest.mark.parametrize("word", ["", "0", "0x0", "fast", "f0;reboot", "-1", "1" * 17])
def test_a_word_that_names_no_cores_is_refused(word):
    with pytest.raises(ValueError, match=r"names no cores"):
        check_cores(word)


def test_properties_may_be_empty_hold_brackets_or_run_over_lines():
    text = "[a.b]: [x]\r\n[empty]: []\n[two]: [first\nsecond]\n[odd]: [a]: [b]\n"
    assert parse_properties(text) == {"a.b": "x", "empty": "", "two": "first\nsecond", "odd": "a]: [b"}


def test_sections_are_what_stands_behind_their_marks():
    assert split_sections("noise\n@@one\na\nb\n@@two\r\nc") == {"one": "\na\nb\n", "two": "\nc"}


def test_the_maker_is_named_once_and_the_serial_never():
    phone = info()
    assert phone.name == "Xiaomi 13"
    assert phone.where == f"Xiaomi 13 {phone.serial_hash}"
    assert phone.serial not in phone.where + phone.machine
    assert phone.own_serial not in phone.where + phone.machine
