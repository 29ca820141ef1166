"""Running a searcher's code: whatever it raises becomes one readable error."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from rank_search.errors import SearcherError, told
from rank_search.isolation import ProcessRefusedError, guarded

T = TypeVar("T")


def guarded_call(name: str, call: Callable[[], T], passing: tuple[type[BaseException], ...]) -> T:
    """What the call returns; it cannot end the process.

    Args:
        name: of the searcher, for messages.
        call: its code.
        passing: errors that go through as they are; a user's interruption always does.

    Raises:
        SearcherError: for everything else.
    """
    try:
        with guarded():
            return call()
    except ProcessRefusedError as error:
        raise SearcherError(f"{name} was stopped: {error}") from error
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, *passing)):
            raise
        raise SearcherError(f"{name} raised {told(error)}") from error
