"""`pipeline devices` against the lab: real adb servers and daemons, phones in every state that adb knows."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from typing import NamedTuple

import pytest
from device_lab.fixtures import lab
from device_lab.phone_facts import PROFILES

from pipeline.cli import run
from pipeline.commands.devices import SeenPhone

__all__ = ["lab"]

PHONES = sorted(path.stem for path in PROFILES.glob("*.toml"))
PROGRAM = "from pipeline.cli import main; main()"
ANSWER_SECS = 5.0
"""What the patient commands give a phone to answer."""
SLACK_SECS = 8.0
"""What a process may need beside the limit, on a machine with other work."""
BATTERY_CELSIUS, LEVEL = 31.5, 62


class Done(NamedTuple):
    """What a command in a process of its own gave."""

    status: int
    out: str
    err: str
    secs: float


@pytest.fixture
def server(lab, monkeypatch):
    """An adb server that knows no phone yet, and that is this machine's own as far as adb can tell."""
    with lab.inside():
        started = lab.second_server()
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(started.port))
        yield started
        lab.adb("kill-server", server=started)


@pytest.fixture
def plugged_in(lab, server):
    """Starts phones of that server; they are gone after the test."""
    started = []

    def start(profile="pixel7", **settings):
        started.append(lab.phone(profile, **{"server": server, **settings}))
        return started[-1]

    yield start
    for each in started:
        each.remove()


@pytest.fixture
def devices(server, capsys):
    """Runs `pipeline devices`: its exit status, stdout and stderr."""

    def call(*words):
        status = run(["devices", *words])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


@pytest.fixture
def seen(devices):
    """What --json prints: serial -> record."""

    def call(*words, status=0):
        found, out, _ = devices("--json", *words)
        assert found == status
        return {record["serial"]: record for record in json.loads(out)}

    return call


def asked(*words):
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "devices", *words],
        env={**os.environ, "PIPELINE_ANSWER_SECS": str(ANSWER_SECS)},
        capture_output=True,
        text=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr, time.monotonic() - start)


def say_nothing(listening, stop):
    """Takes connections and lets them wait."""
    taken = []
    while not stop.is_set():
        try:
            taken.append(listening.accept())
        except TimeoutError:
            continue
    for connection, _ in taken:
        connection.close()


@pytest.fixture(scope="module")
def patient(lab):
    """Two commands that wait for their whole time limit, each in a thread beside the tests.

    One asks a server of which one phone is frozen and one is well, the other a server that says nothing.
    """
    stop = threading.Event()
    with lab.inside(), socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(3) as pool:
        listening.settimeout(0.2)
        pool.submit(say_nothing, listening, stop)
        with_frozen = lab.second_server()
        frozen, well = lab.phone("redmi_note_8", server=with_frozen), lab.phone(server=with_frozen)
        frozen.freeze()
        silent = f"127.0.0.1:{listening.getsockname()[1]}"
        ours = f"127.0.0.1:{with_frozen.port}"
        yield {
            "frozen": frozen.serial,
            "well": well.serial,
            "beside a frozen phone": pool.submit(asked, "--json", "--adb-server", ours),
            "silent": silent,
            "of a silent server": pool.submit(asked, "--adb-server", silent),
        }
        stop.set()
        for each in (frozen, well):
            each.remove()
        lab.adb("kill-server", server=with_frozen)


@pytest.fixture(scope="module", autouse=True)
def started_early(request):
    """Lets the patient ones begin before all other tests, where they are asked for at all."""
    if any("patient" in item.fixturenames for item in request.session.items):
        request.getfixturevalue("patient")


def recorded(profile):
    """The file as it was recorded."""
    with (PROFILES / f"{profile}.toml").open("rb") as file:
        return tomllib.load(file)


@pytest.mark.parametrize("profile", PHONES)
def test_a_ready_phone_is_what_was_recorded_of_it(plugged_in, seen, profile):
    facts = recorded(profile)
    properties, clusters = facts["properties"], facts["clusters"]
    started = plugged_in(profile)
    found = seen()[started.serial]
    assert (found["state"], found["ready"], found["what_to_do"]) == ("ready", True, "")
    name = f"{properties['ro.product.manufacturer']} {properties['ro.product.model']}"
    assert found["model"].lower() == name.lower()
    assert found["abi"] == properties["ro.product.cpu.abi"]
    version, build = found["android"].split(" ")
    assert version == properties["ro.build.version.release"]
    assert f"/{build}/" in properties["ro.build.fingerprint"]
    # Android 12 was the first to name the SoC itself
    soc = properties.get("ro.soc.model", properties["ro.board.platform"])
    assert soc in found["soc"]
    told = [(int(number), int(mhz)) for number, mhz in re.findall(r"(\d+) x (\d+)", found["cores"])]
    assert told == sorted(((each["cpus"], each["max_khz"] // 1000) for each in clusters), key=lambda t: t[1])


@pytest.mark.parametrize("profile", PHONES)
def test_battery_and_warmth_are_those_of_the_phone(plugged_in, seen, profile):
    facts = recorded(profile)
    started = plugged_in(profile)
    started.set_temperature(BATTERY_CELSIUS)
    started.set_level(LEVEL)
    found = seen()[started.serial]
    assert found["battery_percent"] == LEVEL
    # a thermalservice tells of the skin too, which is so much warmer than the battery
    skin = [
        warmer
        for name, warmer in facts["thermal_zones"].items()
        if facts["thermalservice"] and re.search("skin|quiet", name, re.IGNORECASE)
    ]
    assert found["celsius"] == pytest.approx(BATTERY_CELSIUS + max(skin, default=0.0), abs=0.06)
    assert found["thermal_status"] == (0 if facts["thermalservice"] else None)


def test_a_phone_without_a_thermalservice_is_not_called_cool_or_throttling(plugged_in, seen):
    started = plugged_in("moto_g5")  # Android 8
    assert started.shell("dumpsys thermalservice").stdout == ""
    found = seen()[started.serial]
    assert (found["ready"], found["thermal_status"], found["what_to_do"]) == (True, None, "")


def test_the_table_has_a_line_for_a_phone(plugged_in, devices):
    properties = recorded("galaxy_s21")["properties"]
    started = plugged_in("galaxy_s21")
    started.set_level(LEVEL)
    status, out, err = devices()
    assert status == 0
    (line,) = [line for line in out.splitlines() if started.serial in line]
    for word in ("ready", properties["ro.product.model"], properties["ro.soc.model"], f"{LEVEL}%"):
        assert word in line
    assert "adb server" not in out  # one server needs no column
    assert err.splitlines()[-1] == "Next: pipeline bench --adb"


def test_json_has_the_dataclass_and_nothing_else(plugged_in, lab, server, devices):
    plugged_in()
    lab.unauthorized_phone(server=server)
    status, out, err = devices("--json")
    assert (status, err) == (0, "")
    names = {field.name for field in fields(SeenPhone)}
    assert [set(record) for record in json.loads(out)] == [names, names]


@pytest.mark.parametrize(
    ("kind", "to_do"),
    [("unauthorized", "Accept the prompt"), ("offline", "plug it in again (or: adb reconnect offline)")],
)
def test_a_phone_that_adb_cannot_use_is_told_with_what_to_do(lab, server, seen, kind, to_do):
    serial = getattr(lab, f"{kind}_phone")(server=server)
    found = seen(status=4)[serial]
    assert lab.states(server) == {serial: found["state"]} == {serial: kind}
    assert (found["ready"], found["model"], found["celsius"]) == (False, None, None)
    assert to_do in found["what_to_do"]


def test_phones_of_which_none_is_ready_are_listed_and_a_device_error(lab, server, devices):
    serial = lab.unauthorized_phone(server=server)
    status, out, err = devices()
    assert status == 4
    assert serial in out
    assert "none of the phones is ready. The last column above says what to do." in err
    assert "Next:" not in err


def test_one_phone_that_is_ready_among_others_is_enough(plugged_in, lab, server, devices):
    lab.unauthorized_phone(server=server)
    plugged_in()
    status, out, err = devices()
    assert status == 0
    assert "Accept the prompt" in out
    assert err.splitlines()[-1] == "Next: pipeline bench --adb"


@pytest.mark.parametrize(("number", "word"), [(1, "light"), (3, "severe"), (6, "shutdown")])
def test_a_phone_that_throttles_is_to_be_left_to_cool(plugged_in, seen, number, word):
    # the words are those of android.os.PowerManager.THERMAL_STATUS_*
    started = plugged_in()
    started.set_thermal_status(number)
    found = seen()[started.serial]
    assert (found["ready"], found["thermal_status"]) == (True, number)
    assert found["what_to_do"] == f"Let it cool: thermal status {number} ({word})."


def test_what_does_not_answer_as_android_does_is_not_ready(plugged_in, seen):
    started = plugged_in()
    started.set_property("ro.product.cpu.abi", "")
    found = seen(status=4)[started.serial]
    assert (found["state"], found["ready"]) == ("does not answer", False)
    assert "getprop names no ABI" in found["what_to_do"]


def test_phones_of_several_servers_are_listed_with_their_server(plugged_in, lab, server, devices):
    other = lab.second_server()
    here, there = plugged_in("pixel7"), plugged_in("redmi_5_plus", server=other)
    names = [f"127.0.0.1:{each.port}" for each in (server, other)]
    try:
        status, out, err = devices("--adb-server", names[0], "--adb-server", names[1])
        assert status == 0
        lines = {phone: line for phone in (here, there) for line in out.splitlines() if phone.serial in line}
        assert names[0] in lines[here]
        assert names[1] in lines[there]
        # the next command finds the same phones
        assert err.endswith(f"bench --adb -s {here.serial} --adb-server {names[0]} --adb-server {names[1]}\n")
    finally:
        there.adb("kill-server", on_server=True)


def test_a_server_out_of_reach_is_told_and_the_phones_of_the_others_are_listed(plugged_in, server, devices):
    started = plugged_in()
    nowhere = "192.0.2.1:5037"  # RFC 5737: an address that nobody has
    status, out, err = devices("--adb-server", nowhere, "--adb-server", f"127.0.0.1:{server.port}")
    assert status == 0
    assert started.serial in out
    assert f"no adb server answers at {nowhere}" in err
    assert "adb -a -P 5037 nodaemon server start" in err


def test_no_server_in_reach_is_a_device_error(devices):
    status, out, err = devices("--adb-server", "192.0.2.1:5037")
    assert (status, out) == (4, "")
    assert len(err.splitlines()) == 1


def test_a_server_that_is_no_adb_is_a_device_error(devices):
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:

        def answer():
            for _ in range(2):  # whether it is there, and then the question itself
                connection, _ = listening.accept()
                with connection:
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    connection.recv(100)

        pool.submit(answer)
        port = listening.getsockname()[1]
        status, out, err = devices("--adb-server", f"127.0.0.1:{port}")
    assert (status, out) == (4, "")
    assert f"adb server 127.0.0.1:{port}" in err


@pytest.mark.parametrize("text", ["soon", "0", "-3", "inf"])
def test_an_answer_time_that_is_none_is_refused(devices, monkeypatch, text):
    monkeypatch.setenv("PIPELINE_ANSWER_SECS", text)
    status, _, err = devices()
    assert status == 4
    assert f"PIPELINE_ANSWER_SECS is '{text}'. Expected seconds above 0" in err


def test_no_phone_is_a_device_error_with_what_to_do(devices):
    status, out, err = devices()
    assert (status, out) == (4, "")
    assert "no phone is connected. Plug one in, switch on 'USB debugging'" in err
    status, out, _ = devices("--json")
    assert (status, json.loads(out)) == (4, [])


def test_a_server_in_the_environment_that_is_none_is_a_mistake_of_the_user(devices, monkeypatch):
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "usb")
    status, _, err = devices()
    assert status == 2
    assert "'127.0.0.1:usb' is no adb server" in err


def test_a_frozen_phone_is_given_up_in_time_and_the_others_are_listed(patient):
    done = patient["beside a frozen phone"].result()
    assert done.secs < ANSWER_SECS + SLACK_SECS
    assert done.status == 0
    found = {record["serial"]: record for record in json.loads(done.out)}
    assert (found[patient["well"]]["ready"], found[patient["frozen"]]["ready"]) == (True, False)
    assert found[patient["frozen"]]["state"] == "does not answer"
    assert f"did not answer within {ANSWER_SECS:.0f} s" in found[patient["frozen"]]["what_to_do"]


def test_a_server_that_says_nothing_is_given_up_in_time(patient):
    done = patient["of a silent server"].result()
    assert done.secs < ANSWER_SECS + SLACK_SECS
    assert (done.status, done.out) == (4, "")
    assert f"adb server {patient['silent']} did not answer within {ANSWER_SECS:.0f} s" in done.err
