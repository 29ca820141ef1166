"""Rungs and who goes on: against Ray Tune's own ASHA, decision for decision, and against brute force."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from rank_search.errors import InvalidInputError
from rank_search.searching.fidelity import Fidelity, goes_on, survivors

# -- rungs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fidelity", "recipe_epochs", "expected"),
    [
        (Fidelity(), 9, (1, 3, 9)),
        (Fidelity(), 10, (1, 3, 9, 10)),
        (Fidelity(), 1, (1,)),
        (Fidelity(), 2, (1, 2)),
        (Fidelity(eta=2), 16, (1, 2, 4, 8, 16)),
        (Fidelity(eta=2, min_epochs=3), 20, (3, 6, 12, 20)),
        (Fidelity(eta=4, min_epochs=2, max_epochs=8), 30, (2, 8)),
        (Fidelity(min_epochs=5), 5, (5,)),
        (Fidelity(min_epochs=5, max_epochs=5), 9, (5,)),
        (Fidelity(eta=1000, max_epochs=7), 9, (1, 7)),
    ],
)
def test_rungs_are_eta_times_as_long_up_to_the_last(
    fidelity: Fidelity, recipe_epochs: int, expected: tuple[int, ...]
) -> None:
    assert fidelity.rungs(recipe_epochs) == expected


@pytest.mark.parametrize(
    ("fidelity", "recipe_epochs"),
    [
        (Fidelity(min_epochs=4), 3),
        (Fidelity(max_epochs=10), 9),
        (Fidelity(min_epochs=5, max_epochs=4), 9),
        (Fidelity(), 0),
    ],
)
def test_rungs_that_do_not_fit_the_recipe_are_refused(fidelity: Fidelity, recipe_epochs: int) -> None:
    with pytest.raises(InvalidInputError, match=rf"does not fit finetune epochs={recipe_epochs}: ") as caught:
        fidelity.rungs(recipe_epochs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"scheduler": "ash"}, r"scheduler='ash' is not allowed.*did you mean 'asha'.*: it is asha or succ"),
        ({"scheduler": None}, r"scheduler=None is not allowed"),
        ({"eta": 1}, r"eta=1 is not allowed: it is a whole number from 2"),
        ({"eta": 3.0}, r"eta=3\.0 is not allowed"),
        ({"eta": True}, r"eta=True is not allowed"),
        ({"eta": None}, r"eta=None is not allowed"),
        ({"min_epochs": 0}, r"min_epochs=0 is not allowed: it is a whole number from 1"),
        ({"min_epochs": "1"}, r"min_epochs='1' is not allowed"),
        ({"max_epochs": 0}, r"max_epochs=0 is not allowed"),
        ({"max_epochs": False}, r"max_epochs=False is not allowed"),
    ],
)
def test_what_is_no_fidelity_is_refused_in_a_line(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^fidelity {says}") as caught:
        Fidelity(**options)
    assert "\n" not in str(caught.value)


# -- ASHA, as Ray Tune has it ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StandIn:
    """All that the scheduler asks of a trial."""

    trial_id: str


def rays(curves: list[list[float]], rungs: tuple[int, ...], eta: int) -> list[int]:
    """To which rung, counted from 1, Ray Tune's ASHA lets every trial come; they come one after another."""
    from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

    scheduler = AsyncHyperBandScheduler(
        time_attr="epochs",
        metric="score",
        mode="min",
        max_t=rungs[-1],
        grace_period=rungs[0],
        reduction_factor=eta,
        brackets=1,
    )
    controller: Any = None
    found = []
    for number, curve in enumerate(curves):
        trial: Any = StandIn(str(number))
        scheduler.on_trial_add(controller, trial)
        reached = 0
        for epochs, score in zip(rungs, curve, strict=True):
            reached += 1
            action = scheduler.on_trial_result(controller, trial, {"epochs": epochs, "score": score})
            if action == TrialScheduler.STOP:
                break
        found.append(reached)
    return found


def ours(curves: list[list[float]], rungs: tuple[int, ...], eta: int) -> list[int]:
    before: list[list[float]] = [[] for _ in rungs]
    found = []
    for curve in curves:
        reached = 0
        for place, score in enumerate(curve):
            reached += 1
            on = goes_on(score, before[place], eta)
            before[place].append(score)
            if not on:
                break
        found.append(reached)
    return found


def drawn(kind: str, rng: np.random.Generator, count: int, rungs: int) -> list[list[float]]:
    """A score per trial and rung."""
    if kind == "ties":
        values = rng.choice([0.1, 0.2, 0.3, 0.7], (count, rungs))
    elif kind == "all alike":
        values = np.full((count, rungs), 1 / 3)
    elif kind == "better and better":
        values = np.sort(rng.random((count, rungs)), 0)[::-1]
    elif kind == "worse and worse":
        values = np.sort(rng.random((count, rungs)), 0)
    elif kind == "negative":
        values = -rng.exponential(1, (count, rungs))
    else:
        values = rng.lognormal(0, 2, (count, rungs))
    found: list[list[float]] = values.tolist()
    return found


KINDS = ["free", "ties", "all alike", "better and better", "worse and worse", "negative"]


@pytest.mark.parametrize(
    ("kind", "eta"),
    [(kind, eta) for kind in KINDS for eta in (2, 3, 4, 5, 7)],
)
def test_asha_decides_as_ray_tune_does(kind: str, eta: int) -> None:
    fidelity = Fidelity(eta=eta, min_epochs=2)
    rungs = fidelity.rungs(2 * eta**3)
    for seed in range(3):
        curves = drawn(kind, np.random.default_rng(seed), 100, len(rungs))
        expected = rays(curves, rungs, eta)
        assert ours(curves, rungs, eta) == expected
        assert len({*expected}) > 1 or kind in ("all alike", "better and better")


def test_asha_decides_as_ray_tune_does_where_a_score_is_exactly_the_last_that_goes_on() -> None:
    """Of ten before it the fourth is the limit of the best third; Ray Tune's rounding puts it just below that."""
    before = [[float(score)] for score in np.linspace(0.1, 1.0, 10)[::-1]]
    curves = [[*curve, 0.0] for curve in [*before, before[-4]]]
    assert ours(curves, (1, 3), 3) == rays(curves, (1, 3), 3)


def test_the_first_at_a_rung_goes_on_whatever_its_score() -> None:
    assert goes_on(1e300, [], 3)


@pytest.mark.parametrize("eta", [2, 3, 4, 10])
def test_one_that_equals_all_before_it_goes_on_and_a_worse_one_does_not(eta: int) -> None:
    for count in range(1, 40):
        assert goes_on(1 / 3, [1 / 3] * count, eta)
        assert not goes_on(float(np.nextafter(1 / 3, 1)), [1 / 3] * count, eta)


# -- successive halving ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eta", [2, 3, 4])
def test_survivors_are_the_best_of_all_choices(eta: int) -> None:
    """Of all subsets of the right size that of the least scores, of equals the one that comes first."""
    rng = np.random.default_rng(eta)
    for count in range(1, 9):
        for values in (rng.random(count), rng.integers(0, 3, count).astype(float), np.zeros(count), -rng.random(count)):
            scores = values.tolist()
            size = max(1, count // eta)
            choices = [
                (sorted(scores[place] for place in places), places)
                for places in itertools.combinations(range(count), size)
            ]
            assert survivors(scores, eta) == list(min(choices)[1]), scores
