"""Every error a user can meet: what happened, where, and what to do about it.

A ``SidestepError`` reaches the terminal as one line without a traceback. ``hint`` is the remedy.
Anything that is not a ``SidestepError`` is a defect and keeps its traceback.
"""

from __future__ import annotations


class SidestepError(Exception):
    """Base of all errors that are the user's to read."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ManifestError(SidestepError):
    """The expert's manifest.json is missing, is not JSON, or lacks something."""


class ConfigError(SidestepError):
    """A training or evaluation setting is missing, unknown, or contradicts another."""


class UnsupportedOnDevice(ConfigError):
    """The device cannot do what was asked for, and a replacement would change the results."""


class BaseModelError(SidestepError):
    """The base model is not where the configuration says."""


class DatasetError(SidestepError):
    """A dataset is missing, unreadable, or has no usable rows."""


class SuiteError(SidestepError):
    """test_cases.json or something it refers to is invalid."""


class WeightsFolderError(SidestepError):
    """The weights folder does not exist or cannot be read."""


class ReportsFolderError(SidestepError):
    """The reports folder cannot be written."""


class PublishError(SidestepError):
    """A checkpoint could not be handed over to the evaluator. Never raised into training."""


class CheckpointRejected(SidestepError):
    """The checkpoint is not what its marker says, or must not be loaded. Outcome: rejected."""


class BaseModelMismatch(SidestepError):
    """The checkpoint does not fit this base model. It may well fit the one that it was trained on: it stays pending."""


class EvaluatorFault(SidestepError):
    """This evaluator cannot evaluate anything as it is: a package is missing, say. No checkpoint ends by that."""


class CheckpointsPending(SidestepError):
    """Checkpoints are left as they were, for a reason that is not theirs."""


class CheckpointVanished(SidestepError):
    """The checkpoint's files are gone from every place they could be read from. Outcome: vanished."""


class EngineError(SidestepError):
    """Loading or generating failed; another attempt may succeed."""


class DeviceOutOfMemory(EngineError):
    """The device has too little free memory right now."""


class DeadlinePassed(EngineError):
    """The evaluation took longer than its deadline allows. Outcome: error."""


class NotComparable(SidestepError):
    """Two results share no case, or were decided under different suites or decoding settings."""
