"""Errors that a user can cause while training; each says what to do next.

EngineError
├── DataError        the training data cannot be read or do not suffice
├── ConfigError      an option or a configuration file cannot be used
└── TrainingError    a run cannot go on: not a number, or nothing to resume
"""

from ..engine.errors import EngineError


class DataError(EngineError):
    """The training data cannot be read, or do not suffice."""


class ConfigError(EngineError):
    """An option or a configuration file cannot be used."""


class TrainingError(EngineError):
    """A run cannot start or go on."""
