"""What a benchmark of regret runs, as YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, StrictFloat, StrictInt, ValidationError, field_validator

from rank_search.errors import ConfigError, InvalidInputError
from rank_search.recorded.recording import section_of
from rank_search.records.file_names import LONGEST_NAME
from rank_search.run.config import NAME, RunConfig, SearcherConfig, Section, distinct_arms, spelled_out
from rank_search.run.config_errors import explain
from rank_search.run.config_file import apply_settings, read_config
from rank_search.space import Budget
from rank_search.space.metrics.metric import ALWAYS

KEY = "regret"


class RegretArm(SearcherConfig):
    """A searcher of the comparison; ``seeds`` and ``evaluations`` instead of the benchmark's, where it takes long."""

    seeds: int | None = Field(default=None, ge=1)
    evaluations: int | None = Field(default=None, ge=1)


class RegretConfig(Section):
    """A benchmark of regret: recorded tasks with their budgets, searchers, seeds from 0, and after how many evaluations
    the regret is taken."""

    name: str = Field(pattern=NAME, max_length=LONGEST_NAME)
    regret: dict[str, list[dict[str, StrictInt | StrictFloat]]] = Field(min_length=1)
    searchers: list[RegretArm] = Field(min_length=1)
    seeds: int = Field(default=30, ge=1)
    evaluations: list[int] = Field(default=[4, 16, 64, 256], min_length=1)
    run: RunConfig = RunConfig()

    @field_validator("regret")
    @classmethod
    def _tasks(cls, tasks: dict[str, list[dict[str, float | int]]]) -> dict[str, list[dict[str, float | int]]]:
        for name, budgets in tasks.items():
            try:
                section = section_of(name)
                made = [Budget(**bounds) for bounds in budgets]
            except InvalidInputError as error:
                raise ValueError(str(error)) from None
            counted = [*ALWAYS, *section["space"].get("metrics", [])]
            other = next((metric for budget in made for metric in budget.metrics if metric not in counted), None)
            if other is not None:
                raise ValueError(f"{name!r} recorded {', '.join(dict.fromkeys(counted))} and no {other}")
            labels = [*map(str, made)]
            if not labels or len(set(labels)) < len(labels):
                raise ValueError(f"{name!r} needs budgets, each once")
        return tasks

    @field_validator("searchers", mode="before")
    @classmethod
    def _shorthand(cls, searchers: Any) -> Any:
        return spelled_out(searchers)

    @field_validator("searchers")
    @classmethod
    def _distinct(cls, searchers: list[RegretArm]) -> list[RegretArm]:
        distinct_arms([arm.title for arm in searchers])
        return searchers

    @field_validator("evaluations")
    @classmethod
    def _rising(cls, evaluations: list[int]) -> list[int]:
        if min(evaluations) < 1 or sorted(set(evaluations)) != evaluations:
            raise ValueError("evaluations are rising whole numbers from 1")
        return evaluations


def is_regret(source: str | Path) -> bool:
    """Whether a config is one of regret.

    Raises:
        ConfigError: if there is none.
    """
    return KEY in read_config(source)


def load_regret_config(source: str | Path, settings: list[str] | None = None) -> RegretConfig:
    """Reads a config of regret by the name of an installed one, or by path.

    Raises:
        ConfigError: one line for each mistake.
    """
    data = read_config(source)
    apply_settings(data, settings or [])
    try:
        return RegretConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{source}: {explain(error, RegretConfig)}") from None
