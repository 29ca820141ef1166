"""Objectives by name, with options, from a module, and as they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rank_search.errors import InvalidInputError, PluginError, UnknownNameError
from rank_search.task.batch import Batch
from rank_search.task.objectives.choose import make_objective
from rank_search.task.objectives.classification import Classification
from rank_search.task.objectives.embedding import Embedding
from rank_search.task.objectives.language_modelling import LanguageModelling
from rank_search.task.objectives.multilabel import Multilabel
from rank_search.task.objectives.objective import Objective, Totals, added
from rank_search.task.objectives.regression import Regression
from rank_search.task.objectives.segmentation import Segmentation


class Median(Objective):
    """A stranger's objective."""

    measure = "worst"
    higher = False
    percent = False

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        return self.scale * (self.predictions(outputs) - self.targets(batch)).abs().mean()

    def totals(self, outputs: Any, batch: Batch) -> Totals:
        return {"sum": float(self.loss(outputs, batch)) * batch.samples, "samples": float(batch.samples)}

    def measures(self, totals: Totals) -> dict[str, float]:
        loss = float(totals["sum"]) / float(totals["samples"])
        return {"loss": loss, "worst": loss}

    def distance(self, outputs: Any, dense_outputs: Any, temperature: float = 1.0) -> Tensor:
        return (self.predictions(outputs) - self.predictions(dense_outputs)).abs().mean()


class NoObjective:
    pass


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("classification", Classification),
        ("regression", Regression),
        ("multilabel", Multilabel),
        ("segmentation", Segmentation),
        ("language_modelling", LanguageModelling),
        ("embedding", Embedding),
        (None, Classification),
        ({"classification": {}}, Classification),
    ],
)
def test_every_name_gives_its_objective_and_none_is_classification(name: Any, kind: type[Objective]) -> None:
    assert type(make_objective(name)) is kind


def test_an_objective_is_taken_as_it_is() -> None:
    mine = Median(3.0)
    assert make_objective(mine) is mine


def test_options_reach_the_objective() -> None:
    labels = torch.tensor([[[0, 1]]])
    logits = torch.zeros(1, 2, 1, 2)
    logits[0, 1, 0, 1] = 9.0
    logits[0, 1, 0, 0] = 9.0

    def iou(spec: Any) -> float:
        objective = make_objective(spec)
        return objective.measures(added([objective.totals(logits, Batch(logits, labels))]))["iou"]

    assert iou({"segmentation": {"ignore": 0}}) == pytest.approx(1.0)
    assert iou("segmentation") == pytest.approx(0.25)


def test_a_class_is_found_by_its_module_and_name_with_its_options() -> None:
    assert type(make_objective("test_choose_objective:Median")).__name__ == "Median"
    made = make_objective({"test_choose_objective:Median": {"scale": 4.0}})
    assert float(made.loss(torch.ones(2, 1), Batch(torch.zeros(2, 1), torch.zeros(2, 1)))) == 4.0


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("clasification", "classification"),
        ("regresion", "regression"),
        ("language_modeling", "language_modelling"),
        ("multi_label", "multilabel"),
    ],
)
def test_an_unknown_name_is_an_error_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        make_objective(name)
    assert repr(name) in str(caught.value)
    assert f"did you mean '{near}'" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "error", "words"),
    [
        ({"segmentation": {"ignor": 0}}, InvalidInputError, "ignore"),
        ({"classification": {"ignore": 0}}, InvalidInputError, "ignore"),
        ({"segmentation": {}, "regression": {}}, InvalidInputError, "segmentation"),
        ({}, InvalidInputError, "objective"),
        (3, InvalidInputError, "3"),
        ({"segmentation": 0}, InvalidInputError, "segmentation"),
        ("test_choose_objective:NoObjective", PluginError, "NoObjective"),
        ("test_choose_objective:Medan", UnknownNameError, "did you mean 'Median'"),
        ("no_such_module:Median", UnknownNameError, "no_such_module"),
    ],
)
def test_a_bad_spec_is_one_readable_line(spec: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        make_objective(spec)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_option_of_the_wrong_kind_is_refused_when_the_objective_is_made() -> None:
    with pytest.raises((InvalidInputError, PluginError)) as caught:
        make_objective({"segmentation": {"ignore": "zero"}})
    assert "ignore" in str(caught.value)
