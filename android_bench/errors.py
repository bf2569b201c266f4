"""Errors of phones, of the benchmark tool and of its output. Standard library only.

Each message says what happened, what was expected and what to do next.
"""


class DeviceError(Exception):
    """A phone cannot do what was requested."""


class NoPhoneError(DeviceError):
    """No phone, none with that serial, or several where one was expected."""


class NotReadyError(DeviceError):
    """The phone is there, but unauthorized, offline, in recovery, or used by another process."""


class ConnectionLostError(DeviceError):
    """The connection to the phone, its daemon or the adb server was lost during a call."""


class TimeLimitError(DeviceError):
    """The phone did not answer within its time limit."""


class AnswerLimitError(DeviceError):
    """The phone sent more than any answer has."""


class StorageError(DeviceError):
    """A file could not be written to or read from the phone: full, read-only, or changed on the way."""


class ToolError(Exception):
    """benchmark_model is missing, is for another processor, or its checksum changed."""


class LogError(Exception):
    """The output of benchmark_model has no completed run; the message says why."""
