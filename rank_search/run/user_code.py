"""The user's own modules that a config names: whether a worker has the same ones, and how they get there if not."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rank_search.errors import RunError
from rank_search.run.config import Config

NAMED = re.compile(r"([A-Za-z_][\w.]*):[A-Za-z_]\w*")
MOST_BYTES = 20_000_000


@dataclass(frozen=True)
class UserCode:
    """Args:
    files: Python source by its path below the folder that it is imported from.
    modules: of those that the config names, the hash of their source.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    modules: Mapping[str, str] = field(default_factory=dict)


def user_code(config: Config) -> UserCode:
    """The modules that a config names as ``module:name``, and what they have imported of the same folders.

    Installed packages are left out: they are to be installed on every node.

    Raises:
        RunError: if it is too much to be sent.
    """
    for name in _named(config):
        with suppress(Exception):  # who needs it says what is wrong with it
            importlib.import_module(name)
    named = _named(config)
    modules, roots = {}, set()
    for name in sorted(named):
        source = _source(name)
        if source is not None:
            modules[name] = _hash(source)
            roots.add(_root(name, source))
    files: dict[str, bytes] = {}
    for module in [*sys.modules.values()]:
        place = getattr(module, "__file__", None)
        if not isinstance(place, str) or not place.endswith(".py"):
            continue
        path = Path(place).absolute()
        root = next((root for root in roots if path.is_relative_to(root)), None)
        if root is not None and not _installed(path) and path.exists():
            files[str(path.relative_to(root))] = path.read_bytes()
    size = sum(map(len, files.values()))
    if size > MOST_BYTES:
        raise RunError(f"the modules of {', '.join(map(str, roots))} have {size} bytes: install them on the nodes")
    return UserCode(files, modules)


def _named(config: Config) -> set[str]:
    """The modules of all texts that read ``module:name``."""
    return {match[1] for text in _texts(config.model_dump(mode="json")) if (match := NAMED.fullmatch(text))}


def install(code: UserCode, folder: Path) -> None:
    """In a worker: makes the modules importable, from ``folder`` if they are not here.

    Raises:
        RunError: if a module of that name is here and is another.
    """
    missing = False
    for name, expected in code.modules.items():
        source = _source(name)
        if source is None:
            missing = True
            continue
        root = _root(name, source)
        others = {root / relative: _digest(content) for relative, content in code.files.items()}
        for path, digest in {source: expected, **others}.items():
            if path.exists() and _hash(path) != digest:
                other = ".".join(path.relative_to(root).with_suffix("").parts)
                raise RunError(
                    f"the module {other!r} is another one there ({path}) than where the run was started: bring both to "
                    "the same state"
                )
        missing |= not all(path.exists() for path in others)
    if missing:
        _write(code, folder)


def _write(code: UserCode, folder: Path) -> None:
    """Writes the files below the folder, and lets modules be imported from there."""
    for relative, content in code.files.items():
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    importlib.invalidate_caches()


def _root(name: str, source: Path) -> Path:
    """The folder that a module of this name is imported from."""
    return source.parents[name.count(".") + (source.name == "__init__.py")]


def _source(name: str) -> Path | None:
    """The file of a module of the user's; None if there is none, or it is an installed one."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    path = Path(spec.origin).absolute()
    return None if _installed(path) else path


def _installed(path: Path) -> bool:
    own = Path(__file__).absolute().parents[1]
    paths = sysconfig.get_paths()
    library = any(path.is_relative_to(paths[key]) for key in ("stdlib", "purelib", "platlib"))
    return library or path.is_relative_to(own) or "site-packages" in path.parts


def _hash(path: Path) -> str:
    return _digest(path.read_bytes())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
