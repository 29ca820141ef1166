"""The relaxation as published: rounds of a superposition over candidate ranks, coarse to fine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from rank_search.errors import DataError, EvaluationError
from rank_search.searching import About, Proposal, Searcher
from rank_search.searching.option_values import one_of, whole
from rank_search.searching.probability_trace import traced
from rank_search.space import RankPlan
from rank_search.space.plan import Choice
from rank_search.task import Oracles
from rank_search.task.batch_stream import BatchStream

from .rank_ranges import RankRanges, Schedule, nearest_row
from .superposition import NetworkLoss, RoundReport, Superposition, SuperpositionOptions

DEFAULTS = SuperpositionOptions()
CHUNK = 40  # iterations of a step: a search that is killed repeats at most so many


class Ortos(Searcher):
    """The continuous relaxation as published: a range schedule, factors and logits trained in turn.

    (arXiv 2409.03555, ORTOS in v1, RENE later; after the authors' code: docs/methods.md.)

    The method knows no budget: what p finds most probable is projected onto it, and the info says what it cost before.
    Its proposals have no score, the last one is the answer.

    Args:
        alpha_loss: ``reconstruction`` (v1, data-free) or ``validation`` (v2): the objective's loss of the network with
            the mixed weights, here on training samples, which the data-free factors have not seen. (The task's
            validation samples are for choosing plans, not for training on.)
        lowest, highest, step, shrink, tied: see :class:`Schedule`.
        warm_up, iterations, lr, logit_lr, momentum, gamma, beta, clip, precision: see :class:`SuperpositionOptions`.
        batch_size: of ``alpha_loss="validation"``.

    Raises:
        InvalidInputError: if an option is not allowed or the candidate ranks do not fit the layers.
        DataError: if ``alpha_loss`` needs data and the task has none.
    """

    needs_data: ClassVar[bool] = False
    about: ClassVar[About] = About("relaxation", "weights", "ORTOS, RENE (arXiv 2409.03555)", "faithful")

    def __init__(
        self,
        task: Oracles,
        *,
        seed: int,
        alpha_loss: str = "reconstruction",
        lowest: int = 10,
        highest: int = 100,
        step: int = 10,
        shrink: float = 10.0,
        tied: bool = True,
        warm_up: int = DEFAULTS.warm_up,
        iterations: int = DEFAULTS.iterations,
        lr: float = DEFAULTS.lr,
        logit_lr: float | None = DEFAULTS.logit_lr,
        momentum: float = DEFAULTS.momentum,
        gamma: float = DEFAULTS.gamma,
        beta: float = DEFAULTS.beta,
        clip: float | None = DEFAULTS.clip,
        precision: str = DEFAULTS.precision,
        batch_size: int = 128,
    ) -> None:
        super().__init__(task, seed=seed)
        by_data = one_of("alpha_loss", alpha_loss, ("reconstruction", "validation")) == "validation"
        if by_data and not task.has_data:
            raise DataError(
                "alpha_loss='validation' needs data, and this task has none: give Task(..., data=...), or use "
                "alpha_loss='reconstruction'"
            )
        self._layers = [table for table in task.space.layers if table.forms]
        self._ranges = RankRanges(self._layers, Schedule(lowest, highest, step, shrink, tied))
        self._round_options = SuperpositionOptions(
            warm_up=warm_up,
            iterations=iterations,
            lr=lr,
            logit_lr=logit_lr,
            momentum=momentum,
            gamma=gamma,
            beta=beta,
            clip=clip,
            precision=precision,
        )
        self._stream = BatchStream(self.task, whole("batch_size", batch_size, 2), seed) if by_data else None
        self._round: Superposition | None = None
        self._plan: RankPlan | None = None

    @property
    def done(self) -> bool:
        return self.gave_up is not None or self._ranges.done

    def step(self) -> Proposal:
        number = self._ranges.rounds + 1
        try:
            if self._round is None:
                candidates = self._ranges.candidates()
                self.task.charge(decompositions=sum(len(c.choices) for c in candidates.values()))
                self._round = self._made(candidates)
            self._round.run(CHUNK, self._network_loss())
            proposal = self._proposal(self._round, number)
        except EvaluationError as error:
            self.gave_up = f"round {number}: {error}"
            return Proposal(self._plan or self._projected({})[0], failure=self.gave_up)
        if self._round.done:
            self._ranges.narrow(self._round.most_probable_of_forms())
            self._round = None
        self._plan = proposal.plan
        return proposal

    def state_dict(self) -> dict[str, Any]:
        return {
            "ranges": self._ranges.state_dict(),
            "round": None if self._round is None else self._round.state_dict(),
            "drawn": None if self._stream is None else self._stream.drawn,
            "plan": None if self._plan is None else self._plan.to_dict(),
            "gave_up": self.gave_up,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._ranges.load_state_dict(state["ranges"])
        self._round = None
        if state["round"] is not None:
            self._round = self._made(self._ranges.candidates(), state["round"])
        if self._stream is not None:
            self._stream.drawn = int(state["drawn"])
        self._plan = None if state["plan"] is None else RankPlan.from_json(state["plan"])
        self.gave_up = state["gave_up"]

    def _made(self, candidates: Any, state: Mapping[str, Any] | None = None) -> Superposition:
        return Superposition(self._layers, candidates, self._round_options, self.task.device, state)

    def _network_loss(self) -> NetworkLoss | None:
        """The loss of the alpha steps, on the next batch at every call; None where they are data-free."""
        stream = self._stream
        if stream is None:
            return None

        def loss(weights: dict[str, Tensor]) -> Tensor:
            batch = stream.next()
            with torch.enable_grad():
                return self.task.objective.loss(self.task.outputs_with(weights, batch.inputs), batch)

        return loss

    def _projected(self, chosen: Mapping[str, Choice]) -> tuple[RankPlan, RankPlan]:
        """The plan within the budget, and before it was projected."""
        space = self.task.space
        rows = [
            nearest_row(table, chosen[table.layer.name]) if table.layer.name in chosen else 0 for table in space.layers
        ]
        plan = space.plan(np.array(rows, dtype=np.int64))
        return space.project(plan, self.task.budget, self.task.relative_errors()), plan

    def _proposal(self, round_: Superposition, number: int) -> Proposal:
        report = round_.report()
        plan, free = self._projected(round_.most_probable())
        entropies = list(report.entropy.values())
        dense = self.task.space.dense_cost
        info: dict[str, Any] = {
            "round": number,
            "iteration": round_.iteration,
            "entropy": float(np.mean(entropies)),
            "largest_entropy": max(entropies),
            "mixture_error": report.mixture_error,
            "chosen_error": report.chosen_error,
            "rank_loss": report.rank_loss,
            "clipped": report.clipped,
            **{f"free_kept_{m}": cost / dense[m] for m, cost in self.task.space.cost(free).items()},
            "probabilities": {name: self._marginals(name, p, report) for name, p in round_.probabilities().items()},
        }
        return Proposal(plan, info=info)

    def _marginals(self, name: str, p: Mapping[Choice, float], report: RoundReport) -> dict[str, Any]:
        table = next(table for table in self._layers if table.layer.name == name)
        found = {}
        for form in table.forms:
            inside = {choice.ranks: mass for choice, mass in p.items() if choice.form == form.name}
            ranks = np.array(list(inside), dtype=np.int64).reshape(-1, len(form.modes))
            found[form.name] = (ranks, np.array(list(inside.values())))
        return traced(table, found, dense=0.0, entropy=report.entropy[name])
