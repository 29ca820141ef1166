"""Multi-fidelity: plans are fine-tuned step by step, and only the better ones go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rank_search.errors import InvalidInputError
from rank_search.plugins import nearest

ASHA, SUCCESSIVE_HALVING = "asha", "successive_halving"
SCHEDULERS = (ASHA, SUCCESSIVE_HALVING)


@dataclass(frozen=True)
class Fidelity:
    """How far every plan of a search is fine-tuned.

    Args:
        scheduler: ``asha`` (Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020; the variant
            that stops, as Ray Tune has it): a plan goes on from a rung if it is among the best ``1 / eta`` of those
            that came there before it, in the order of asking. ``successive_halving`` (Jamieson and Talwalkar,
            AISTATS 2016): of the plans in flight together the best ``1 / eta`` go on.
        eta: which fraction goes on, and how much longer the next rung is.
        min_epochs: of the first rung.
        max_epochs: of the last one; the recipe's unless told. The learning rate follows the recipe's in any case.
    """

    scheduler: str = ASHA
    eta: int = 3
    min_epochs: int = 1
    max_epochs: int | None = None

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}  # how a config file reads this section

    def __post_init__(self) -> None:
        if self.scheduler not in SCHEDULERS:
            raise InvalidInputError(
                f"fidelity scheduler={self.scheduler!r} is not allowed{nearest(str(self.scheduler), SCHEDULERS)}: it "
                f"is {' or '.join(SCHEDULERS)}"
            )
        for name, least in (("eta", 2), ("min_epochs", 1), ("max_epochs", 1)):
            value = getattr(self, name)
            if value is None and name == "max_epochs":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InvalidInputError(f"fidelity {name}={value!r} is not allowed: it is a whole number from {least}")

    def rungs(self, recipe_epochs: int) -> tuple[int, ...]:
        """The epochs, counted from the beginning, after which plans are judged.

        Raises:
            InvalidInputError: if the recipe or ``max_epochs`` leave no room for them.
        """
        last = self.max_epochs or recipe_epochs
        if last > recipe_epochs or last < self.min_epochs:
            raise InvalidInputError(
                f"fidelity of {self.min_epochs} to {last} epochs does not fit finetune epochs={recipe_epochs}: the "
                "first is at most the last, and that at most the recipe's"
            )
        found = []
        epochs = self.min_epochs
        while epochs < last:
            found.append(epochs)
            epochs *= self.eta
        return (*found, last)


def goes_on(score: float, before: Sequence[float], eta: int) -> bool:
    """Whether ASHA lets a plan go on from a rung.

    Args:
        score: of the plan, lower is better.
        before: scores of those that came to this rung before it.
        eta: of the fidelity.
    """
    if not before:
        return True
    cutoff = np.percentile(
        -np.asarray(before), (1 - 1 / eta) * 100
    )  # of rewards, as Ray Tune has it: the same rounding
    return bool(-score >= cutoff)


def survivors(scores: Sequence[float], eta: int) -> list[int]:
    """Which of these go on in successive halving: the places of the best ``1 / eta``, at least one, in their order.

    Of equals the first.
    """
    order = sorted(range(len(scores)), key=lambda place: scores[place])
    return sorted(order[: max(1, len(scores) // eta)])
