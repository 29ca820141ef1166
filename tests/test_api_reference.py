"""``docs/api.md`` names what is public, all of it, and shows signatures as they are."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rank_search
import rank_search.testing
from rank_search import errors
from rank_search.searching import option_values

PAGE = Path(__file__).parent.parent / "docs" / "api.md"
CHECKS = [
    name
    for name, found in vars(option_values).items()
    if inspect.isfunction(found) and found.__module__ == option_values.__name__ and not name.startswith("_")
]
PUBLIC = [*rank_search.__all__, *rank_search.testing.__all__, *CHECKS]
SPAN = re.compile(r"`([A-Za-z_][\w.]*)(\([^`]*\))?`")


def table_rows(text: str) -> Iterator[list[str]]:
    for line in text.splitlines():
        if line.startswith("| `"):
            yield re.split(r"(?<!\\)\|", line)[1:-1]


def listed(text: str) -> list[tuple[str, str | None]]:
    """Every name of the first column, and the signature that it is shown with."""
    return [match.groups() for row in table_rows(text) for match in SPAN.finditer(row[0])]  # type: ignore[misc]


def found(path: str) -> Any:
    """What a name of the page stands for.

    Raises:
        AttributeError: if there is no such thing.
    """
    first, *others = path.split(".")
    homes = [home for home in (rank_search, rank_search.testing, option_values) if hasattr(home, first)]
    if not homes:
        raise AttributeError(f"nothing public is named {first}")
    thing = getattr(homes[0], first)
    for name in others:
        thing = getattr(thing, name)
    return thing


def parameters(thing: Any) -> list[str]:
    stars = {inspect.Parameter.VAR_KEYWORD: "**", inspect.Parameter.VAR_POSITIONAL: "*"}
    given = inspect.signature(thing).parameters.values()
    return [stars.get(parameter.kind, "") + parameter.name for parameter in given if parameter.name != "self"]


def mistakes(text: str) -> list[str]:
    """All that a page says wrongly."""
    names = listed(text)
    wrong = [f"{name} is missing" for name in PUBLIC if name not in {path.partition(".")[0] for path, _ in names}]
    wrong += [f"{path} stands twice" for path in {path for path, _ in names} if [p for p, _ in names].count(path) > 1]
    for path, shown in names:
        try:
            thing = found(path)
        except AttributeError as error:
            wrong.append(f"{path}: {error}")
            continue
        real = parameters(thing) if shown is not None else []
        if shown is not None and (said := [part for part in shown[1:-1].split(", ") if part]) != real:
            wrong.append(f"{path} takes {real}, the page says {said}")
        if inspect.isfunction(thing) and shown is None:
            wrong.append(f"{path} has no signature")
    for name in set(re.findall(r"`(\w+Error)`", text)):
        if not hasattr(errors, name) and name not in ("ValueError", "RuntimeError"):
            wrong.append(f"{name} is no error")
    wrong += [f"a row has {len(row)} columns: {row}" for row in table_rows(text) if len(row) != 2]
    return wrong


def test_the_page_names_all_that_is_public_with_its_real_signatures() -> None:
    assert mistakes(PAGE.read_text()) == []


@pytest.mark.parametrize(
    ("said", "instead", "mistake"),
    [
        ("| `plan_of(model)` |", "| `plan_off(model)` |", "plan_of is missing"),
        ("| `plan_of(model)` |", "| `plan_off(model)` |", "plan_off: nothing public is named plan_off"),
        ("`Oracles.admit(plan)`", "`Oracles.permit(plan)`", "Oracles.permit: "),
        (
            "callback, parallel, workers, fidelity, **options)`",
            "callback, workers, fidelity, **options)`",
            "search takes [",
        ),
        ("`Oracles.weight_error(plan)`", "`Oracles.weight_error`", "Oracles.weight_error has no signature"),
        ("`CovarianceError`", "`MomentsError`", "MomentsError is no error"),
        ("| `DENSE` | the", "| `DENSE` | `BudgetError` | the", "a row has 3 columns"),
    ],
)
def test_a_page_that_is_wrong_is_found_out(said: str, instead: str, mistake: str) -> None:
    text = PAGE.read_text()
    assert said in text
    assert any(wrong.startswith(mistake) for wrong in mistakes(text.replace(said, instead)))
