"""A searcher of your own: one random step from the best plan so far.

    python examples/own_searcher.py

About ten seconds on one core. In a config its name is ``own_searcher:Mutation``, with this folder on the Python path;
``tests/test_examples.py`` runs the contract of all searchers on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

import rank_search as rs
from rank_search.searching.option_values import whole

TRIES = 20


@rs.register_searcher("mutation")
class Mutation(rs.AskTellSearcher):
    """Random plans first, then neighbours of the best one, repaired to the budget.

    Args:
        first: random plans before the first step.
    """

    def __init__(self, task: rs.Oracles, *, seed: int, first: int = 8) -> None:
        super().__init__(task, seed=seed)
        self.first = whole("first", first, 1)
        self.rng = np.random.default_rng(seed)

    def ask(self, pending: Sequence[rs.Trial]) -> rs.RankPlan | None:
        scored = [trial for trial in self.trials.values() if trial.score is not None]
        if len(scored) >= self.first:
            best = min(scored, key=lambda trial: trial.score or 0.0)
            taken = {*self.trials, *(trial.plan for trial in pending)}
            neighbours = self.task.space.neighbours(best.plan)
            for _ in range(TRIES):
                changed = neighbours[int(self.rng.integers(len(neighbours)))]
                plan = self.task.space.project(changed, self.task.budget)
                if plan not in taken:
                    return plan
        return self.unseen(self.rng, pending)

    def tell(self, trial: rs.Trial) -> None:
        """Nothing to do: every trial is in ``self.trials`` already."""

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.rng.bit_generator.state = state["rng"]


def main() -> None:
    torch.manual_seed(0)
    data = rs.load_data("digits")
    model = rs.train(rs.load_model("digits_net"), data, rs.Recipe(epochs=6, lr=0.1))
    space = rs.RankSpace.from_model(model, data.example(), forms=("tucker2", "svd_grouped"))
    task = rs.Task(model, space, rs.Budget(macs=0.3), data)
    print(f"dense: accuracy {task.validate(model).measures['accuracy']:.1%}")
    for name in ("random", "mutation"):
        result = rs.search(task, name, rs.Limits(evaluations=24), seed=0)
        best = min((trial for trial in result.trials if trial.score is not None), key=lambda trial: trial.score or 0.0)
        kept = result.cost["macs"] / space.dense_cost["macs"]
        print(f"{name}: loss {best.score:.3f}, accuracy {best.measures['accuracy']:.1%}, {kept:.1%} of the MACs")


if __name__ == "__main__":
    main()
