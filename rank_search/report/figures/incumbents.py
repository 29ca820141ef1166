"""How fast searches get better: the incumbent's score against the evaluations spent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

WIDE_RATIO = 30.0  # from here on, between the largest and the smallest score, the axis is logarithmic


@dataclass(frozen=True)
class Curve:
    """A step function over evaluations ``[n]``: mean, least and greatest incumbent score ``[n]`` of ``seeds`` seeds."""

    evaluations: FloatArray
    mean: FloatArray
    low: FloatArray
    high: FloatArray
    seeds: int


@dataclass(frozen=True)
class Answer:
    """The loss of a searcher's answers before the fine-tune: mean, least and greatest of its seeds.

    Attributes:
        evaluations: spent by its searches, a mean over seeds.
    """

    evaluations: float
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Incumbents:
    """The figure of one task and budget.

    Attributes:
        title: above all.
        x_label, y_label: of the axes.
        curves: per searcher that has one.
        labels: per searcher of ``curves`` or ``answers``, in the legend.
        logarithmic: whether the scores are of many sizes.
        message: what an empty figure says in the middle; empty if there are curves.
        notes: sentences below.
        answers: of searchers whose loss before the fine-tune is known, where the figure is of losses.
    """

    title: str
    x_label: str
    y_label: str
    curves: Mapping[str, Curve]
    labels: Mapping[str, str]
    logarithmic: bool
    message: str
    notes: tuple[str, ...]
    answers: Mapping[str, Answer] = field(default_factory=dict)


def incumbents(
    task: str,
    budget: str,
    steps: Mapping[str, Sequence[pd.DataFrame]],
    measure: str = "",
    losses: Mapping[str, Sequence[float]] | None = None,
) -> Incumbents:
    """The mean over seeds as a line and their range as a band, per searcher.

    Scores of several methods need not have one unit. The loss has no column of its own in the steps: it is the score
    of what was evaluated, which has measures beside its score. Where any searcher has those, only curves of such
    searchers are drawn, which are of the validation loss; else curves are of scores, whatever those are. The losses of
    answers are of one unit for all methods, and are drawn unless curves are of scores.

    Args:
        task: its name.
        budget: its text.
        steps: per searcher, per seed, the steps of its search.
        measure: that the task reports, a column of the steps of searchers that evaluate.
        losses: per searcher, per seed, the validation loss of the answer before the fine-tune; NaN where unknown.
    """
    found = {searcher: incumbent_curve(runs) for searcher, runs in steps.items()}
    scored = {searcher: curve for searcher, curve in found.items() if curve is not None}
    evaluated = {name: curve for name, curve in scored.items() if _is_evaluated(steps[name], measure)}
    curves = evaluated or scored
    answers = {} if curves and not evaluated else _answers(losses or {}, steps)
    unscored = [searcher for searcher, curve in found.items() if curve is None]
    own = [searcher for searcher in scored if searcher not in curves]
    notes = ["Line: mean over seeds; band: least to greatest; marker: end of the search."] if curves else []
    if evaluated:
        notes.append("Loss: the task's, on the validation samples of a search, of the best plan so far.")
    elif len(scored) > 1:
        notes.append("Scores are the methods' own, and need not have one unit.")
    if own:
        notes.append(f"No curve, because the score is the method's own and no loss: {', '.join(own)}.")
    if answers:
        notes.append(
            "Hollow marker: loss of the answer after the common repair, before the fine-tune, on the whole validation "
            "set (mean over seeds); dotted for methods without a curve. Compare markers with one another, not with the "
            "curves: these are of fewer samples and a cheaper repair."
        )
    if unscored:
        notes.append(f"No curve, because no evaluation gave a score: {', '.join(unscored)}.")
    return Incumbents(
        title=f"{task} at {budget}: progress of the search",
        x_label="Evaluations spent (count)",
        y_label=f"{'Incumbent loss' if evaluated else 'Loss' if answers else 'Incumbent score'} (lower is better)",
        curves=curves,
        labels={
            searcher: searcher
            if curve.seeds == len(steps[searcher])
            else f"{searcher} ({curve.seeds} of {len(steps[searcher])} seeds)"
            for searcher, curve in curves.items()
        }
        | {searcher: f"{searcher} (answer)" for searcher in answers if searcher not in curves},
        logarithmic=_are_of_many_sizes([*curves.values(), *answers.values()]),
        message="" if curves or answers else "No evaluation gave a score.",
        notes=tuple(notes),
        answers=answers,
    )


def _answers(losses: Mapping[str, Sequence[float]], steps: Mapping[str, Sequence[pd.DataFrame]]) -> dict[str, Answer]:
    found = {}
    for searcher, values in losses.items():
        known = [value for value in values if np.isfinite(value)]
        if known:
            spent = [float(run["evaluations"].max()) if len(run) else 0.0 for run in steps.get(searcher, ())]
            found[searcher] = Answer(float(np.mean(spent or [0.0])), float(np.mean(known)), min(known), max(known))
    return found


def _is_evaluated(runs: Sequence[pd.DataFrame], measure: str) -> bool:
    """Whether every score came with the task's measure: then the objective gave both."""
    if not measure or not all(measure in steps.columns for steps in runs):
        return False
    scored = [steps.loc[np.isfinite(steps["score"]), measure] for steps in runs]
    return any(map(len, scored)) and all(pd.to_numeric(column, errors="coerce").notna().all() for column in scored)


def incumbent_curve(runs: Sequence[pd.DataFrame]) -> Curve | None:
    """Puts the seeds of one searcher together, or None if none of them has a score after an evaluation.

    The curve starts where every scored seed has an incumbent and ends with the longest seed; a seed that ended earlier
    keeps its last incumbent, because that is what it would return.

    Args:
        runs: per seed the steps, as ``read_steps`` gives them.
    """
    paths = []
    longest = 0.0
    for steps in runs:
        scores = steps["incumbent_score"].where(np.isfinite(steps["incumbent_score"])).ffill()
        per_count = scores.loc[steps["evaluations"] > 0].groupby(steps["evaluations"]).last().dropna()
        if len(per_count):
            paths.append((per_count.index.to_numpy(dtype=float), per_count.to_numpy(dtype=float)))
            longest = max(longest, float(steps["evaluations"].max()))
    if not paths:
        return None
    start = max(counts[0] for counts, _ in paths)
    grid = np.unique(np.concatenate([counts for counts, _ in paths] + [np.array([longest])]))
    grid = grid[grid >= start]
    table = np.stack([scores[np.searchsorted(counts, grid, side="right") - 1] for counts, scores in paths])
    return Curve(grid, table.mean(axis=0), table.min(axis=0), table.max(axis=0), len(paths))


def _are_of_many_sizes(drawn: Iterable[Curve | Answer]) -> bool:
    every = list(drawn)
    least = min((float(np.min(one.low)) for one in every), default=0.0)
    return least > 0 and max(float(np.max(one.high)) for one in every) / least > WIDE_RATIO
