"""One registry for everything that strangers may add: entry points, names registered in this process, ``module:Class``.

A built-in is declared exactly as a stranger's plug-in is, so the core imports none of them.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from rank_search.errors import InvalidInputError, PluginError, UnknownNameError, one_line

T = TypeVar("T")


def nearest(name: str, valid: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for the closest valid name, or an empty string."""
    close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def check_names(
    function: Callable[..., Any], options: Iterable[str], what: str, error: type[InvalidInputError]
) -> None:
    """Compares the names of options with a function's signature.

    Raises:
        InvalidInputError: of the class ``error``, if an option is unknown or a required one is missing.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some builtins tell nothing of their signature
        return
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    valid = [p.name for p in named]
    if all(p.kind is not p.VAR_KEYWORD for p in parameters):
        for option in options:
            if option not in valid:
                allowed = ", ".join(valid) or "none"
                raise error(f"{what} has no option {option!r}{nearest(option, valid)}; its options: {allowed}")
    missing = [p.name for p in named if p.default is p.empty and p.name not in options]
    if missing:
        raise error(f"{what} needs the option{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing))}")


def import_object(path: str, what: str) -> Any:
    """Imports ``module:attribute``.

    Raises:
        UnknownNameError: if the module or the attribute does not exist.
        PluginError: if importing the module raises.
    """
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise UnknownNameError(f"{what} {path!r} is not of the form 'module:name'")
    try:
        found = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UnknownNameError(f"{what} {path!r}: {error}; is it installed, or in the current folder?") from None
    except Exception as error:
        raise PluginError(
            f"{what} {path!r}: importing {module_name} raised {type(error).__name__}: {one_line(error)}"
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise UnknownNameError(f"{what} {path!r}: {module_name} has no {attribute!r}{nearest(part, dir(found))}")
        found = getattr(found, part)
    return found


class Registry(Generic[T]):
    """Names to classes of one kind.

    Args:
        group: the entry-point group, e.g. ``rank_search.searchers``.
        what: the kind's name in messages, e.g. ``searcher``.
        base: a function that returns the class that all entries must derive from.
    """

    def __init__(self, group: str, what: str, base: Callable[[], type[T]]) -> None:
        self.group, self.what, self._base = group, what, base
        self._local: dict[str, type[T]] = {}
        self._points: dict[str, list[EntryPoint]] | None = None

    def register(self, name: str, cls: type[T]) -> None:
        """Adds a class in this process; it takes the place of its own earlier self (a notebook's cell run again).

        Raises:
            PluginError: if the name is taken, or the class is not of the registry's kind.
        """
        self._check(name, cls)
        earlier = self._local.get(name)
        again = earlier is not None and (earlier.__module__, earlier.__qualname__) == (cls.__module__, cls.__qualname__)
        if not again and (name in self._local or name in self._declared()):
            raise PluginError(f"the {self.what} name {name!r} is taken; register yours under another name")
        self._local[name] = cls

    def unregister(self, name: str) -> None:
        """Removes a class that was added with :meth:`register`."""
        self._local.pop(name, None)

    def names(self) -> list[str]:
        """All names, broken plug-ins and clashes included, without importing any."""
        return sorted({*self._local, *self._declared()})

    def get(self, name: str) -> type[T]:
        """The class of that name, or of ``module:Class``.

        Raises:
            UnknownNameError: if there is none.
            PluginError: if two plug-ins claim the name, or its import fails.
        """
        if name in self._local:
            return self._local[name]
        if ":" in name:
            return self._check(name, import_object(name, self.what))
        points = self._declared().get(name)
        if points is None:
            known = self.names()
            raise UnknownNameError(
                f"unknown {self.what} {name!r}{nearest(name, known)}; known: {', '.join(known)}, or give 'module:Class'"
            )
        if len(points) > 1:
            claims = " and ".join(f"{p.dist.name if p.dist else 'unknown'} ({p.value})" for p in points)
            raise PluginError(f"the {self.what} name {name!r} is claimed by {claims}; uninstall or rename one")
        try:
            found = points[0].load()
        except Exception as error:
            raise PluginError(
                f"the {self.what} plug-in {name!r} ({points[0].value}) fails to import: {type(error).__name__}: {error}"
            ) from error
        return self._check(name, found)

    def listing(self) -> dict[str, type[T] | PluginError]:
        """Every name with its class, or with the error that keeps it from loading; a broken one hurts no other."""
        found: dict[str, type[T] | PluginError] = {}
        for name in self.names():
            try:
                found[name] = self.get(name)
            except PluginError as error:
                found[name] = error
        return found

    def _declared(self) -> dict[str, list[EntryPoint]]:
        if self._points is not None:  # reading the metadata of all installed packages takes milliseconds
            return self._points
        declared: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=self.group):
            points = declared.setdefault(point.name, [])
            if all(other.value != point.value for other in points):  # the same package may be listed twice
                points.append(point)
        self._points = declared
        return declared

    def _check(self, name: str, found: Any) -> type[T]:
        base = self._base()
        if not (isinstance(found, type) and issubclass(found, base)):
            raise PluginError(f"the {self.what} {name!r} is {found!r}, which is not a subclass of {base.__name__}")
        return found
