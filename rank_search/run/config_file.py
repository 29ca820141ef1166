"""Finding and reading a YAML file, and setting single keys of it."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from rank_search.errors import ConfigError
from rank_search.plugins import nearest


def installed_configs() -> list[str]:
    """Names of the configs that are installed with the package."""
    folder = resources.files("rank_search.configs")
    return sorted(Path(item.name).stem for item in folder.iterdir() if item.name.endswith(".yaml"))


def read_config(source: str | Path) -> dict[str, Any]:
    """The YAML of an installed config or of a file, as plain data.

    Raises:
        ConfigError: if there is none, or it is not a YAML mapping.
    """
    name, path = str(source), Path(source)
    if path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{name} cannot be read as text: {error}") from None
    elif name in installed_configs():
        text = resources.files("rank_search.configs").joinpath(f"{name}.yaml").read_text()
    else:
        known = installed_configs()
        raise ConfigError(
            f"there is no config {name!r}{nearest(name, known)}: give the path of a YAML file, or one of "
            + ", ".join(known)
        )
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{name} is not a YAML mapping of keys to values")
    return data


def apply_settings(data: dict[str, Any], settings: list[str]) -> None:
    """Sets dotted keys in place; a number in a key is a position of a list.

    Raises:
        ConfigError: for text that is not ``key=value``, or a key that leads nowhere.
    """
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {setting!r} is not of the form key=value, e.g. --set limits.evaluations=16")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(
                f"--set {setting!r}: the value is not valid YAML: {' '.join(str(error).split())}"
            ) from None
        _put(data, key.split("."), value, setting)


def _put(data: Any, parts: list[str], value: Any, setting: str) -> None:
    here = data
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if isinstance(here, list):
            if not part.isdigit() or int(part) >= len(here):
                raise ConfigError(
                    f"--set {setting!r}: {part!r} is not a position of a list of {len(here)} entries (from 0)"
                )
            if last:
                here[int(part)] = value
            else:
                here = here[int(part)]
        elif isinstance(here, dict):
            if last:
                here[part] = value
            else:
                if here.get(part) is None:
                    here[part] = {}
                here = here[part]
        else:
            raise ConfigError(
                f"--set {setting!r}: {'.'.join(parts[:depth])} is the single value {here!r}, it has no keys"
            )
