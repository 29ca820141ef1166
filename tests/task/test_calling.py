"""Calling with options of a configuration: conversions, and every refusal names the option."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import PositiveInt

from rank_search.errors import DataError, InvalidInputError, PluginError
from rank_search.plugins import check_names
from rank_search.task.calling import call_users_function, call_with_options


def build(root: Path, size: PositiveInt = 3, scale: tuple[float, ...] = (1.0,)) -> tuple[Path, int, tuple[float, ...]]:
    return root, size, scale


def test_values_as_a_configuration_file_writes_them_become_what_the_annotations_say() -> None:
    found = call_with_options(build, {"root": "x/y", "size": "4", "scale": [1, 0.5]}, "thing", DataError)
    assert found == (Path("x/y"), 4, (1.0, 0.5))
    assert isinstance(found[2][0], float)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"root": "x", "sise": 4},
            "thing has no option 'sise' .did you mean 'size'.*; its options: root, size, scale",
        ),
        ({"size": 4}, "thing needs the option 'root'"),
        ({"root": "x", "size": -1}, "thing: option 'size' is -1: Input should be greater than 0"),
        ({"root": "x", "size": 1.5}, "thing: option 'size' is 1.5: .*integer"),
        ({"root": 3}, "thing: option 'root' is 3: "),
        ({"root": "x", "scale": 2.0}, "thing: option 'scale' is 2.0: .*tuple"),
        ({"root": "x", "scale": [1, "a"]}, "thing: option 'scale.1' is 'a': .*number"),
    ],
)
def test_a_wrong_option_is_refused_with_the_error_of_the_caller(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        call_with_options(build, options, "thing", DataError)
    assert "\n" not in str(caught.value)


def test_names_are_not_checked_where_a_function_takes_any() -> None:
    def anything(required: int, **others: int) -> None: ...

    check_names(anything, {"required": 1, "other": 2}, "thing", InvalidInputError)
    with pytest.raises(InvalidInputError, match="thing needs the option 'required'"):
        check_names(anything, {"other": 2}, "thing", InvalidInputError)


def test_all_missing_options_are_listed() -> None:
    def two(first: int, second: int) -> None: ...

    with pytest.raises(InvalidInputError, match="needs the options 'first', 'second'"):
        check_names(two, {}, "thing", InvalidInputError)


def test_an_error_of_ours_from_a_users_function_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "callers_module.py").write_text(
        "from rank_search.errors import DataError\n"
        "def ours():\n    raise DataError('no images in my folder')\n"
        "def nothing():\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DataError, match=r"^no images in my folder$"):
        call_users_function("callers_module:ours", {}, "thing", int)
    with pytest.raises(PluginError, match=r"thing 'callers_module:nothing' returned None; it must return an int"):
        call_users_function("callers_module:nothing", {}, "thing", int)
