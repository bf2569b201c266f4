"""Runs tasks in processes on this machine, several at once; each process carries out many."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.signals import signal_words
from pipeline.quiet import CHATTER
from pipeline.trials.tasks import Heard, Outcome, Said, Started, event_from_json

ATTEMPTS = 2
"""How often a task is begun whose process dies."""
EXIT_SECS = 10.0
"""How long a process may take to clean up when it is stopped."""
LAST_WORDS = 2000


@dataclass(frozen=True, kw_only=True)
class Machine:
    """How many tasks run at once here, and what each gets."""

    at_once: int = 1
    threads: int = 1
    """Threads of TensorFlow for each task: with another number the weights may differ in the last bits."""
    gpus: tuple[str, ...] = ()
    """Names of GPUs as CUDA_VISIBLE_DEVICES takes them; the processes take one each, in turns."""

    def environment(self, slot: int) -> dict[str, str]:
        """The environment of the process in a slot."""
        threads = str(self.threads)
        names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
        found = {**os.environ, **dict.fromkeys(names, threads), "TF_CPP_MIN_LOG_LEVEL": "3"}
        if self.gpus:
            found["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
        return found


def run_tasks(tasks: Sequence[Any], work: str, *, folder: Path, machine: Machine) -> Iterator[Heard]:
    """Carries out the tasks, begun in their order; yields what is heard of them, each one's Outcome last.

    A task whose process dies is begun again, once; a failure is an Outcome, and the others go on. When the
    caller stops asking, the processes are ended.
    """
    pool = _Pool(tasks, work, folder, machine)
    try:
        pool.start()
        left = len(tasks)
        while left:
            heard = pool.inbox.get()
            if isinstance(heard, BaseException):
                raise heard
            left -= isinstance(heard, Outcome)
            yield heard
    finally:
        pool.stop()


class _Pool:
    """The tasks that are left, and a thread for each process."""

    def __init__(self, tasks: Sequence[Any], work: str, folder: Path, machine: Machine) -> None:
        self.inbox: queue.SimpleQueue[Heard | BaseException] = queue.SimpleQueue()
        self._tasks, self._work, self._folder, self._machine = tasks, work, folder, machine
        self._left = deque(range(len(tasks)))
        self._deaths: dict[int, int] = {}
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        """No process begins once it is stopping."""
        self._threads = [
            threading.Thread(target=self._serve, args=(slot,), daemon=True)
            for slot in range(min(machine.at_once, len(tasks)))
        ]
        self._alive: dict[int, _Process] = {}

    def start(self) -> None:
        for each in self._threads:
            each.start()

    def stop(self) -> None:
        with self._lock:
            self._stopping.set()
        self._left.clear()
        processes = list(self._alive.values())
        for process in processes:
            process.stop()
        for process in processes:
            process.end()
        for each in self._threads:
            each.join()

    def _serve(self, slot: int) -> None:
        """Keeps a process busy with what is left."""
        process: _Process | None = None
        try:
            while (index := self._next()) is not None:
                process = process or self._begin(slot)
                if process is None:
                    return
                self.inbox.put(Started(index=index))
                try:
                    is_last = self._carry_out(index, process)
                except _DiedError as died:
                    self._died(index, died)
                    is_last = True
                if is_last:
                    process.close()
                    process = None
        except BaseException as error:  # the thread that asks raises it
            self.inbox.put(error)
        finally:
            if process is not None:
                process.close()

    def _begin(self, slot: int) -> _Process | None:
        """A new process; None if it is too late for one."""
        with self._lock:
            if self._stopping.is_set():
                return None
            environment = self._machine.environment(slot)
            self._alive[slot] = _Process([self._work, str(self._folder)], environment)
            return self._alive[slot]

    def _next(self) -> int | None:
        try:
            return None if self._stopping.is_set() else self._left.popleft()
        except IndexError:
            return None

    def _carry_out(self, index: int, process: _Process) -> bool:
        """Sends a task and reads to its end; returns whether that was the process's last."""
        process.send(self._tasks[index])
        while True:
            line = process.read()
            if "reply" in line or "failure" in line:
                self.inbox.put(
                    Outcome(
                        index=index,
                        reply=line.get("reply"),
                        failure=line.get("failure", ""),
                        details=line.get("details", ""),
                    )
                )
                return bool(line["last"])
            if "ready" not in line:
                self.inbox.put(Said(index=index, event=event_from_json(line)))

    def _died(self, index: int, died: _DiedError) -> None:
        if self._stopping.is_set():
            return
        self._deaths[index] = self._deaths.get(index, 0) + 1
        if self._deaths[index] < ATTEMPTS:
            self._left.appendleft(index)
            return
        self.inbox.put(
            Outcome(
                index=index, failure=f"its process ended ({died}), {ATTEMPTS} times.", details=died.last_words
            )
        )


class _DiedError(Exception):
    def __init__(self, why: str, last_words: str) -> None:
        super().__init__(why)
        self.last_words = last_words


class _Process:
    """A worker, spoken to in lines."""

    def __init__(self, arguments: Sequence[str], environment: dict[str, str]) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed in end()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pipeline.trials.worker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=environment,
            start_new_session=True,  # Ctrl-C is the parent's to handle
        )

    def send(self, task: Any) -> None:  # noqa: ANN401
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is dead: reading says why
            self._process.stdin.write(json.dumps(task).encode() + b"\n")
            self._process.stdin.flush()

    def read(self) -> dict[str, Any]:
        """The next line. _DiedError if there is none."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise _DiedError(*self._why_dead())
        found: dict[str, Any] = json.loads(line)
        return found

    def hang_up(self) -> None:
        """Closes its standard input, with which it ends."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def stop(self) -> None:
        """Ends the process also in the middle of a task, or before it reads one."""
        self.hang_up()
        self._process.terminate()

    def end(self) -> None:
        """Ends the process, which cleans up first; kills it if it does not."""
        self.hang_up()
        try:
            self._process.wait(EXIT_SECS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """As end(), by the thread that reads."""
        self.end()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._said.close()

    def _why_dead(self) -> tuple[str, str]:
        try:
            status = self._process.wait(EXIT_SECS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, self._said.tell() - LAST_WORDS))
        lines = self._said.read().splitlines()
        words = b"\n".join(line for line in lines if not CHATTER.match(line)).decode(errors="replace").strip()
        why = signal_words(-status) if status < 0 else f"status {status}"
        return (f"{why}: {words.splitlines()[-1]}" if status >= 0 and words else why), words
