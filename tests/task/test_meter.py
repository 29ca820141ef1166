"""The meter: limits are refused before the work, all counts or none, and a resume goes on where it stood."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from rank_search.errors import InvalidInputError, LimitReached
from rank_search.task.meter import COUNTS, Limits, Meter


def counts(meter: Meter) -> dict[str, float | int]:
    return {name: meter.reading()[name] for name in COUNTS}


def test_counts_add_up_and_start_at_zero() -> None:
    meter = Meter()
    assert counts(meter) == dict.fromkeys(COUNTS, 0)
    meter.charge(evaluations=1, samples_forward=30)
    meter.charge(samples_forward=12, samples_trained=7, decompositions=3)
    assert counts(meter) == {"evaluations": 1, "samples_forward": 42, "samples_trained": 7, "decompositions": 3}


@pytest.mark.parametrize("name", COUNTS)
def test_a_limit_may_be_reached_but_not_passed(name: str) -> None:
    meter = Meter(Limits(**{name: 10}))
    meter.charge(**{name: 7})
    assert meter.exhausted() is None
    with pytest.raises(LimitReached, match=f"^{name} would pass the limit of 10$"):
        meter.charge(**{name: 4})
    assert getattr(meter, name) == 7
    meter.charge(**{name: 3})
    assert meter.exhausted() == (None if name == "decompositions" else name), "what is decomposed costs no more"
    with pytest.raises(LimitReached):
        meter.charge(**{name: 1})
    assert getattr(meter, name) == 10


def test_a_charge_that_passes_one_limit_adds_none_of_its_counts() -> None:
    meter = Meter(Limits(samples_forward=100))
    meter.charge(evaluations=1, samples_forward=60)
    with pytest.raises(LimitReached):
        meter.charge(evaluations=1, decompositions=5, samples_forward=60, samples_trained=1)
    assert counts(meter) == {"evaluations": 1, "samples_forward": 60, "samples_trained": 0, "decompositions": 0}


def test_without_limits_nothing_is_refused() -> None:
    meter = Meter()
    meter.charge(evaluations=10**9, samples_forward=10**15)
    assert meter.exhausted() is None


def test_a_charge_of_nothing_is_allowed_at_the_limit() -> None:
    meter = Meter(Limits(decompositions=2))
    meter.charge(decompositions=2)
    meter.charge(decompositions=0, evaluations=1)
    assert meter.evaluations == 1


@pytest.mark.parametrize("name", [field.name for field in fields(Limits)])
@pytest.mark.parametrize("value", [0, -3, True, float("nan"), "5"])
def test_a_limit_that_is_no_positive_number_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(InvalidInputError, match=f"limit {name}={value!r} is not allowed: give a number above 0"):
        Limits(**{name: value})  # type: ignore[arg-type]


class Clock:
    """Stands in for the module ``time``: the seconds are what a test says."""

    def __init__(self) -> None:
        self.cpu, self.wall = 50.0, 7000.0

    def process_time(self) -> float:
        return self.cpu

    def perf_counter(self) -> float:
        return self.wall


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("rank_search.task.meter.time", clock)
    return clock


def test_seconds_count_from_the_start_and_end_a_search_once_they_reach_their_limit(clock: Clock) -> None:
    meter = Meter(Limits(cpu_seconds=3, wall_seconds=2))
    clock.cpu, clock.wall = 52.5, 7001.5
    assert (meter.cpu_seconds, meter.wall_seconds) == (2.5, 1.5)
    assert meter.exhausted() is None
    clock.wall = 7002.0
    assert meter.exhausted() == "wall_seconds"
    clock.cpu = 53.0
    assert meter.exhausted() == "cpu_seconds"
    meter.charge(evaluations=1)  # seconds are looked at between steps, never inside one


def test_a_resume_goes_on_from_the_reading_and_keeps_the_limits(clock: Clock) -> None:
    first = Meter()
    first.charge(evaluations=3, samples_forward=90, samples_trained=5, decompositions=2)
    clock.cpu, clock.wall = 90.0, 8000.0
    reading = json.loads(json.dumps(first.reading()))
    clock.cpu, clock.wall = 3.0, 20.0  # another process
    second = Meter(Limits(evaluations=4, wall_seconds=1010))
    second.load(reading)
    assert counts(second) == counts(first)
    clock.cpu, clock.wall = 4.0, 25.0
    assert (second.cpu_seconds, second.wall_seconds) == (41.0, 1005.0)
    assert second.exhausted() is None
    second.charge(evaluations=1)
    with pytest.raises(LimitReached):
        second.charge(evaluations=1)
    assert second.exhausted() == "evaluations"
    clock.wall = 30.0
    second.limits = Limits(wall_seconds=1010)
    assert second.exhausted() == "wall_seconds"
