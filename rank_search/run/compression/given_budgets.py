"""What a caller may give as a budget: one, or several for a curve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from rank_search.errors import BudgetError
from rank_search.run.single import check_different, parse_budgets
from rank_search.space import Budget

OneBudget: TypeAlias = "Budget | str | Mapping[str, Any]"


def given_budgets(given: OneBudget | list[OneBudget] | tuple[OneBudget, ...]) -> list[Budget]:
    """The budgets of a compression; one unless a list or a tuple is given, in which ranges are spelled out.

    Raises:
        BudgetError: if it is none, an empty list, a range outside of a list, or a budget stands twice.
    """
    if not isinstance(given, list | tuple):
        found = _budgets(given)
        if len(found) > 1:
            raise BudgetError(f"{given!r} is {len(found)} budgets: give [{given!r}], and a list of networks comes back")
        return found
    found = [budget for one in given for budget in _budgets(one)]
    if not found:
        raise BudgetError("the list of budgets is empty: give one or more, such as ['macs=0.3', 'macs=0.5']")
    check_different(found)
    return found


def _budgets(given: Any) -> list[Budget]:
    if isinstance(given, Budget):
        return [given]
    if isinstance(given, str):
        return parse_budgets([given])
    if isinstance(given, Mapping) and all(isinstance(metric, str) for metric in given):
        return [Budget(**given)]
    raise BudgetError(f"the budget {given!r} is none: give 'macs=0.3', {{'macs': 0.3}} or a Budget")
