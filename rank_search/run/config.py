"""What a bench runs, as YAML: validated before anything starts; every key can be set from the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    field_validator,
    model_validator,
)

from rank_search.errors import ConfigError
from rank_search.recorded.recording import section_of
from rank_search.records.file_names import LONGEST_NAME
from rank_search.run.config_errors import explain
from rank_search.run.config_file import apply_settings, read_config
from rank_search.searching.fidelity import Fidelity
from rank_search.searching.search import LARGEST_SEED
from rank_search.space import Budget
from rank_search.space.budget import Bound
from rank_search.space.metrics.metric import ALWAYS, make_metrics
from rank_search.space.tables.build import form_spec
from rank_search.space.tables.thinning import LEAST_OPTIONS
from rank_search.task.meter import Limits
from rank_search.task.recipe import Recipe

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$"  # names become folder names
LATENCY = "latency_ms"
DENSE = "dense"  # the row of the dense network in every leaderboard


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class ModelConfig(Section):
    """Which network; either ``weights`` (a file) or ``train`` (on the spot, cached) says where its weights are from."""

    name: str
    options: dict[str, Any] = {}
    weights: str | None = None
    train: Recipe | None = None


class DataConfig(BaseModel):
    """Which data; every other key is an option of that loader (see ``rank_search.load_data``)."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.__pydantic_extra__ or {})


class SpaceConfig(Section):
    """Which layers, forms and options (see ``RankSpace.from_model``).

    ``errors: activation`` and ``errors: refit`` measure the layers' inputs on ``calibration_samples`` training samples,
    without targets: the errors of the layers' outputs, and those that remain after the last factor is refitted.
    ``metrics`` are counted beside params and macs; those that a budget names are counted anyway.
    """

    forms: list[Any] | None = Field(default=None, min_length=1)
    include: list[str] | None = None
    exclude: list[str] = []
    errors: Literal["weight", "activation", "refit"] = "weight"
    calibration_samples: int = Field(default=512, ge=1)
    metrics: list[str] = []
    prune: bool = True
    multiple_of: int = Field(default=1, ge=1)
    max_options: int | None = Field(default=None, ge=LEAST_OPTIONS)

    @field_validator("forms")
    @classmethod
    def _forms(cls, forms: list[Any] | None) -> list[Any] | None:
        for entry in forms or []:
            form_spec(entry)
        return forms

    @field_validator("metrics")
    @classmethod
    def _metrics(cls, metrics: list[str]) -> list[str]:
        make_metrics(metrics)  # what is named here, budgets may name
        return metrics


class TargetConfig(Section):
    """Where the network will run: what ``latency_ms`` is the time of, and which ranks suit.

    ``engine`` by name or as ``{name: {option: value}}``, ``batch`` samples a run on ``threads`` cores. ``align: auto``
    leaves out options that are slower than the dense layer, and ranks that do not fill the machine's registers where
    larger ones that do take no longer; a number aligns to so many channels, ``none`` leaves all.
    """

    engine: str | dict[str, dict[str, Any] | None] = "eager"
    batch: int = Field(default=1, ge=1)
    threads: int = Field(default=1, ge=1)
    align: Any = "auto"

    @field_validator("align")
    @classmethod
    def _width(cls, align: Any) -> int | str:
        if align in ("auto", "none") or (isinstance(align, int) and not isinstance(align, bool) and align >= 1):
            return align  # type: ignore[no-any-return]
        raise ValueError(f"{align!r} is not allowed: it is auto, none or a whole number from 1")

    @field_validator("engine")
    @classmethod
    def _one(cls, engine: str | dict[str, Any]) -> str | dict[str, Any]:
        if isinstance(engine, dict) and len(engine) != 1:
            raise ValueError(f"{engine} is no engine: give a name, or one {{NAME: {{OPTION: VALUE}}}}")
        return engine


class EvaluationConfig(Section):
    """What one evaluation in a search looks at."""

    samples: int | None = Field(default=None, ge=1)
    repair: Literal["none", "recalibrate", "refit"] = "recalibrate"
    recalibration_samples: int = Field(default=256, ge=0)


class TaskConfig(Section):
    """A network, data, an objective, a space, the repair and the common fine-tune.

    ``repair`` corrects every network between the cut and the fine-tune, on ``repair_inputs`` training inputs without
    targets; evaluations inside a search have a cheaper one of their own. With a ``target`` every space counts
    ``latency_ms``, the time of a run there; a budget of it without a target is of eager PyTorch, one sample a run.
    ``equal_training`` takes the epochs that a search has trained for (rounded up) off its fine-tune, so that all
    methods train alike; without it every method gets the whole fine-tune on top. With ``keep_better`` a fine-tune that
    ends with a higher validation loss is not kept. ``{recorded: NAME}`` takes everything else from a recording, whose
    evaluations are looked up.
    """

    recorded: str | None = None
    model: ModelConfig
    data: DataConfig
    objective: str | dict[str, dict[str, Any] | None] = "classification"
    space: SpaceConfig = SpaceConfig()
    target: TargetConfig | None = None
    evaluation: EvaluationConfig = EvaluationConfig()
    repair: Literal["none", "recalibrate", "refit"] = "refit"
    repair_inputs: int = Field(default=512, ge=0)
    finetune: Recipe = Recipe()
    equal_training: bool = True
    keep_better: bool = False

    @model_validator(mode="before")
    @classmethod
    def _from_recording(cls, section: Any) -> Any:
        """The whole section of a recorded task; what else is given must say the same."""
        if not isinstance(section, dict) or section.get("recorded") is None:
            return section
        recorded = section_of(str(section["recorded"]))
        for key, value in section.items():
            if key not in ("recorded", "equal_training") and value != recorded.get(key):
                raise ValueError(
                    f"{key} is given beside recorded: {section['recorded']}, which has everything of its own but "
                    "equal_training"
                )
        return {"equal_training": True, **recorded, **section}


class SearcherConfig(Section):
    """An arm of the comparison: a searcher with options, under a label.

    Keys: ``parallel`` plans in flight at once, which is part of the search, and ``workers`` processes that evaluate
    them, which changes nothing but time; as many plans as workers are in flight unless told. ``fidelity`` fine-tunes
    plans from rung to rung (see :class:`Fidelity`). Of the ``top_k`` best plans, each fine-tuned, the best is the
    answer; with equal training they share the epochs.
    """

    name: str
    label: str = Field(default="", pattern=r"^$|" + NAME, max_length=LONGEST_NAME)
    options: dict[str, Any] = {}
    workers: int = Field(default=1, ge=1)
    parallel: int = Field(default=1, ge=1)
    fidelity: Fidelity | None = None
    top_k: int = Field(default=1, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _as_many_as_workers(cls, arm: Any) -> Any:
        if isinstance(arm, dict) and arm.get("parallel") is None:
            workers = arm.get("workers", 1)
            given = isinstance(workers, int) and workers >= 1  # what is wrong with them is said of them
            return {**arm, "parallel": workers if given else 1}
        return arm

    @model_validator(mode="after")
    def _one_way_to_train(self) -> SearcherConfig:
        if self.fidelity is not None and self.top_k > 1:
            raise ValueError("top_k and fidelity are two ways to train several plans: give one of them")
        return self

    @property
    def title(self) -> str:
        return self.label or self.name.rpartition(":")[2]


def spelled_out(searchers: Any) -> Any:
    """A list of arms in which a name alone stands for one without options."""
    if isinstance(searchers, list):
        return [{"name": entry} if isinstance(entry, str) else entry for entry in searchers]
    return searchers


def distinct_arms(titles: list[str]) -> None:
    """Checks the titles of the arms of a comparison.

    Raises:
        ValueError: if one stands twice, or cannot be part of a folder's name.
    """
    for title in titles:
        if titles.count(title) > 1:
            raise ValueError(f"{title!r} stands twice; give each arm a label of its own")
        if title.casefold() == DENSE:
            raise ValueError(f"{title!r} is the dense network's row of the leaderboard; give this arm another label")
        if not title.isprintable() or title != title.strip() or title[:1] in ("", ".") or {*title} & {*"/\\"}:
            raise ValueError(f"{title!r} becomes part of a folder name; give this arm a label, e.g. label: mine")


class RunConfig(Section):
    """How cells are run.

    Keys: ``workers`` cells at once (``auto``: as many as there is room for) with ``threads`` cores each; ``tracking``
    an MLflow URI, null for a database in the run folder, ``none`` for no tracking; ``ray_address`` of a cluster, null
    for this machine; ``retries`` of a cell whose worker or node was lost. What a process is given of a node: ``cpus``
    (as many as threads unless told), ``gpus`` (1 on cuda unless told; fractions share one) and ``resources`` of the
    cluster's own. ``storage`` is a URI over which workers that do not see the run folder send results; null sends them
    through Ray.
    """

    workers: Any = 2
    threads: int = Field(default=1, ge=1)
    device: Literal["cpu", "cuda"] = "cpu"
    tracking: str | None = None
    ray_address: str | None = None
    retries: int = Field(default=3, ge=0)
    cpus: float | None = Field(default=None, ge=0, le=1e6)
    gpus: float | None = Field(default=None, ge=0, le=1e6)
    resources: dict[str, Annotated[float, Field(ge=0, le=1e6)]] = {}
    storage: str | None = None

    @field_validator("workers")
    @classmethod
    def _some(cls, workers: Any) -> int | str:
        if workers == "auto" or (isinstance(workers, int) and not isinstance(workers, bool) and workers >= 1):
            return int(workers) if workers != "auto" else "auto"
        raise ValueError(f"{workers!r} is not allowed: it is a whole number from 1, or auto")


class Config(Section):
    """A bench: the cells are tasks x budgets x searchers x seeds."""

    name: str = Field(pattern=NAME, max_length=LONGEST_NAME)
    tasks: dict[str, TaskConfig] = Field(min_length=1)
    budgets: list[dict[str, StrictInt | StrictFloat | StrictStr]] = Field(min_length=1)
    searchers: list[SearcherConfig] = Field(min_length=1)
    seeds: list[StrictInt] = Field(default=[0, 1, 2], min_length=1)
    limits: Limits = Limits(evaluations=32)
    run: RunConfig = RunConfig()

    @field_validator("tasks")
    @classmethod
    def _names(cls, tasks: dict[str, TaskConfig]) -> dict[str, TaskConfig]:
        for name in tasks:
            if not re.fullmatch(NAME.strip("^$"), name):
                raise ValueError(f"the task name {name!r} becomes a folder name: use letters, digits and _ . + -")
            if len(name) > LONGEST_NAME:
                raise ValueError(
                    f"the task name {name[:20]}... has {len(name)} characters; it becomes a folder name, which has at "
                    f"most {LONGEST_NAME}"
                )
        return tasks

    @field_validator("searchers", mode="before")
    @classmethod
    def _shorthand(cls, searchers: Any) -> Any:
        return spelled_out(searchers)

    @field_validator("searchers")
    @classmethod
    def _distinct(cls, searchers: list[SearcherConfig]) -> list[SearcherConfig]:
        distinct_arms([searcher.title for searcher in searchers])
        return searchers

    @field_validator("limits")
    @classmethod
    def _bounded(cls, limits: Limits) -> Limits:
        if limits == Limits():
            raise ValueError("give at least one limit, e.g. evaluations: 32; without any a search may never end")
        return limits

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds) or min(seeds) < 0 or max(seeds) > LARGEST_SEED:
            raise ValueError(f"{seeds}: seeds are distinct whole numbers from 0 to {LARGEST_SEED}")
        return seeds

    @field_validator("budgets")
    @classmethod
    def _budgets(cls, budgets: list[dict[str, Bound]]) -> list[dict[str, Bound]]:
        labels = [str(Budget(**bounds)) for bounds in budgets]
        if len(set(labels)) < len(labels):
            raise ValueError("a budget stands twice")
        return budgets

    @model_validator(mode="after")
    def _budgeted_metrics(self) -> Config:
        """Every space counts what the budgets name."""
        return with_budgeted_metrics(self)

    def to_yaml(self) -> str:
        """The whole configuration, defaults spelled out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def with_budgeted_metrics(config: Config) -> Config:
    """The config whose every space counts what the budgets name."""
    named = [metric for bounds in config.budgets for metric in bounds if metric not in ALWAYS]
    tasks = {}
    for name, task in config.tasks.items():
        own = {metric.name for metric in make_metrics(task.space.metrics)}
        wanted = [*named, *([LATENCY] if task.target is not None else [])]
        missing = [metric for metric in dict.fromkeys(wanted) if metric not in own]
        space = task.space.model_copy(update={"metrics": [*task.space.metrics, *missing]})
        tasks[name] = task.model_copy(update={"space": space}) if missing else task
    return config if tasks == config.tasks else config.model_copy(update={"tasks": tasks})


def load_config(source: str | Path, settings: list[str] | None = None) -> Config:
    """Reads a config by the name of one that is installed with the package, or by path.

    Args:
        source: ``quickstart``, or ``my/config.yaml``.
        settings: ``key=value`` texts, the key dotted (``tasks.digits.finetune.epochs=3``), the value YAML.

    Raises:
        ConfigError: one line for each mistake, with the nearest valid key.
    """
    data = read_config(source)
    if "regret" in data:
        raise ConfigError(f"{source} is a benchmark of regret, without tasks of its own: rank-search bench {source}")
    apply_settings(data, settings or [])
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{source}: {explain(error, Config)}") from None
