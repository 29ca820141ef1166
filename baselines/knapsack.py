"""The data-free optimum: a multiple-choice knapsack over weight errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rank_search.arrays import FloatArray
from rank_search.searching import About, Proposal, Searcher
from rank_search.searching.option_values import one_of
from rank_search.task import Oracles


class Knapsack(Searcher):
    """Least sum of weight errors within the budget, with a certificate (docs/methods.md; solver: ``space.knapsack``).

    One proposal: its score is the sum, of measured errors also where tables interpolate (``cp``), and ``lower_bound``
    in its info says how far below it any plan can be; ``interpolation``, where options were interpolated to the end,
    how much of that gap they hide.

    Args:
        weights: ``"relative"`` sums ``||W - What||^2 / ||W||^2`` over layers, ``"none"`` sums ``||W - What||^2``.
    """

    needs_data: ClassVar[bool] = False
    about: ClassVar[About] = About(
        "data-free", "weights", "Everett, 1963; Shoham and Gersho, 1988; BALF (arXiv 2509.25136)", "ours"
    )

    def __init__(self, task: Oracles, *, seed: int, weights: str = "relative") -> None:
        super().__init__(task, seed=seed)
        self._weights = one_of("weights", weights, ("relative", "none"))
        self._done = False

    @property
    def done(self) -> bool:
        return self._done

    def step(self) -> Proposal:
        space = self.task.space
        self.task.relative_errors()  # charges the decompositions
        found = space.minimise_measured(self.task.budget, self._values)
        self._done = True
        info = {"lower_bound": found.solution.lower_bound}
        if found.interpolation is not None:
            info["interpolation"] = found.interpolation
        return Proposal(space.plan(found.solution.indices), found.solution.value, info=info)

    def _values(self, errors: Sequence[FloatArray]) -> Sequence[FloatArray]:
        if self._weights == "relative":
            return errors
        return [error * options.energy for error, options in zip(errors, self.task.space.layers, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        return {"done": self._done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._done = bool(state["done"])
