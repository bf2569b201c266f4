"""Errors in an export that a user can fix. Standard library only."""


class ExportError(Exception):
    """An export or a verification cannot be done; the message says what happened and what to do next."""


class BadModelFileError(ExportError):
    """A .keras, .h5 or .tflite file is truncated, empty, or not what its name says."""


class FloatOperatorError(ExportError):
    """A file that should be fully integer still holds float operators, which the message names."""


class OtherBytesError(ExportError):
    """The converted file is not the one that it may replace alone."""


class SettingsError(ExportError):
    """Settings that contradict each other, or that the precision does not take."""
