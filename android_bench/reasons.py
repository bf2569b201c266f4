"""Why a figure is not valid: every reason, its sentence and the advice. Standard library only.

A new reason is one member here and its line in docs/devices.md, which a test holds equal to this list.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Literal

Place = Literal["phone", "host", "both"]


class Reason(StrEnum):
    """A reason. Its value is a stable code; text() is the stored and shown sentence."""

    sentence: str
    happened: str
    advice: str
    place: Place

    def __new__(cls, code: str, sentence: str, happened: str, advice: str, place: Place = "phone") -> Reason:
        """`sentence` has its fields in braces; `place` is where such a figure is measured."""
        self = str.__new__(cls, code)
        self._value_ = code
        self.sentence, self.happened, self.advice, self.place = sentence, happened, advice, place
        return self

    def text(self, **fields: object) -> str:
        """The sentence with its fields filled in."""
        return self.sentence.format(**fields)

    @property
    def shown(self) -> str:
        """The sentence as in the docs, its fields shown as '...'."""
        return _SHOWN.get(self.value) or re.sub(r"\{\w+\}", "...", self.sentence)

    UNKNOWN_FLAG = (
        "unknown-flag",
        "the tool does not know the flag {flag}",
        "benchmark_model ignores an unknown flag with exit status 0: the run was not what was asked",
        "take a build that has the flag, or leave it out",
    )
    FLAG_TWICE = (
        "flag-twice",
        "the flag {flag} was given twice, and the first counts",
        "the tool takes the first and ignores the other",
        "give it once",
    )
    MISNAMED_INPUT = (
        "misnamed-input",
        "tensor {index} is named {name}, but the flags call it {given}",
        "a flag names an input that the file does not have",
        "correct the name",
    )
    DELEGATE_TOOK_NOTHING = (
        "delegate-took-nothing",
        "{delegate} took no node{of_all}",
        "the delegate silently left every operator to the CPU",
        "export another precision, or quote the CPU",
    )
    DELEGATE_SILENT = (
        "delegate-silent",
        "no line says that {delegate} took any node",
        "nothing proves that the delegate ran",
        "another build, or `-- --verbose=true`; an NPU needs its vendor's library (Delegates, above)",
    )
    NO_SUCH_DELEGATE = (
        "no-such-delegate",
        "{tool}'s benchmark_model has no {delegate}. Use {others} for --delegate {word}",
        "there is no such delegate in that tool",
        "the other tool (Delegates, above)",
    )
    THREADS_IGNORED = (
        "threads-ignored",
        "the threads were ignored: {asked} asked for, {found}",
        "the process had fewer threads than asked for",
        "another build (LiteRT v2's tool did so)",
    )
    THREADS_NOT_COUNTED = (
        "threads-not-counted",
        "the run was too short to count its threads: {asked} asked for",
        "it ended before its threads could be counted",
        "raise `--min-secs`",
    )
    FEWER_RUNS = (
        "fewer-runs",
        "the run count fell short: {made} of {asked}",
        "the tool stopped before it had made the runs, and before `--max-secs` were over",
        "another build",
    )
    BELOW_RESOLUTION = (
        "below-resolution",
        "an inference took 0 microseconds: below the clock's resolution",
        "the model is faster than the clock can tell, or the clock is coarse",
        "another build or runtime; measure a net that holds it several times",
        "both",
    )
    TEXT_AND_FILE_DIFFER = (
        "text-and-file-differ",
        "the text says {name} {told}, the result file {filed}",
        "the tool contradicts itself",
        "the build is broken: take another",
    )
    NO_RESULT_FILE = (
        "no-result-file",
        "the tool wrote no result file",
        "the tool contradicts itself: it says that it can write one",
        "another build; look at the phone's storage",
    )
    BAD_RESULT_FILE = (
        "bad-result-file",
        "the tool's result file cannot be read ({why})",
        "it is empty, cut, or of no inference",
        "run it again; another build",
    )
    OTHER_FILE = (
        "other-file",
        "the file on the phone is not the one asked for: {found}",
        "its size or SHA-256 is another one",
        "free some storage, then run it again",
    )
    OTHER_FILE_RUN = (
        "other-file-run",
        "the tool ran a file of {found} bytes, not of {asked}",
        "it read another file than the one it was called with",
        "free some storage, then run it again",
    )
    THROTTLED = (
        "throttled",
        "the phone throttled: {status}",
        "Android slowed it down, also after cooling",
        "raise `--cool-secs`; a fan; no case",
    )
    SLOWED = (
        "slowed",
        "the phone throttled: the median rose by {rise} over the rounds",
        "no word from Android, but a trend that chance makes in fewer than 5% of cases, above `--max-drift`",
        "as above, or look at it: `--sustained 10`",
    )
    BENCHMARK_BESIDE = (
        "benchmark-beside",
        "another benchmark_model ran beside it (process {process} on the phone)",
        "two benchmarks at once measure each other",
        "wait for its end, or end it: `adb shell kill PROCESS`",
    )
    PHONE_BUSY = (
        "phone-busy",
        "process {process} ({name}) used {share} of a core beside it",
        "a process used more than half a core during a run and, one second later, during two more",
        "close the app; wait until the phone is at rest",
    )
    TOO_WARM = (
        "too-warm",
        "the phone is at {celsius} °C, above --max-celsius {limit}",
        "it did not cool in time",
        "raise `--cool-secs`, or `--max-celsius` if it is always that warm",
    )
    FAILED = (
        "failed",
        "{said}",
        "the tool crashed or gave up; 137 is often Android's low-memory killer",
        "another build; close apps; a smaller model",
    )
    HUNG = (
        "hung",
        "the tool hung: it was ended after {secs} s",
        "no end in time (`--patience-secs`)",
        "reboot the phone; another delegate",
    )
    NOT_STARTED = (
        "not-started",
        "the phone's shell did not run it: {said}",
        "the shell ended without a word on the tool",
        "reboot the phone, then run it again",
    )
    NO_TASKSET = (
        "no-taskset",
        "the phone cannot pin a process to cores: {said}",
        "Android's toybox has no taskset there",
        "leave `--cores` out",
    )
    SHELL_ENDED = (
        "shell-ended",
        "the phone's shell ended after {good} of {samples} (status {status})",
        "Android ended it, often for memory",
        "close apps; a smaller model",
    )
    NO_OUTPUT = (
        "no-output",
        "the tool wrote no output: {why}",
        "`verify --adb` reads the output tensors from a file, and there was none",
        "free some space on the phone; another build",
    )
    NOT_FINITE = (
        "not-finite",
        "NaN or infinite values on {number} of {samples}",
        "the net overflows in the precision that the delegate computes in, or its weights are broken",
        "another delegate or precision; `pipeline verify` tells whether the host's are numbers",
    )
    PRINTED_NOTHING = (
        "printed-nothing",
        "the tool printed nothing",
        "it ended with status 0 and without a word",
        "another build",
    )
    PRINTED_WITHOUT_END = (
        "printed-without-end",
        "the tool printed more than {limit}",
        "it prints some kB, and was ended",
        "another build",
    )
    CUT = (
        "cut",
        "the text is cut{where}",
        "the tool ended in the middle of what it says",
        "run it again; another build",
    )
    NO_STATISTICS = (
        "no-statistics",
        "the tool printed no statistics of its timed runs",
        "it has a summary, but no average",
        "another build",
    )
    NO_SUMMARY = (
        "no-summary",
        "no summary{after}",
        "a log without the tool's last lines: the run may have failed after these figures",
        "give the whole log",
    )
    NOT_TIMED = (
        "not-timed",
        "no inference was timed{why}",
        "the tool only loaded the file",
        "leave `--dry_run` out",
    )
    SUMMARY_DIFFERS = (
        "summary-differs",
        "the summary is not of the {block}",
        "the tool contradicts itself",
        "the build is broken: take another",
    )
    SEVERAL_RUNS = (
        "several-runs",
        "the text holds {found}",
        "two processes wrote into one text",
        "run it again",
    )
    CANNOT_WRITE = (
        "cannot-write",
        "cannot write {path} on the phone: {why}. {advice}",
        "the storage is full, or read-only",
        "free some space",
    )
    ARRIVED_CHANGED = (
        "arrived-changed",
        (
            "{file} arrived changed on phone {serial}. "
            "Check the cable and the phone's storage, then run the same command again."
        ),
        "the file's checksum differs after the push",
        "the cable, or the storage, is bad",
    )
    PHONE_LEFT = (
        "phone-left",
        "the phone went away {times} during it: {why}",
        "this very job may take the phone down",
        "another delegate; a smaller model",
    )
    STOPPED = (
        "stopped",
        "stopped after {done} of {rounds}",
        "Ctrl-C, or a phone that was given up, ended it early",
        "run the same command again: on phones it goes on where it stopped",
        "both",
    )
    FILE_CHANGED = (
        "file-changed",
        "the file changed while it was measured",
        "its SHA-256 is another one after the rounds",
        "measure it again, once nothing writes to it",
        "host",
    )
    MACHINE_BUSY = (
        "machine-busy",
        "other programs used {others} and let its threads wait for {share} of the time",
        "they left no free CPU for each thread, for longer than `--max-wait` allows",
        "end them and measure again; or fewer threads",
        "host",
    )
    HOST_THREADS_IGNORED = (
        "host-threads-ignored",
        "{runtime} ran it on {ran} of the {asked} threads asked for",
        "the runtime started fewer threads",
        "another runtime, or quote the number that ran",
        "host",
    )
    HOST_HUNG = (
        "host-hung",
        "{runtime} hung: no answer in {secs} s",
        "no end in time (`--patience-secs`)",
        "raise it for a slow model; another runtime",
        "host",
    )
    HOST_CRASHED = (
        "host-crashed",
        "{runtime} crashed with this file ({signal})",
        "a signal ended the runtime's process; SIGKILL is often the memory",
        "another runtime; free some memory",
        "host",
    )
    HOST_ENDED = (
        "host-ended",
        "{runtime} ended with status {status}: {said}",
        "the runtime's process gave up",
        "read what it said; `pipeline doctor`",
        "host",
    )
    NO_OPERATOR = (
        "no-operator",
        "{runtime} has no {operator} of version {version}: {advice}",
        "the file needs a newer runtime",
        "as the line says",
        "host",
    )
    HOST_FAILED = (
        "host-failed",
        "{runtime} failed while {stage}: {said}",
        "the runtime refuses the file, or a run of it",
        "export it again; `pipeline explain` names its operators",
        "host",
    )


_SHOWN = {
    "failed": "aborted (134), killed (137), segmentation fault (139), and what the tool said last",
    "arrived-changed": "... arrived changed on phone ...",
    "cannot-write": "cannot write ... on the phone: ...",
}
"""The docs' text for a sentence that consists of fields only, or that includes advice."""
