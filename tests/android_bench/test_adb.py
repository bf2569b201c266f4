"""adb beside a real daemon, through Google's own server: what goes well, and every way it goes wrong."""

from __future__ import annotations

import shlex
import socket
import threading
import time

import pytest

from android_bench.errors import (
    AnswerLimitError,
    ConnectionLostError,
    DeviceError,
    NoPhoneError,
    NotReadyError,
    StorageError,
    TimeLimitError,
)
from android_bench.phone.adb import AdbServer, Phone, default_server
from android_bench.phone.wire import Upload

ODD_NAMES = [
    "with space",
    "quote'd",
    'double"quoted',
    "semi;colon",
    "$(touch hacked)",
    "`touch hacked`",
    "new\nline",
    "-rf",
]
FOLDER = "/data/local/tmp"


@pytest.mark.parametrize("status", [0, 1, 7, 126, 255])
def test_the_exit_status_and_both_streams_come_through(connected, status):
    done = connected.shell(f"echo out; echo err >&2; exit {status}")
    assert (sorted(done.output.split()), done.status) == (["err", "out"], status)


def test_standard_input_is_empty(connected):
    assert connected.shell("cat; echo end", limit_secs=5).output == "end\n"


def test_large_output_comes_whole(connected):
    assert len(connected.shell("head -c 3000000 /dev/zero | tr '\\0' x").output) == 3_000_000


@pytest.mark.parametrize("script", ["cat /dev/zero", "yes >&2", "cat /dev/zero; read line"])
def test_output_without_end_is_an_error_and_not_all_memory(connected, script):
    with pytest.raises(AnswerLimitError, match="sent more than 8 MiB of output"):
        connected.hold(script) if "read" in script else connected.shell(script)


def test_a_file_without_end_is_an_error_and_not_all_memory(connected, phone):
    phone.shell(f"ln -s /dev/zero {FOLDER}/endless")
    with pytest.raises(AnswerLimitError, match=f"sent more than 8 MiB of {FOLDER}/endless"):
        connected.pull([f"{FOLDER}/endless"])


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_name_that_is_quoted_is_only_ever_a_name(connected, phone, name):
    remote = f"{FOLDER}/{name}"
    connected.push([Upload(content=name.encode(), remote=remote)])
    assert connected.shell(f"cat -- {shlex.quote(remote)}").output == name
    assert connected.pull([remote]) == [name.encode()]
    assert [path.name for path in phone.storage.iterdir()] == [name]


def test_files_of_every_size_arrive_as_they_are(connected, phone):
    contents = [bytes(size % 251 for _ in range(size)) for size in (0, 1, 65_535, 65_536, 65_537, 1_000_003)]
    shown = []
    uploads = [
        Upload(content=each, remote=f"{FOLDER}/made/{i}", mode=0o755) for i, each in enumerate(contents)
    ]
    connected.push(uploads, progress=lambda done, total: shown.append((done, total)))
    assert connected.pull([each.remote for each in uploads]) == contents
    assert shown[-1] == (sum(map(len, contents)),) * 2
    assert all((phone.storage / "made" / str(i)).stat().st_mode & 0o111 for i in range(len(contents)))


def test_a_local_file_is_pushed_without_being_held_in_memory(connected, tmp_path):
    path = tmp_path / "model"
    path.write_bytes(b"model" * 100_000)
    connected.push([Upload(content=path, remote=f"{FOLDER}/model")])
    assert connected.pull([f"{FOLDER}/model"]) == [path.read_bytes()]


def test_a_missing_file_is_named_in_the_phones_words(connected):
    with pytest.raises(StorageError, match=r"cannot read /data/local/tmp/nothing .*No such file"):
        connected.pull([f"{FOLDER}/nothing"])


def test_a_full_disk_is_named_with_what_to_do(connected, phone):
    phone.fill_disk()
    with pytest.raises(StorageError, match=r"No space left on device.*free some space there"):
        connected.push([Upload(content=bytes(8_000_000), remote=f"{FOLDER}/model")])


def test_a_command_that_never_ends_is_given_up_in_time(connected):
    start = time.monotonic()
    with pytest.raises(TimeLimitError, match=r"did not answer within 1 s"):
        connected.shell("while true; do echo busy; sleep 0.1; done", limit_secs=1)
    assert time.monotonic() - start < 2  # output keeps coming: a timeout that begins anew would never end


def test_a_frozen_phone_is_given_up_in_time(connected, phone):
    phone.freeze()
    try:
        with pytest.raises(TimeLimitError, match="did not answer"):
            connected.shell("true", limit_secs=1)
    finally:
        phone.thaw()
    assert connected.shell("echo back").output == "back\n"


def test_a_phone_that_dies_in_the_middle_of_a_command_is_named(connected, phone):
    threading.Timer(0.3, phone.kill).start()
    with pytest.raises(ConnectionLostError, match=rf"phone {phone.serial} is gone"):
        connected.shell("sleep 30", limit_secs=20)


def test_a_phone_that_dies_in_the_middle_of_a_push_is_named(connected, phone):
    def kill_half_way(done: int, total: int) -> None:
        if done > total / 2:
            phone.kill()

    with pytest.raises(DeviceError, match=phone.serial):
        connected.push(
            [Upload(content=bytes(64_000_000), remote=f"{FOLDER}/model")],
            limit_secs=20,
            progress=kill_half_way,
        )


def test_a_phone_that_came_back_is_reached_again(connected, phone):
    phone.kill()
    assert not connected.is_ready()
    phone.restart()
    assert connected.is_ready()
    assert connected.shell("echo back").output == "back\n"


def test_a_call_can_be_cut_off_from_another_thread(connected):
    threading.Timer(0.2, connected.interrupt).start()
    start = time.monotonic()
    with pytest.raises(ConnectionLostError):
        connected.shell("sleep 30", limit_secs=20)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "serial", ["nobody", "a; rm -rf /", "$(reboot)", "two words", "new\nline", "host:kill"]
)
def test_an_unknown_serial_is_only_ever_a_serial(lab, phone, serial):
    with pytest.raises((NoPhoneError, ConnectionLostError), match="phone "):
        Phone(default_server(), serial).shell("true")
    assert default_server().list()  # the server lives


def test_unauthorized_and_offline_phones_are_told_with_what_to_do(lab):
    with lab.inside():
        unauthorized, offline = lab.unauthorized_phone(), lab.offline_phone()
        with pytest.raises(NotReadyError, match=r"unauthorized.*Allow USB debugging"):
            Phone(default_server(), unauthorized).shell("true")
        with pytest.raises(NotReadyError, match=r"offline.*plug it in again"):
            Phone(default_server(), offline).shell("true")


def test_a_server_elsewhere_that_does_not_answer_says_how_to_start_it():
    with pytest.raises(
        DeviceError, match=r"no adb server answers at 127\.0\.0\.2:9 .*adb -a -P 9 nodaemon server"
    ):
        AdbServer("127.0.0.2", 9).start()


def test_a_port_that_another_program_holds_is_no_adb_server(lab):
    with lab.inside(), socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        threading.Thread(target=lambda: other.accept()[0].close(), daemon=True).start()
        with pytest.raises(DeviceError, match=rf"adb server 127\.0\.0\.1:{port} is gone"):
            AdbServer("127.0.0.1", port).list()
