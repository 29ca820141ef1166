"""Random search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from rank_search.searching import About, AskTellSearcher, Trial
from rank_search.space import RankPlan
from rank_search.task import Oracles


class Random(AskTellSearcher):
    """Random feasible plans, none twice: uniform in the space's coordinates, projected onto the budget.

    (Bergstra and Bengio, JMLR 2012, for random search as the baseline of all black-box search.)
    """

    about: ClassVar[About] = About("reference", "labels", "Bergstra and Bengio, JMLR 2012", "faithful")

    def __init__(self, task: Oracles, *, seed: int) -> None:
        super().__init__(task, seed=seed)
        self._rng = np.random.default_rng(seed)

    def ask(self, pending: Sequence[Trial]) -> RankPlan | None:
        return self.unseen(self._rng, pending)

    def tell(self, trial: Trial) -> None:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._rng.bit_generator.state = state["rng"]
