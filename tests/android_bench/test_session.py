"""Sessions of several hosts on one phone: one at a time, and none takes another's files away."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from android_bench.errors import NotReadyError, StorageError
from android_bench.phone.adb import AdbServer, Phone, default_server
from android_bench.phone.session import ROOT, LocalFile, Session
from android_bench.tool.runner import watched
from export.files import sha256_of

OURS = ROOT.rsplit("/", 1)[1]
HOLD = """
import sys, time
from pathlib import Path
from android_bench.phone.adb import AdbServer, Phone
from android_bench.phone.session import LocalFile, Session
session = Session(Phone(AdbServer("127.0.0.1", int(sys.argv[1])), sys.argv[2]))
session.__enter__()
session.put([LocalFile(path=Path(sys.argv[3]), sha256=sys.argv[4])])
print("in", flush=True)
time.sleep(60)
"""


@pytest.fixture
def hosts(lab, phone):
    """The phone as two hosts see it, each through its own adb server."""
    second = lab.second_server()
    lab.adb("connect", phone.serial, server=second)
    deadline = time.monotonic() + 10
    while lab.states(second).get(phone.serial) != "device":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield Phone(default_server(), phone.serial), Phone(AdbServer(second.host, second.port), phone.serial)
    lab.adb("disconnect", phone.serial, server=second)


@pytest.fixture
def model(tmp_path):
    """A file to be had on the phone."""
    return local(tmp_path / "model.tflite", b"TFL3" * 1000)


def local(path, content):
    path.write_bytes(content)
    return LocalFile(path=path, sha256=sha256_of(path))


def on_phone(phone):
    """Every file of ours there, by its path below our folder."""
    folder = phone.storage / OURS
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_second_host_is_refused_and_told_who_is_there(hosts, model, phone):
    ours, theirs = hosts
    with Session(ours) as session:
        session.put([model])
        who = r"is in use by another pipeline \(\S+, process \d+\)"
        with pytest.raises(NotReadyError, match=who), Session(theirs):
            pass
        assert session.checksums([session.path_of(model)]) == {session.path_of(model): model.sha256}
    with Session(theirs) as session:
        session.put([model])
    assert list(phone.storage.iterdir()) == []


def test_a_session_that_lost_the_phone_neither_ends_nor_empties_the_next_one(hosts, model, phone, tmp_path):
    ours, theirs = hosts
    other = local(tmp_path / "other.tflite", b"TFL3 of the other host")
    with Session(ours) as first:
        first.put([model])
        holder = str((phone.storage / OURS / "lock").readlink()).split(":")[0]
        phone.shell(f"kill -9 {holder}")  # as when the adb server of its host is restarted
        wait_until(lambda: phone.processes() == [])
        with Session(theirs) as second:
            second.put([other])
            before = on_phone(phone)
            with pytest.raises(NotReadyError):
                first.put([other])
            first.close()
            assert on_phone(phone) == before == {second.path_of(other).removeprefix(f"{ROOT}/")}
            with pytest.raises(NotReadyError), Session(ours):
                pass
    assert list(phone.storage.iterdir()) == []


def test_of_many_who_want_the_phone_at_once_one_gets_it(hosts, phone):
    assert want_at_once(hosts, phone) == {1}


def test_of_many_who_find_the_lock_of_a_session_that_is_gone_one_gets_it(hosts, phone):
    with Session(hosts[0]):
        phone.restart()
        wait_until(lambda: all(host.is_ready() for host in hosts))
        assert want_at_once(hosts, phone) == {1}


def want_at_once(hosts, phone):
    """How many sessions were in at a time, of eight that want the phone."""
    inside, most, refused, over = [], [], [], threading.Barrier(8)

    def want(number):
        server = hosts[number % 2].server
        over.wait()
        try:
            with Session(Phone(server, phone.serial)):
                inside.append(number)
                most.append(len(inside))
                time.sleep(0.5)
                inside.remove(number)
        except NotReadyError:
            refused.append(number)

    threads = [threading.Thread(target=want, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) + len(refused) == 8
    return set(most)


def test_a_host_that_was_killed_leaves_the_phone_to_the_next_which_tidies_up(lab, hosts, model, phone):
    _, theirs = hosts
    words = [str(lab.server.port), phone.serial, str(model.path), model.sha256]
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, *words], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert process.stdout.readline() == "in\n"
    with pytest.raises(NotReadyError, match=f"process {process.pid}"), Session(theirs):
        pass
    process.kill()
    process.communicate()
    wait_until(lambda: phone.processes() == [])
    assert len(on_phone(phone)) == 1  # what it had pushed
    with Session(theirs):
        assert on_phone(phone) == set()
    assert list(phone.storage.iterdir()) == []


def start_on_phone(phone, folder, *, born=""):
    """A process on the phone and, in our folder there, the note that an earlier session wrote of it."""
    note = f'read -r line < /proc/$!/stat; set -- ${{line##*) }}; echo "$! {born or "${20}"}" > {folder}/pid'
    done = phone.shell(f"mkdir -p {folder}; sleep 60 >/dev/null 2>&1 </dev/null & {note}")
    assert done.returncode == 0, done.stderr
    wait_until(lambda: phone.processes() == ["sleep 60"])


def test_a_tool_that_an_earlier_session_left_is_ended_by_the_next(hosts, phone):
    ours, _ = hosts
    start_on_phone(phone, f"{ROOT}/run-00000000")  # without a lock: its session unlocked the phone
    with Session(ours) as session:
        assert phone.processes() != []
        assert "sleep 60" not in phone.processes()
        assert [path.name for path in (phone.storage / OURS).glob("run-*")] == [session.folder[-12:]]
    assert list(phone.storage.iterdir()) == []


def test_a_process_that_has_the_number_of_an_earlier_tool_lives_on(hosts, phone):
    ours, _ = hosts
    start_on_phone(phone, f"{ROOT}/run-00000000", born="1")
    with Session(ours):
        assert "sleep 60" in phone.processes()
    assert phone.processes() == ["sleep 60"]


def test_the_tool_of_a_host_that_was_killed_ends_with_its_connection(lab, hosts, model, phone):
    words = [str(lab.server.port), phone.serial, str(model.path), model.sha256]
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, *words], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert process.stdout.readline() == "in\n"
    (folder,) = (phone.storage / OURS).glob("run-*")
    phone.shell(f"cd {ROOT}/{folder.name}; ({watched('sleep 60', 'mark')}) >/dev/null 2>&1 </dev/null &")
    wait_until(lambda: "sleep 60" in phone.processes() and (folder / "pid").exists())
    process.kill()
    process.communicate()
    wait_until(lambda: phone.processes() == [])


def test_a_phone_that_was_started_anew_is_free(hosts, phone):
    ours, _ = hosts
    with Session(ours):
        phone.restart()
        assert (phone.storage / OURS / "lock").is_symlink()
        with Session(ours):
            pass
    assert list(phone.storage.iterdir()) == []


def test_kept_files_stay_for_the_next_and_another_session_leaves_them(hosts, model, phone, tmp_path):
    ours, theirs = hosts
    with Session(ours, keep=True) as session:
        session.put([model])
    kept = phone.storage / OURS / "files" / model.sha256
    before = kept.stat().st_ino, kept.stat().st_mtime_ns
    other = local(tmp_path / "other.tflite", b"TFL3 of the other host")
    with Session(theirs) as session:
        session.put([model, other])
        assert Path(session.path_of(model)).parent.name == "files"
        assert on_phone(phone) >= {f"files/{model.sha256}"}
    assert (kept.stat().st_ino, kept.stat().st_mtime_ns) == before
    assert on_phone(phone) == {f"files/{model.sha256}"}


def test_a_kept_file_that_changed_is_not_used(hosts, model, phone):
    ours, _ = hosts
    with Session(ours, keep=True) as session:
        session.put([model])
    kept = phone.storage / OURS / "files" / model.sha256
    kept.write_bytes(b"TFL4" * 1000)
    with Session(ours) as session:
        session.put([model])
        found = session.checksums([session.path_of(model)])
        assert list(found.values()) == [model.sha256]


def test_a_pipe_in_a_files_place_is_replaced_by_the_file(hosts, model, phone):
    ours, _ = hosts
    phone.shell(f"mkdir -p {ROOT}/files; mkfifo {ROOT}/files/{model.sha256}")
    with Session(ours, keep=True) as session:
        session.put([model])
        assert list(session.checksums([session.path_of(model)]).values()) == [model.sha256]


def test_a_lock_that_cannot_be_made_says_why(hosts, phone):
    ours, _ = hosts
    (phone.storage / OURS).write_text("a file in the place of our folder")
    with pytest.raises(StorageError, match=r"cannot make .* on phone"), Session(ours):
        pass
