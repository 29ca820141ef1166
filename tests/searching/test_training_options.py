"""Options of the training that cannot be: each is refused by name, in one line, before anything is trained."""

from __future__ import annotations

import math
from typing import Any

import pytest
from tiny_task import tiny_task

from rank_search.errors import InvalidInputError
from rank_search.searching.one_shot_training import OneShotTraining, TrainingOptions


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("lr", value) for value in (0, -0.1, math.nan, math.inf, "0.1", True)),
        *(("clip", value) for value in (0, -1, math.nan)),
        *(("distill", value) for value in (2, -0.1, math.nan)),
        *(("batch_size", value) for value in (1, 0, 8.0)),
        *(("accumulate", value) for value in (0, 1.5, True)),
        *(("epochs", value) for value in (-1, 2.0)),
        ("schedule", "linear"),
        ("precision", "float16"),
    ],
)
def test_an_option_that_cannot_be_is_refused_by_name_in_one_line(option: str, value: Any) -> None:
    with pytest.raises(InvalidInputError, match=rf"^{option}={value!r} is not allowed") as caught:
        TrainingOptions(**{"epochs": 3, "lr": 0.1} | {option: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("optimiser", "says"),
    [
        ({"name": "Adma"}, r"optimiser name='Adma' is not allowed \(did you mean 'Adam'\?\)"),
        ({"name": "LBFGS"}, r"optimiser name='LBFGS' is not allowed.* one of SGD, Adam"),
        ({"momentun": 0.9}, r"optimiser SGD has no option 'momentun' \(did you mean 'momentum'\?\)"),
        ({"name": "Adam", "momentum": 0.9}, "optimiser Adam has no option 'momentum'"),
        ({"lr": 0.1}, "optimiser SGD takes its learning rate from the option lr"),
        ({"momentum": -0.5}, "optimiser SGD refuses .*-0.5"),
        ({"dampening": 0.5}, "optimiser SGD refuses .*dampening"),
        ({"weight_decay": "1e-4"}, "optimiser SGD refuses .*weight_decay"),
        ({"momentum": "0.9"}, "optimiser SGD refuses .*momentum"),
        ("Adam", "optimiser='Adam' is not allowed"),
    ],
    ids=str,
)
def test_an_optimiser_that_cannot_be_is_refused_in_one_line(optimiser: Any, says: str) -> None:
    task = tiny_task()
    with pytest.raises(InvalidInputError, match=says) as caught:
        OneShotTraining(task, task.model, TrainingOptions(epochs=3, lr=0.1, optimiser=optimiser), seed=0)
    assert "\n" not in str(caught.value)
