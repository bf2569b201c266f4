"""Errors in a model's name, knobs or weights that a user can fix. Standard library only."""


class ModelError(Exception):
    """A model cannot be built or filled; the message says what happened and what to do next."""


class KnobError(ModelError):
    """A family or a knob has an unknown name, or a value that is out of its range."""


class CheckpointError(ModelError):
    """A weights file is damaged or does not fit the model; the model is unchanged."""
