"""Every example runs, says what it promises, and what it adds to the house keeps the house's contract."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rank_search.searching import searchers
from rank_search.space.forms.decomposition import decompositions
from rank_search.space.metrics import metric
from rank_search.testing import FormContract, MetricContract, SearcherContract

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PERCENT, NUMBER = r"\d+\.\d%", r"\d+\.\d+"
PROMISED = {
    "own_searcher": [
        f"dense: accuracy {PERCENT}",
        f"random: loss {NUMBER}, accuracy {PERCENT}, (?P<macs30>{PERCENT}) of the MACs",
        f"mutation: loss {NUMBER}, accuracy {PERCENT}, (?P<macs_30>{PERCENT}) of the MACs",
    ],
    "own_form": [
        "forms: weight error and accuracy at half of the MACs",
        f"svd_channel, svd: {NUMBER}, {PERCENT}, output_blocks in 0 layers",
        f"output_blocks: {NUMBER}, {PERCENT}, output_blocks in [1-9] layers",
        rf"svd_channel, svd, output_blocks: {NUMBER}, {PERCENT}, output_blocks in \d layers",
    ],
    "own_metric": [
        f"budget macs=0.4: energy {PERCENT}, MACs (?P<macs40>{PERCENT}), accuracy {PERCENT}",
        f"budget energy=0.4: energy (?P<energy40>{PERCENT}), MACs {PERCENT}, accuracy {PERCENT}",
        f"  counted: {NUMBER} uJ, as the table says: True",
    ],
    "optuna_own_study": [f"tpe in a study: 40 plans, the best of loss {NUMBER} at (?P<macs30>{PERCENT}) of the MACs"],
    "ray_tune_own_tuner": [
        f"cmaes in a Tuner: 12 plans, the best of loss {NUMBER} at (?P<macs30>{PERCENT}) of the MACs"
    ],
    "ray_tune_own_algorithm": [f"OptunaSearch: 12 of 12 plans within the budget, the best of loss {NUMBER}"],
    "tabular_regression": [
        f"dense: rmse {NUMBER} of a deviation of {NUMBER}",
        f"knapsack: (?P<params20>{PERCENT}) of the parameters, rmse {NUMBER} before, {NUMBER} after",
        f"tpe: (?P<params_20>{PERCENT}) of the parameters, rmse {NUMBER} before, {NUMBER} after",
    ],
    "text_transformer": [
        rf"dense: perplexity {NUMBER} of \d+ characters",
        f"knapsack: (?P<macs60>{PERCENT}) of the MACs, perplexity {NUMBER} before",
        f"fine-tuned: perplexity {NUMBER}",
    ],
}
"""The lines of an example as patterns; a group whose name ends in a number is a cost of at most so many per cent."""


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_prints_what_it_promises_within_its_budgets(example: Path) -> None:
    assert example.stem in PROMISED, f"say in PROMISED which lines {example.name} prints"
    told = subprocess.run(
        [sys.executable, str(example.relative_to(ROOT))],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    for promise in PROMISED[example.stem]:
        found = next(filter(None, (re.fullmatch(promise, line) for line in told.stdout.splitlines())), None)
        assert found, f"no line {promise!r} in:\n{told.stdout}"
        for name, share in found.groupdict().items():
            assert float(share.rstrip("%")) <= float(re.sub(r"\D", "", name)), f"over the budget: {found[0]}"


def test_the_promises_are_of_examples_that_exist_and_each_says_how_to_run_it() -> None:
    assert {path.stem for path in EXAMPLES} == {*PROMISED}
    for path in EXAMPLES:
        text = path.read_text()
        assert f"\n    python examples/{path.name}\n" in text
        assert "\ndef main() -> None:\n" in text


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What an example registers is gone after the test."""
    monkeypatch.setattr(metric, "_seen", {})
    yield
    for registry, name in ((searchers, "mutation"), (decompositions, "output_blocks"), (metric.metrics, "energy")):
        registry.unregister(name)
    for path in EXAMPLES:
        sys.modules.pop(path.stem, None)


def run_as_module(name: str) -> None:
    """Imports an example by its path, so that ``name:Class`` finds it."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


class TestExampleSearcher(SearcherContract):
    searcher = "own_searcher:Mutation"
    options = {"first": 2}  # noqa: RUF012

    @pytest.fixture(autouse=True)
    def _imported(self, _as_before: None) -> None:
        run_as_module("own_searcher")


class TestExampleForm(FormContract):
    form = "own_form:OutputBlocks"

    @pytest.fixture(autouse=True)
    def _imported(self, _as_before: None) -> None:
        run_as_module("own_form")


class TestExampleMetric(MetricContract):
    metric = "own_metric:Energy"

    @pytest.fixture(autouse=True)
    def _imported(self, _as_before: None) -> None:
        run_as_module("own_metric")
