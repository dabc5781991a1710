"""Every error that arithctl raises on purpose.

One base class; two groups that a caller may want to catch together (the user can mend it, or trying
again can); then single causes. A message says what was expected, what was found, where, and what to do.
"""

from __future__ import annotations


class ArithError(Exception):
    """Base of all errors raised on purpose."""


class UserError(ArithError):
    """Raised when only the user can mend it: trying again would fail the same way."""


class SpecError(UserError):
    """Raised when a recipe, an override or a spec does not describe a possible experiment."""


class RunNotFoundError(UserError):
    """Raised when no run, or more than one, has the given id or prefix."""


class LedgerVersionError(UserError):
    """Raised when the database's schema is not the one that this version of the code knows."""


class DiskBudgetError(UserError):
    """Raised when the forecast of bytes does not fit on the disk of the artifact root."""


class ArtifactRootError(UserError):
    """Raised when the artifact root is a folder of this machine that cannot be written."""


class UnsolvedError(UserError):
    """Raised when the LM solves too few problems for the requested number of hidden states."""


class MissingExtraError(UserError):
    """Raised when an optional dependency is not installed; names the extra to install."""


class PretrainedError(UserError):
    """Raised when a pretrained LM cannot be found, fetched or opened, or is not what the spec says."""


class PromptError(UserError):
    """Raised when a tokenizer splits the problems so that no state could be told to belong to one token of ours."""


class UnreachableError(ArithError):
    """Raised when the database, the broker or a remote artifact root does not answer."""


class BrokerFullError(UnreachableError):
    """Raised when the broker answers, but takes no messages until there is room on its disk."""


class ArtifactError(ArithError):
    """Raised when an artifact is missing, incomplete or does not match its manifest."""


class HalfPrecisionError(UserError):
    """Raised when a hidden state does not fit into the requested half-precision dtype."""


class DivergedError(UserError):
    """Raised when the training loss is no longer finite; names the step. The same would happen again."""


class DamagedInputError(UserError):
    """Raised when a file that a unit reads is missing or changed: it must be made again, not read again."""


class DiskFullError(ArithError):
    """Raised when a disk is full; names the folder and what is free, and trying again later can help."""


class InterruptedUnitError(ArithError):
    """Base of the reasons for which a worker must stop a unit early: none is a failure of the unit."""


class CancelledError(InterruptedUnitError):
    """Raised when the run was cancelled while the unit was running."""


class LeaseLostError(InterruptedUnitError):
    """Raised when another worker may own the unit by now: whatever is done here no longer counts."""


class DrainError(InterruptedUnitError):
    """Raised when the worker was told to stop: save a checkpoint and hand the unit back."""
