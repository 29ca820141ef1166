"""Calling a function with options that came from a configuration file or a command line.

Whatever is wrong with the options is said in one line that names the option, before the function does any work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError, validate_call

from rank_search.errors import InvalidInputError, PluginError, RankSearchError, one_line
from rank_search.plugins import check_names, import_object

T = TypeVar("T")


def call_with_options(
    function: Callable[..., T], options: Mapping[str, Any], what: str, error: type[InvalidInputError]
) -> T:
    """Calls one of our own functions, whose annotations say which values its options may have.

    Args:
        function: an annotated function; every parameter can be given by keyword.
        options: the keyword arguments; a number given as text and a list given for a tuple are converted.
        what: what is being built, for messages, e.g. ``model 'digits_net'``.
        error: the class of error to raise.

    Raises:
        InvalidInputError: of the class ``error``, if an option is unknown, missing or has a wrong type or value.
    """
    check_names(function, options, what, error)
    try:
        return validate_call(function)(**options)
    except ValidationError as failure:
        first = failure.errors()[0]
        option = ".".join(str(part) for part in first["loc"])
        raise error(f"{what}: option {option!r} is {first['input']!r}: {first['msg']}") from None


def call_users_function(path: str, options: Mapping[str, Any], what: str, returns: type[T]) -> T:
    """Imports ``module:function``, calls it and checks what it returns.

    Args:
        path: ``module:function``.
        options: the keyword arguments.
        what: what is being built, for messages, e.g. ``model``.
        returns: the class that the returned value must be of.

    Raises:
        UnknownNameError: if the module or the function does not exist.
        InvalidInputError: if the function does not take these options.
        PluginError: if the function raises, or returns something else.
    """
    function = import_object(path, what)
    if not callable(function):
        raise PluginError(f"{what} {path!r} is {_kind(function)}; give a function that returns {_kind_of(returns)}")
    check_names(function, options, f"{what} {path!r}", InvalidInputError)
    try:
        result = function(**options)
    except RankSearchError:
        raise
    except Exception as error:
        raise PluginError(f"{what} {path!r} raised {type(error).__name__}: {one_line(error)}") from error
    if not isinstance(result, returns):
        raise PluginError(f"{what} {path!r} returned {_kind(result)}; it must return {_kind_of(returns)}")
    return result


def _kind(value: object) -> str:
    return "None" if value is None else _kind_of(type(value))


def _kind_of(cls: type) -> str:
    return f"{'an' if cls.__name__[0] in 'AEIOUaeiou' else 'a'} {cls.__name__}"
