"""Every error that rank-search raises on purpose.

Each is a ``RankSearchError`` and also a ``ValueError`` (what was given is wrong) or a ``RuntimeError`` (what was asked
for could not be done), so that both kinds of ``except`` work. A message says what was given, what is allowed and what
to do.
"""

from __future__ import annotations

import os
import re
import traceback


class RankSearchError(Exception):
    """Base of all errors raised by rank-search; the command line prints it as one line and exits with code 2."""


class InvalidInputError(RankSearchError, ValueError):
    """Something the caller gave cannot be used."""


class ConfigError(InvalidInputError):
    """A configuration file or a ``--set`` option is wrong."""


class UnknownNameError(InvalidInputError):
    """A searcher, form, model or data set of that name does not exist."""


class LayerSelectionError(InvalidInputError):
    """The include and exclude patterns leave no layer, or match nothing."""


class WeightsError(InvalidInputError):
    """Weights are missing, do not fit the model or are not finite."""


class CovarianceError(InvalidInputError):
    """Second moments of layer inputs, or the calibration data for them, cannot be used."""


class DataError(InvalidInputError):
    """A data set is missing or malformed."""


class RecordingError(InvalidInputError):
    """A recorded task is damaged, of another version, or does not hold what was asked for."""


class PlanError(InvalidInputError):
    """A rank plan does not belong to this model or this space."""


class BudgetError(InvalidInputError):
    """A budget is malformed."""


class InfeasibleBudgetError(BudgetError):
    """No plan of the space meets the budget."""


class OverBudgetError(BudgetError):
    """A plan costs more than the budget allows; it is not evaluated, returned or saved."""


class OperationError(RankSearchError, RuntimeError):
    """Something that was asked for could not be done."""


class EvaluationError(OperationError):
    """One plan could not be evaluated (a loss that is not finite, a decomposition that did not converge)."""


class LimitReached(OperationError):
    """A metered oracle was called beyond the search's limits; the work was not done. A signal, not a fault."""


class EngineError(OperationError):
    """An engine is not installed, or cannot run a network."""


class SearcherError(OperationError):
    """A searcher broke its contract: it raised, returned a score that is not a number, or went over the budget."""


class PluginError(OperationError):
    """A plug-in could not be imported, or two plug-ins claim one name."""


class RunError(OperationError):
    """A run folder cannot be used."""


class StorageError(OperationError):
    """A file could not be written (disk full, no permission)."""


class TrackingError(OperationError):
    """The MLflow tracking server cannot be reached or refused a request."""


def told(error: BaseException) -> str:
    """An error of code that is not ours in one line: its class, what it says, and where it was raised.

    Where is the last place in code that is neither torch's nor ours: the user's network, searcher or data.
    """
    said = one_line(error)
    line = f"{type(error).__name__}: {said}" if said else type(error).__name__
    place = _place(error)
    return f"{line} ({place})" if place else line


def one_line(said: object) -> str:
    """A text of code that is not ours in one line, whole and without codes for terminals, which torch and Ray use."""
    return " ".join(without_escapes(str(said)).split())


def without_escapes(text: str) -> str:
    """A text without colours and other codes for terminals, and without other control characters but white space."""
    return _CONTROL.sub("", _ESCAPES.sub("", text))


def _place(error: BaseException) -> str | None:
    """``file:line in function`` of the deepest frame of the user's code."""
    found = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__", ""))
        name = frame.f_code.co_filename
        installed = module.partition(".")[0] in _NOT_THE_USERS or "site-packages" in name or name.startswith("<frozen")
        if not installed:
            found = f"{os.path.basename(name)}:{line} in {frame.f_code.co_name}"
    return found


_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_NOT_THE_USERS = {"rank_search", "torch", "contextlib", "threading", "functools", "copy", "concurrent"}
