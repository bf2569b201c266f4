"""What can go wrong with a phone, with its tool and with what the tool says. Standard library only.

Each message says what happened, what was expected and what to do next.
"""


class DeviceError(Exception):
    """A phone cannot do what was asked."""


class NoPhoneError(DeviceError):
    """No phone, or none of that serial, or several where one was meant."""


class NotReadyError(DeviceError):
    """The phone is there, but unauthorized, offline, in recovery, or used by another process."""


class ConnectionLostError(DeviceError):
    """The phone, its daemon or the adb server went away in the middle of something."""


class TimeLimitError(DeviceError):
    """The phone did not answer within its time limit."""


class StorageError(DeviceError):
    """A file could not be written to or read from the phone: full, read-only, or changed on the way."""


class ToolError(Exception):
    """benchmark_model is missing, is for another processor, or has silently changed."""


class LogError(Exception):
    """A text of benchmark_model holds no completed run; the message says why."""
