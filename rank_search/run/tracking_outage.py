"""Whether an error says that a server is away or not well, or that it refuses what it was asked for."""

from __future__ import annotations

from collections.abc import Iterator

NOT_WELL = (408, 429)  # and whatever is 500 or more
NO_ANSWER = {"ConnectionError", "Timeout", "TimeoutError", "RetryError", "HTTPClientError", "ConnectTimeoutError"}
"""Classes of the standard library, requests and botocore, by name: those that are not installed need no import."""


def is_outage(error: BaseException) -> bool:
    """Whether it may pass by itself: no connection, no answer in time, 408, 429 or 5xx.

    ``requests`` raises ``RetryError`` for a status on MLflow's list of those that pass; MLflow wraps what it catches in
    an ``MlflowException``, and calls an error of a database's connection ``TEMPORARILY_UNAVAILABLE``.
    """
    return any(_is_outage(each) for each in _chain(error))


def _is_outage(error: BaseException) -> bool:
    if NO_ANSWER & {kind.__name__ for kind in type(error).__mro__}:
        return True
    if type(error).__name__ == "RestException":
        return _passes(error.get_http_status_code())  # type: ignore[attr-defined]
    if getattr(error, "error_code", None) == "TEMPORARILY_UNAVAILABLE":
        return True
    return _passes(getattr(getattr(error, "response", None), "status_code", None))


def _passes(status: object) -> bool:
    return isinstance(status, int) and (status >= 500 or status in NOT_WELL)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and those that led to it."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
