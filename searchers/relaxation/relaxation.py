"""The continuous data-free relaxation: probabilities over the options of every layer, made one option by the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rank_search.errors import InvalidInputError
from rank_search.plugins import nearest
from rank_search.searching import Proposal, Searcher
from rank_search.searching.option_values import one_of
from rank_search.task import Task

from ..ortos.ortos import FaithfulMode
from .budget_mode import BudgetMode

MODES: dict[str, type[BudgetMode] | type[FaithfulMode]] = {"budget": BudgetMode, "faithful": FaithfulMode}


class Relaxation(Searcher):
    """Continuous relaxation of ranks: a softmax over every layer's options, under a budget or as published.

    (arXiv 2409.03555, ORTOS in v1, RENE later. ``mode="faithful"`` follows the authors' code; ``mode="budget"``, the
    default, is ours: docs/methods.md.)

    Args:
        mode: ``budget`` holds the expected cost of p by multipliers, in closed form, without weights
            (:class:`BudgetMode`); ``faithful`` trains a superposition of factors and has no budget, its ranks are
            projected onto it (:class:`FaithfulMode`).
        options: those of the mode, see there.

    Raises:
        InvalidInputError: if an option is not allowed, or is one of the other mode.
        DataError: if the options need data and the task has none.
    """

    needs_data: ClassVar[bool] = False

    def __init__(self, task: Task, *, seed: int, mode: str = "budget", **options: Any) -> None:
        super().__init__(task, seed=seed)
        cls = MODES[one_of("mode", mode, tuple(MODES))]
        for option in options:
            if option not in cls.OPTIONS:
                other = next((name for name, kind in MODES.items() if option in kind.OPTIONS), None)
                where = f"; it belongs to mode={other!r}" if other else nearest(option, cls.OPTIONS)
                raise InvalidInputError(
                    f"mode={mode!r} of relaxation has no option {option!r}{where}; it has: {', '.join(cls.OPTIONS)}"
                )
        self._engine: BudgetMode | FaithfulMode = cls(task, seed, **options)

    @property
    def done(self) -> bool:
        return self._engine.done

    def step(self) -> Proposal:
        proposal = self._engine.step()
        self.gave_up = self._engine.gave_up
        return proposal

    def state_dict(self) -> dict[str, Any]:
        return self._engine.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._engine.load_state_dict(state)
        self.gave_up = self._engine.gave_up
