"""Errors that a user can cause in the engine; each says what to do next.

EngineError
├── CheckpointError    a checkpoint is missing, damaged, or not a CoDE encoder
├── DeviceError        the requested device or precision is not available
├── InputError         a path or an option cannot be used
└── SignatureError     a file is not what was signed, or not by whom it should be
"""


class EngineError(Exception):
    """A problem that the user can solve.

    Attributes:
        hint: What to do next, one sentence; may be empty.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class CheckpointError(EngineError):
    """A checkpoint is missing, damaged, or does not hold a CoDE encoder."""


class DeviceError(EngineError):
    """The requested device or precision is not available here."""


class InputError(EngineError):
    """A path or an option cannot be used."""


class SignatureError(EngineError):
    """A file is not what was signed, or was signed by another key."""
