"""`pipeline devices`: the phones that adb sees, with advice for those that are not ready."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from android_bench.adb_words import advice
from android_bench.errors import DeviceError, NoPhoneError
from android_bench.matrix import too_warm
from android_bench.phone.adb import Phone
from android_bench.phone.device import identify
from android_bench.phone.pool import list_phones
from android_bench.settings import MatrixSettings
from pipeline.commands.output import json_option, print_records, print_table, say, table
from pipeline.commands.phones.options import adb_servers, server_option
from pipeline.shell import quoted_value

if TYPE_CHECKING:
    from android_bench.phone.adb import ListedPhone
    from android_bench.phone.device import DeviceInfo


@dataclass(frozen=True, kw_only=True)
class SeenPhone:
    """A row of the table; None for what the phone does not report."""

    serial: str
    adb_server: str
    state: str
    """adb's word; 'device' means ready."""
    ready: bool
    model: str | None = None
    name: str | None = None
    """Its name in reports, which do not contain its serial."""
    soc: str | None = None
    android: str | None = None
    abi: str | None = None
    cores: str | None = None
    """Clusters from the slowest to the fastest, such as '4 x 1803 + 2 x 2348 + 2 x 2850 MHz'."""
    battery_percent: int | None = None
    celsius: float | None = None
    thermal_status: int | None = None
    what_to_do: str


@click.command(
    name="devices", short_help="List the phones that adb sees, and what to do about those that are not ready."
)
@server_option
@json_option
def command(*, servers: tuple[str, ...], as_json: bool) -> int:
    """List the phones that adb sees, and what to do about those that are not ready.

    Exit status 4 when none is ready.

    \b
    pipeline devices
    pipeline devices --adb-server lab-pc:5037 --adb-server 127.0.0.1:5037
    """

    listed, problems = list_phones(adb_servers(servers))
    for problem in problems:
        say(f"pipeline: {problem}")
    with ThreadPoolExecutor(max(1, len(listed))) as pool:
        seen = list(pool.map(_look_at, listed))
    if as_json:
        print_records(seen)
    elif seen:
        _print(seen)
    ready = [phone for phone in seen if phone.ready]
    if not ready:
        if not seen:
            raise NoPhoneError(
                "no phone is connected. Plug one in, switch on 'USB debugging' in its developer options, and "
                "accept the prompt on its screen, then: pipeline devices"
            )
        raise NoPhoneError("none of the phones is ready. The last column above says what to do.")
    if not as_json:
        chosen = "" if len(ready) == 1 else f" -s {quoted_value(ready[0].serial)}"
        at = "".join(f" --adb-server {quoted_value(server)}" for server in servers)
        say(f"Next: pipeline bench --adb{chosen}{at}")
    return 0


def _look_at(listed: ListedPhone) -> SeenPhone:
    if listed.state != "device":
        return SeenPhone(
            serial=listed.serial,
            adb_server=listed.server.name,
            state=listed.state,
            ready=False,
            what_to_do=advice(listed.state),
        )
    try:
        return _described(listed, identify(Phone(listed.server, listed.serial)))
    except DeviceError as error:
        return SeenPhone(
            serial=listed.serial,
            adb_server=listed.server.name,
            state="does not answer",
            ready=False,
            what_to_do=str(error),
        )


def _described(listed: ListedPhone, info: DeviceInfo) -> SeenPhone:
    heat = info.heat
    warm = heat.throttled or too_warm(heat, MatrixSettings.max_celsius)
    return SeenPhone(
        serial=listed.serial,
        adb_server=listed.server.name,
        state="ready",
        ready=True,
        model=info.name,
        name=info.where,
        soc=info.soc,
        android=f"{info.android_version} {info.build}",
        abi=info.abis[0],
        cores=" + ".join(f"{len(each.cpus)} x {each.max_mhz}" for each in info.clusters) + " MHz"
        if info.clusters
        else None,
        battery_percent=heat.battery_percent,
        celsius=heat.celsius,
        thermal_status=heat.thermal_status,
        what_to_do=f"Let it cool: {warm}." if warm else "",
    )


def _print(seen: list[SeenPhone]) -> None:
    servers = {phone.adb_server for phone in seen}
    at = ["adb server"] if len(servers) > 1 else []
    numbers = ["battery", "°C"]
    rows = table(
        "serial",
        *at,
        "state",
        "model",
        "SoC",
        "Android",
        "ABI",
        "cores",
        *numbers,
        "what to do",
        numbers=numbers,
    )
    for phone in seen:
        rows.add_row(
            phone.serial,
            *([phone.adb_server] if at else []),
            phone.state,
            phone.name or "-",
            phone.soc or "-",
            phone.android or "-",
            phone.abi or "-",
            phone.cores or "-",
            "-" if phone.battery_percent is None else f"{phone.battery_percent}%",
            "-" if phone.celsius is None else f"{phone.celsius:.1f}",
            phone.what_to_do or "-",
        )
    print_table(rows)
