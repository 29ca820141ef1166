from __future__ import annotations

from rank_search.report.budget_order import largest_first, metrics


def test_looser_budgets_come_first_and_each_once() -> None:
    budgets = ["macs=0.3", "macs=0.5,params=0.4", "macs=0.5", "macs=0.5,params=0.45", "macs=0.3", "params=0.2"]
    expected = ["params=0.2", "macs=0.5", "macs=0.5,params=0.45", "macs=0.5,params=0.4", "macs=0.3"]
    assert largest_first(budgets) == expected


def test_numbers_are_compared_as_numbers() -> None:
    assert largest_first(["params=90000", "params=200000"]) == ["params=200000", "params=90000"]


def test_text_of_another_kind_comes_last() -> None:
    assert largest_first(["small", "macs=0.1"]) == ["macs=0.1", "small"]


def test_metrics_start_with_macs() -> None:
    assert metrics("latency_ms=3,params=0.4,macs=0.5") == ("macs", "latency_ms", "params")
