"""The binary: its ABI, the cache, and a download from a real HTTP server that breaks, resumes and changes."""

from __future__ import annotations

import hashlib
import os
import re
import struct
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from android_bench.errors import ToolError
from android_bench.phone.device import DeviceInfo, Heat
from android_bench.tool.binary import FILES, LEDGER_NAME, choose, elf_abi, fetch, read_tool

BITS = {"arm64-v8a": (2, 0xB7), "armeabi-v7a": (1, 0x28), "x86_64": (2, 0x3E), "x86": (1, 0x03)}
"""e_ident[EI_CLASS] and e_machine, from the ELF specification and its processor supplements."""


def elf(abi: str, size: int = 300_000) -> bytes:
    """A header of that ABI, and something behind it."""
    bits, machine = BITS[abi]
    header = b"\x7fELF" + bytes([bits, 1, 1]) + bytes(9) + struct.pack("<HH", 3, machine)
    return header + hashlib.sha256(abi.encode()).digest() * (size // 32)


def phone(*abis: str) -> DeviceInfo:
    """A phone of these ABIs."""
    heat = Heat(celsius=25.0, thermal_status=0, battery_percent=80, charging=True)
    return DeviceInfo(
        serial="192.168.1.7:5555",
        own_serial="R58M12ABCDE",
        manufacturer="Google",
        model="Pixel 7",
        soc="Google GS201",
        android_version="14",
        build="UP1A.231005.007",
        abis=abis,
        clusters=(),
        num_cpus=8,
        heat=heat,
    )


class Shelf(BaseHTTPRequestHandler):
    """Serves one content, in part where it is asked to; `server.break_after` cuts the next answer short."""

    def do_GET(self) -> None:
        server = self.server
        server.asked.append((self.path, self.headers.get("Range")))
        if server.content is None:
            self.send_error(404)
            return
        tag = f'"{hashlib.sha256(server.content).hexdigest()[:8]}"'
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(found.group(1)) if found and self.headers.get("If-Range") == tag else 0
        rest = server.content[start:]
        if start and not rest:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        cut = server.break_after.pop(0) if server.break_after else len(rest)
        for at in range(0, cut, 50_000):
            self.wfile.write(rest[at : min(at + 50_000, cut)])
            time.sleep(server.pause_secs)

    def log_message(self, *words: object) -> None:
        """Says nothing."""


@pytest.fixture
def shelf(monkeypatch):
    """An HTTP server on loopback, in the place of Google's."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shelf)
    server.content, server.break_after, server.asked = elf("arm64-v8a"), [], []
    server.pause_secs = 0.0
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    monkeypatch.setenv("PIPELINE_BENCHMARK_MODEL_URL", f"http://127.0.0.1:{server.server_port}/lite")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("abi", BITS)
def test_the_abi_is_what_the_elf_header_says(abi):
    assert elf_abi(elf(abi), "tool") == abi


def test_a_real_program_of_this_machine_is_recognised():
    import platform

    content = Path("/bin/sh").read_bytes()
    expected = {"x86_64": "x86_64", "aarch64": "arm64-v8a"}[platform.machine()]
    assert elf_abi(content, "/bin/sh") == expected


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"PK\x03\x04" + bytes(40), b"\x7fELF"])
def test_what_is_no_elf_is_refused(content, tmp_path):
    path = tmp_path / "benchmark_model"
    path.write_bytes(content)
    with pytest.raises(ToolError, match=r"no program for a phone.*--benchmark-model"):
        read_tool(path)


def test_a_processor_that_no_phone_has_is_refused():
    content = bytearray(elf("arm64-v8a"))
    content[18] = 0xF3  # RISC-V
    with pytest.raises(ToolError, match=r"another processor.*0xf3"):
        elf_abi(bytes(content), "tool")


def test_a_missing_binary_is_named(tmp_path):
    with pytest.raises(ToolError, match=r"cannot read .*nothing"):
        read_tool(tmp_path / "nothing")


def test_of_several_binaries_the_one_for_the_phones_best_abi_is_taken(tmp_path):
    tools = []
    for abi in ("armeabi-v7a", "arm64-v8a"):
        (tmp_path / abi).write_bytes(elf(abi))
        tools.append(read_tool(tmp_path / abi))
    assert choose(tools, phone("arm64-v8a", "armeabi-v7a")).abi == "arm64-v8a"
    assert choose(tools, phone("armeabi-v7a")).abi == "armeabi-v7a"
    assert choose([], phone("arm64-v8a")) is None


def test_a_binary_of_the_wrong_abi_is_refused_with_what_the_phone_runs(tmp_path):
    (tmp_path / "tool").write_bytes(elf("x86_64"))
    with pytest.raises(ToolError, match=r"is for x86_64; the phone runs arm64-v8a, armeabi-v7a"):
        choose([read_tool(tmp_path / "tool")], phone("arm64-v8a", "armeabi-v7a"))


def test_a_download_is_kept_and_not_fetched_again(shelf, tmp_path):
    shown = []
    tool = fetch(phone("arm64-v8a"), tmp_path, progress=lambda done, total: shown.append((done, total)))
    assert tool.path.read_bytes() == shelf.content
    assert shown[-1] == (len(shelf.content), len(shelf.content))
    assert shelf.asked == [(f"/lite/{FILES['arm64-v8a']}", None)]
    assert fetch(phone("arm64-v8a"), tmp_path) == tool
    assert len(shelf.asked) == 1


def test_a_broken_download_goes_on_where_it_stopped(shelf, tmp_path):
    shelf.break_after = [100_000, 50_000]
    tool = fetch(phone("arm64-v8a"), tmp_path)
    assert tool.path.read_bytes() == shelf.content
    assert [asked for _, asked in shelf.asked] == [None, "bytes=100000-", "bytes=150000-"]


def test_two_downloads_at_once_give_the_one_build(shelf, tmp_path):
    shelf.pause_secs = 0.05
    found = []

    def download():
        found.append(fetch(phone("arm64-v8a"), tmp_path))

    threads = [threading.Thread(target=download) for _ in range(2)]
    threads[0].start()
    partial = tmp_path / "arm64-v8a" / "benchmark_model.partial"
    while not partial.is_file() or not partial.stat().st_size:
        time.sleep(0.005)
    threads[1].start()  # in the middle of the other's
    for thread in threads:
        thread.join()
    assert [tool.path.read_bytes() == shelf.content for tool in found] == [True, True]
    assert [asked for _, asked in shelf.asked] == [None]
    assert fetch(phone("arm64-v8a"), tmp_path).sha256 == hashlib.sha256(shelf.content).hexdigest()


def test_a_download_that_was_killed_does_not_hold_up_the_next(shelf, tmp_path):
    shelf.pause_secs = 0.2
    program = (
        "import sys; from pathlib import Path; from test_tool import fetch, phone; "
        "fetch(phone('arm64-v8a'), Path(sys.argv[1]))"
    )
    folders = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], env={**os.environ, "PYTHONPATH": folders}
    )
    while not shelf.asked:
        time.sleep(0.01)
        assert process.poll() is None
    time.sleep(0.3)
    process.kill()
    process.wait()
    shelf.pause_secs = 0.0
    assert fetch(phone("arm64-v8a"), tmp_path).path.read_bytes() == shelf.content


def test_a_download_that_never_ends_is_kept_for_the_next_call(shelf, tmp_path):
    shelf.break_after = [10_000] * 4
    with pytest.raises(ToolError, match=r"the connection ended after 40,000 of .* goes on from there"):
        fetch(phone("arm64-v8a"), tmp_path)
    assert not list(tmp_path.rglob("benchmark_model"))
    tool = fetch(phone("arm64-v8a"), tmp_path)
    assert shelf.asked[-1][1] == "bytes=40000-"
    assert tool.path.read_bytes() == shelf.content


def test_a_build_that_changed_in_the_middle_is_fetched_from_its_beginning(shelf, tmp_path):
    shelf.break_after = [10_000] * 4
    with pytest.raises(ToolError):
        fetch(phone("arm64-v8a"), tmp_path)
    shelf.content = elf("arm64-v8a") + b"newer"
    assert fetch(phone("arm64-v8a"), tmp_path).path.read_bytes() == shelf.content


def test_the_page_of_a_network_that_wants_a_login_is_not_kept(shelf, tmp_path):
    build = shelf.content
    shelf.content = b"<html>Please log in</html>"
    with pytest.raises(ToolError, match=r"no program for a phone"):
        fetch(phone("arm64-v8a"), tmp_path)
    shelf.content = build
    assert fetch(phone("arm64-v8a"), tmp_path).path.read_bytes() == build


def test_a_whole_download_that_was_never_renamed_is_taken(shelf, tmp_path):
    fetch(phone("arm64-v8a"), tmp_path)
    path = tmp_path / "arm64-v8a" / "benchmark_model"
    tag = f'"{hashlib.sha256(shelf.content).hexdigest()[:8]}"'
    path.rename(path.with_suffix(".partial"))
    path.with_suffix(".etag").write_text(tag)
    assert fetch(phone("arm64-v8a"), tmp_path).path.read_bytes() == shelf.content


def test_a_build_that_silently_changed_is_refused(shelf, tmp_path):
    tool = fetch(phone("arm64-v8a"), tmp_path)
    tool.path.unlink()
    shelf.content = elf("arm64-v8a") + b"newer"
    with pytest.raises(ToolError, match=rf"is not the build that was first used on .*{LEDGER_NAME}"):
        fetch(phone("arm64-v8a"), tmp_path)
    (tmp_path / LEDGER_NAME).unlink()  # as the message says
    assert fetch(phone("arm64-v8a"), tmp_path).sha256 == hashlib.sha256(shelf.content).hexdigest()


def test_a_cached_build_that_was_damaged_is_refused(shelf, tmp_path):
    tool = fetch(phone("arm64-v8a"), tmp_path)
    tool.path.write_bytes(tool.path.read_bytes()[:-1])
    with pytest.raises(ToolError, match=r"damaged"):
        fetch(phone("arm64-v8a"), tmp_path)


def test_a_damaged_ledger_is_named(shelf, tmp_path):
    fetch(phone("arm64-v8a"), tmp_path)
    (tmp_path / LEDGER_NAME).write_text("{")
    with pytest.raises(ToolError, match=f"{LEDGER_NAME} is damaged"):
        fetch(phone("arm64-v8a"), tmp_path)


def test_a_missing_build_is_the_servers_own_answer(shelf, tmp_path):
    shelf.content = None
    with pytest.raises(ToolError, match=r"404 Not Found.*--benchmark-model"):
        fetch(phone("arm64-v8a"), tmp_path)


def test_without_a_network_the_way_out_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PIPELINE_BENCHMARK_MODEL_URL", "http://127.0.0.1:9/lite")
    with pytest.raises(ToolError, match=r"Connection refused.*--benchmark-model PATH"):
        fetch(phone("arm64-v8a"), tmp_path)


def test_a_phone_that_google_builds_nothing_for_is_told_so(tmp_path):
    with pytest.raises(ToolError, match=r"no benchmark_model for Google Pixel 7 \(x86_64\)"):
        fetch(phone("x86_64"), tmp_path)
