"""Keys of parallel work: workers of a run and of a search, plans in flight, fidelity, finalists."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from small_bench import SMALL

from rank_search.errors import ConfigError, InvalidInputError
from rank_search.run.config import Config, RunConfig, SearcherConfig, load_config
from rank_search.searching.fidelity import Fidelity


def setting(text: str) -> Config:
    return load_config("quickstart", [text])


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        setting(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("given", "expected"), [("auto", "auto"), ("1", 1), ("17", 17)])
def test_workers_of_a_run_are_a_number_or_auto(given: str, expected: int | str) -> None:
    assert setting(f"run.workers={given}").run.workers == expected
    assert RunConfig().workers == 2


@pytest.mark.parametrize("given", ["0", "-1"])
def test_workers_of_a_run_below_one_are_refused(given: str) -> None:
    said = refused(f"run.workers={given}")
    assert f"{given} is not allowed: it is a whole number from 1, or auto" in said


@pytest.mark.parametrize("given", ["many", "1.5", "null", "[2]", "''"])
def test_what_is_neither_names_the_key_and_what_is_allowed(given: str) -> None:
    said = refused(f"run.workers={given}")
    assert "run.workers" in said
    assert "auto" in said


def test_what_is_neither_is_said_once() -> None:
    said = refused("run.workers=many")
    assert said.count("run.workers") == 1
    assert "run.workers.int" not in said


@pytest.mark.parametrize("given", ["true", "false"])
def test_true_is_no_number_of_workers(given: str) -> None:
    """YAML's yes and no are easily written by mistake."""
    refused(f"run.workers={given}")


@pytest.mark.parametrize(
    ("arm", "workers", "parallel"),
    [
        ({}, 1, 1),
        ({"workers": 4}, 4, 4),
        ({"workers": 4, "parallel": 2}, 4, 2),
        ({"parallel": 3}, 1, 3),
        ({"workers": 4, "parallel": None}, 4, 4),
    ],
)
def test_as_many_plans_as_workers_are_in_flight_unless_told(arm: dict[str, Any], workers: int, parallel: int) -> None:
    found = SearcherConfig(name="random", **arm)
    assert (found.workers, found.parallel) == (workers, parallel)
    whole = Config.model_validate({**SMALL, "searchers": [{"name": "random", **arm}]})
    assert (whole.searchers[0].workers, whole.searchers[0].parallel) == (workers, parallel)
    assert Config.model_validate(whole.model_dump(mode="json")) == whole


@pytest.mark.parametrize("key", ["workers", "parallel", "top_k"])
@pytest.mark.parametrize("value", [0, -3, "x", 1.5])
def test_counts_of_an_arm_are_whole_numbers_from_one(key: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=key):
        SearcherConfig(name="random", **{key: value})


def test_wrong_workers_of_an_arm_are_no_mistake_in_what_was_not_given() -> None:
    said = refused("searchers=[{name: random, workers: many}]")
    assert "searchers.0.workers" in said
    assert "parallel" not in said


def test_a_fidelity_is_read() -> None:
    text = "{name: random, fidelity: {scheduler: successive_halving, eta: 2, min_epochs: 2, max_epochs: 4}}"
    config = setting(f"searchers=[{text}]")
    assert config.searchers[0].fidelity == Fidelity("successive_halving", 2, 2, 4)
    assert setting("searchers=[{name: random, fidelity: {}}]").searchers[0].fidelity == Fidelity()
    assert setting("searchers=[random]").searchers[0].fidelity is None
    assert Config.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ("{min_epoch: 1}", "unknown key 'searchers.0.fidelity.min_epoch' (did you mean 'min_epochs'?)"),
        ("{etta: 2}", "did you mean 'eta'"),
        ("{schedule: asha}", "did you mean 'scheduler'"),
        ("{scheduler: hyperband}", "it is asha or successive_halving"),
        ("{scheduler: ahsa}", "did you mean 'asha'"),
        ("{eta: 1}", "eta=1 is not allowed: it is a whole number from 2"),
        ("{min_epochs: 0}", "min_epochs=0 is not allowed: it is a whole number from 1"),
    ],
)
def test_a_mistake_in_a_fidelity_is_one_line_with_the_nearest_key(section: str, says: str) -> None:
    assert says in refused(f"searchers=[{{name: random, fidelity: {section}}}]")


def test_top_k_and_a_fidelity_exclude_one_another() -> None:
    said = refused("searchers=[{name: random, top_k: 2, fidelity: {}}]")
    assert "top_k and fidelity are two ways to train several plans: give one of them" in said
    assert setting("searchers=[{name: random, top_k: 1, fidelity: {}}]").searchers[0].top_k == 1
    assert setting("searchers=[{name: random, top_k: 3}]").searchers[0].top_k == 3


def test_a_fidelity_in_python_says_the_same() -> None:
    with pytest.raises(InvalidInputError, match=r"^fidelity eta=1 is not allowed: it is a whole number from 2$"):
        Fidelity(eta=1)
