"""The lab's own tests: real adb, different phones, and every way in which one can fail."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from device_lab.adb_daemon import LabUnavailable
from device_lab.lab import Lab
from device_lab.phone_facts import PROFILES, machine_abi
from device_lab.process_table import processes_sharing

FOLDER = "/data/local/tmp"


def eventually(what, *, seconds=5.0):
    """Waits until `what` is true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("status", [0, 1, 7, 127])
def test_exit_statuses_come_through(phone, status):
    assert phone.shell(f"exit {status}").returncode == status


def test_a_signal_is_128_and_its_number(phone):
    assert phone.shell("kill -SEGV $$").returncode == 139


def test_stdout_and_stderr_stay_apart(phone):
    done = phone.shell("echo out; echo err >&2")

    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_push_and_pull_carry_every_byte(phone, tmp_path):
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_bytes(os.urandom(100_000))

    phone.adb("push", str(there), f"{FOLDER}/file")
    phone.adb("pull", f"{FOLDER}/file", str(back))

    assert back.read_bytes() == there.read_bytes() == (phone.storage / "file").read_bytes()


def test_the_storage_is_the_phones_alone(phone):
    phone.shell(f"touch {FOLDER}/here")

    assert not Path(FOLDER, "here").exists()


def test_nothing_of_the_machine_can_be_written(phone):
    done = phone.shell("touch /usr/here")

    assert done.returncode == 1
    assert "Read-only file system" in done.stderr


@pytest.mark.parametrize("profile", sorted(path.stem for path in PROFILES.glob("*.toml")))
def test_every_profile_speaks_for_itself(lab, profile):
    phone = lab.phone(profile)

    model = phone.shell("getprop ro.product.model").stdout.strip()
    frequencies = phone.shell("cat /sys/devices/system/cpu/cpu*/cpufreq/cpuinfo_max_freq").stdout.split()
    everything = phone.shell("getprop").stdout.splitlines()
    phone.remove()

    assert model == phone.facts.properties["ro.product.model"]
    assert [int(each) for each in frequencies] == [
        cluster.max_khz for cluster in phone.facts.clusters for _ in range(cluster.cpus)
    ]
    assert f"[ro.product.model]: [{model}]" in everything


def test_every_phone_can_run_the_machines_binaries(phone):
    assert machine_abi() in phone.shell("getprop ro.product.cpu.abilist").stdout.strip().split(",")


def test_an_unknown_property_is_an_empty_line(phone):
    assert phone.shell("getprop ro.no.such").stdout == "\n"


def test_two_phones_differ(lab, phone):
    other = lab.phone("galaxy_s21")

    serials = [each.shell("getprop ro.serialno").stdout for each in (phone, other)]
    states = lab.states()
    other.remove()

    assert serials[0] != serials[1]
    assert states[phone.serial] == states[other.serial] == "device"


def test_android_8_has_no_thermalservice(lab):
    phone = lab.phone("moto_g5")

    done = phone.shell("dumpsys thermalservice")
    phone.remove()

    assert done.stderr == "Can't find service: thermalservice\n"


def test_temperature_status_and_battery_change_while_it_runs(phone):
    phone.set_temperature(41.5)
    phone.set_thermal_status(2)
    phone.set_level(17)
    phone.set_charging(False)

    battery = phone.shell("dumpsys battery").stdout
    thermal = phone.shell("dumpsys thermalservice").stdout
    zones = phone.shell("cat /sys/class/thermal/thermal_zone*/temp").stdout.split()

    assert "  temperature: 415\n" in battery
    assert "  level: 17\n" in battery
    assert "  USB powered: false\n" in battery
    assert "  status: 3\n" in battery
    assert "Thermal Status: 2\n" in thermal
    assert "\tTemperature{mValue=41.5, mType=2, mName=battery, mStatus=2}\n" in thermal
    assert "41500" in zones
    assert "50500" in zones


def test_unauthorized_and_offline_are_as_adb_lists_them(lab):
    unauthorized, offline = lab.unauthorized_phone(), lab.offline_phone()

    states = lab.states()

    assert states[unauthorized] == "unauthorized"
    assert states[offline] == "offline"
    assert "unauthorized" in lab.adb("-s", unauthorized, "shell", "true").stderr
    assert "offline" in lab.adb("-s", offline, "shell", "true").stderr


def test_a_killed_phone_is_gone_with_all_it_runs(lab):
    phone = lab.phone()
    running = asking(lab, phone, "sleep 99")
    eventually(lambda: "sleep 99" in phone.processes())

    phone.kill()

    assert running.wait(timeout=10) != 0
    assert phone.processes() == []
    eventually(lambda: phone.state() != "device")
    phone.remove()


def test_a_restarted_phone_has_its_port_and_its_storage(phone):
    serial = phone.serial
    phone.shell(f"echo kept > {FOLDER}/file")

    phone.restart()

    assert phone.serial == serial
    assert phone.shell(f"cat {FOLDER}/file").stdout == "kept\n"


def test_a_frozen_phone_answers_when_it_thaws(phone):
    answers = []
    asking = threading.Thread(target=lambda: answers.append(phone.shell("echo here").stdout))
    phone.freeze()
    asking.start()
    asking.join(timeout=0.5)

    assert answers == []
    assert phone.state() == "device"

    phone.thaw()
    asking.join(timeout=10)

    assert answers == ["here\n"]


def test_a_full_disk_refuses_a_push(phone, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(bytes(100_000))
    phone.fill_disk()

    assert "No space left on device" in phone.adb("push", str(file), f"{FOLDER}/file").stderr

    phone.free_disk()

    assert phone.adb("push", str(file), f"{FOLDER}/file").returncode == 0


def test_a_small_storage_fills_by_itself(lab, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(bytes(3_000_000))
    phone = lab.phone(storage_mb=2)

    done = phone.adb("push", str(file), f"{FOLDER}/file")
    phone.remove()

    assert "No space left on device" in done.stderr


def asking(lab, phone, command):
    """A client of adb that waits for the command."""
    words = [str(lab.adb_path), "-P", str(lab.server.port), "-s", phone.serial, "shell", command]
    return subprocess.Popen(lab.command_inside(*words))


@pytest.mark.parametrize(("command", "left"), [("sleep 99", ["sleep 99"]), ("exec sleep 99", [])])
def test_when_the_client_dies_the_shell_goes_and_what_it_runs_stays(lab, phone, command, left):
    """adbd sends SIGHUP to the process that it started, and to no other."""
    client = asking(lab, phone, command)
    eventually(lambda: "sleep 99" in phone.processes())

    client.kill()
    client.wait()

    eventually(lambda: phone.processes() == left)


def test_a_second_server_has_phones_of_its_own(lab, phone):
    server = lab.second_server()
    other = lab.phone("redmi_note_8", server=server)

    states = lab.states(server)
    other.remove()

    assert list(states) == [other.serial]
    assert phone.serial not in states


def test_what_runs_inside_sees_the_phones_and_nothing_else_changes(lab, monkeypatch):
    monkeypatch.setenv("ANDROID_SERIAL", "mine")
    before, home = dict(os.environ), Path("/proc/thread-self/ns/net").readlink()
    seen = []

    def look():
        seen.append(Path("/proc/thread-self/ns/net").readlink())

    with lab.inside():
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        listed = subprocess.run([lab.adb_path, "devices"], capture_output=True, text=True).stdout
        assert "ANDROID_SERIAL" not in os.environ

    assert listed.startswith("List of devices attached")
    assert seen == [Path(f"/proc/{lab.holder}/ns/net").readlink()] != [home]
    assert Path("/proc/thread-self/ns/net").readlink() == home
    assert dict(os.environ) == before


def test_adbutils_finds_the_phones_inside(lab, phone):
    adbutils = pytest.importorskip("adbutils")

    device = adbutils.AdbClient().device(phone.serial)

    assert device.shell2("getprop ro.product.model").output == "Pixel 7\n"


def test_a_lab_that_cannot_run_says_why(monkeypatch):
    monkeypatch.setenv("PATH", "")

    with pytest.raises(LabUnavailable, match=r"nsenter, mount, taskset not found"):
        Lab()


def test_a_closed_lab_leaves_no_process_and_no_folder(lab):
    with Lab() as other:
        other.phone()
        inside = processes_sharing(other.holder, "net")
        folder = other.adb_path.parent
    left = [process for process in inside if Path(f"/proc/{process}").exists()]

    assert len(inside) > 2
    assert left == []
    assert not folder.exists()


def test_a_lab_whose_owner_is_killed_clears_up_by_itself(lab):
    program = "import sys, time; from device_lab.lab import Lab; lab = Lab(); lab.phone();"
    program += " print(lab.holder, lab.adb_path.parent, flush=True); time.sleep(99)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    owner = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment, text=True
    )
    with owner.stdout as output:
        holder, folder = output.readline().split()
    inside = processes_sharing(int(holder), "net")

    owner.kill()
    owner.wait()

    eventually(lambda: not any(Path(f"/proc/{process}").exists() for process in inside))
    eventually(lambda: not Path(folder).exists())
