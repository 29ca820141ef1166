"""Searchers that do what none should: each must cost its own cell and nothing else."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from rank_search.searching import Proposal, Searcher
from rank_search.searching.searcher import evaluated
from rank_search.task.oracles import task_of


class Hostile(Searcher):
    """Evaluates one plan, then does its worst."""

    def __init__(self, task: Any, *, seed: int) -> None:
        super().__init__(task, seed=seed)
        self.steps = 0

    @property
    def done(self) -> bool:
        return self.steps > 2

    def step(self) -> Proposal:
        self.steps += 1
        plan = self.task.space.random_plan(np.random.default_rng(self.seed), self.task.budget)
        proposal = evaluated(self.task, plan)
        self.worst()
        return proposal

    def worst(self) -> None:
        """What it does."""

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.steps = state["steps"]


# -- what searches share -----------------------------------------------------------------------------------------------


class Trains(Hostile):
    """Writes into the dense network."""

    def worst(self) -> None:
        with torch.no_grad():
            next(task_of(self.task).model.parameters()).add_(0.5)


class Thaws(Hostile):
    """Leaves the dense network in training mode and one weight frozen."""

    def worst(self) -> None:
        model = task_of(self.task).model
        model.train()
        next(model.parameters()).requires_grad_(False)


class Hooks(Hostile):
    """Leaves a hook on the dense network."""

    def worst(self) -> None:
        task_of(self.task).model.register_forward_hook(lambda module, inputs, output: output * 0)


class Cheapens(Hostile):
    """Makes everything cheap."""

    def worst(self) -> None:
        for options in self.task.space.layers:
            options.costs = np.ones_like(options.costs)


class Unlocks(Hostile):
    """Writes into a table after unlocking it."""

    def worst(self) -> None:
        costs = self.task.space.layers[0].costs
        costs.flags.writeable = True
        costs[1:] = 1


class WritesTables(Hostile):
    """Writes into a table."""

    def worst(self) -> None:
        self.task.space.layers[0].costs[1:] = 1


class WritesErrors(Hostile):
    """Writes into the errors of options."""

    def worst(self) -> None:
        self.task.space.layers[0].errors[:] = 0


class WritesFactors(Hostile):
    """Writes into decompositions that are kept for all."""

    def worst(self) -> None:
        options = self.task.space.layers[0]
        for tensors in options.weight.cache._memory.values():
            for tensor in tensors.values():
                tensor.zero_()


class WritesData(Hostile):
    """Writes into the validation images."""

    def worst(self) -> None:
        data = task_of(self.task).data
        assert data is not None
        data.validation.images.zero_()


class WritesRecipe(Hostile):
    """Changes the common fine-tune."""

    def worst(self) -> None:
        object.__setattr__(self.task.recipe, "lr", 1e-9)


# -- the process -------------------------------------------------------------------------------------------------------


class Exits(Hostile):
    """Calls sys.exit."""

    def worst(self) -> None:
        sys.exit(3)


class Vanishes(Hostile):
    """Ends the process without a word."""

    def worst(self) -> None:
        os._exit(0)


class Kills(Hostile):
    """Kills the process."""

    def worst(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Forks(Hostile):
    """Doubles the process."""

    def worst(self) -> None:
        os.fork()


class ExitsWhenMade(Hostile):
    """Calls sys.exit in its constructor."""

    def __init__(self, task: Any, *, seed: int) -> None:
        super().__init__(task, seed=seed)
        if self.task.spent["evaluations"] == 0 and seed == 0:
            raise SystemExit("not today")


class Recurses(Hostile):
    """Overflows the stack."""

    def worst(self) -> None:
        self.worst()


class Gorges(Hostile):
    """Asks for more memory than there is."""

    def worst(self) -> None:
        torch.empty(2**50)


class Spins(Hostile):
    """Never ends, and catches what it can."""

    def worst(self) -> None:
        while True:
            try:
                sum(range(10**5))
            except Exception:
                continue


class Sleeps(Hostile):
    """Sleeps for days."""

    def worst(self) -> None:
        time.sleep(10**6)


class Crashes(Hostile):
    """Ends the process from C."""

    def worst(self) -> None:
        ctypes.CDLL(None)._exit(1)


# -- the contract ------------------------------------------------------------------------------------------------------


class RefundsItself(Hostile):
    """Takes evaluations off the meter."""

    def worst(self) -> None:
        self.task.charge(evaluations=-1)


class Babbles(Hostile):
    """Raises an error of many lines."""

    def worst(self) -> None:
        raise RuntimeError("no\n" * 5000)


class Overspends(Hostile):
    """Proposes the dense network under a budget."""

    def step(self) -> Proposal:
        self.steps += 1
        return Proposal(self.task.space.dense, 0.0)


class Invents(Hostile):
    """Returns a score that is none."""

    def step(self) -> Proposal:
        return Proposal(super().step().plan, float("nan"))


class Peeks(Hostile):
    """Runs copies of the network over and over on inputs that it paid for once."""

    def worst(self) -> None:
        network, inputs = self.task.dense_model(), self.task.fixed_inputs(32)
        for _ in range(10**6):
            network(inputs)


# -- untidy, but allowed -----------------------------------------------------------------------------------------------


class Messy(Hostile):
    """Changes all that a process can be told, and goes on; its own cell is as good as any."""

    def worst(self) -> None:
        torch.set_num_threads(2)
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        torch.manual_seed(12345)
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.set_flush_denormal(True)
        torch.nn.modules.module.register_module_forward_hook(lambda module, inputs, output: output * 0)
        np.random.seed(1)
        np.seterr(all="raise")
        random.seed(1)
        os.environ["RANK_SEARCH_CACHE"] = "/nowhere"
        os.environ.pop("HOME", None)
        os.umask(0o777)
        os.chdir("/")
        sys.path.clear()
        sys.setrecursionlimit(300)
        sys.stdout.close()
        sys.stderr.close()
        with contextlib.suppress(OSError):  # the second time it is closed
            os.close(1)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
