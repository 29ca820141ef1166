"""A cell: one task x budget x searcher x seed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import product

from rank_search.errors import ConfigError
from rank_search.records.file_names import fitting
from rank_search.run.config import Config, SearcherConfig
from rank_search.space import Budget
from rank_search.space.metrics.metric import make_metrics


@dataclass(frozen=True)
class Cell:
    """Args:
    task: its name in the config.
    budget: the bound on the whole network.
    searcher: the arm.
    seed: of the search and of the fine-tune.
    """

    task: str
    budget: Budget
    searcher: SearcherConfig
    seed: int

    @property
    def id(self) -> str:
        """What it is called, e.g. ``digits-macs=0.5-tpe-s0``."""
        return f"{self.task}-{self.budget}-{self.searcher.title}-s{self.seed}"

    @property
    def folder(self) -> str:
        """The name of its folder: the id, or its beginning and a hash where it is longer than a file system takes."""
        return fitting(self.id)


def expand(config: Config) -> list[Cell]:
    """All cells of a config, in the order of its lists.

    Raises:
        ConfigError: if two cells would share a name.
    """
    for section in config.tasks.values():
        make_metrics(section.space.metrics)  # in a worker, budgets may name them only now
    cells = [
        Cell(task, Budget(**bounds), searcher, seed)
        for task, bounds, searcher, seed in product(config.tasks, config.budgets, config.searchers, config.seeds)
    ]
    for name, count in Counter(cell.folder for cell in cells).items():
        if count > 1:
            raise ConfigError(f"{count} cells would be called {name!r}: give the searchers other labels")
    return cells
