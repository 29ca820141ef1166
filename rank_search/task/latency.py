"""How long a forward pass takes, beside what the MACs promise."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import nn

from rank_search.copying import copy_network
from rank_search.deploy.engines import Timing, time_in_turn
from rank_search.deploy.engines.eager import Eager
from rank_search.nests import Nest, call, check_nest
from rank_search.running import device_of
from rank_search.task.data.data import Data
from rank_search.task.evaluation import with_dense
from rank_search.task.objectives.objective import Objective

ROUNDS, LIMIT_S = 9, 4.0
LATENCY_BATCH = 32


def timings(models: Sequence[nn.Module], inputs: Nest, rounds: int = ROUNDS) -> list[Timing]:
    """Seconds of a run of every network in eager PyTorch, on its device and with torch's threads of now.

    The networks run in turn, so that what else the machine does slows all of them alike: compare ratios.

    Args:
        models: networks in eval mode.
        inputs: the batch they are given, a nest of ``[N, ...]``; with one small sample the calls cost more than the
            arithmetic.
        rounds: measured passes of each; fewer where they would take more than four seconds.
    """
    check_nest(inputs, "the batch")
    runners = []
    for model in models:
        dtype = next((str(p.dtype).removeprefix("torch.") for p in model.parameters()), "float32")
        engine = Eager(torch.get_num_threads(), dtype if dtype in Eager.dtypes else "float32", str(device_of(model)))
        runners.append(engine.prepare(model, inputs))
    return time_in_turn(runners, rounds, limit_s=LIMIT_S)


def training_seconds(model: nn.Module, data: Data, objective: Objective) -> float:
    """CPU seconds that a training step takes per sample, by one step of a copy of the network after a first one."""
    network = copy_network(model).train()
    batches = data.batches(data.train.subset(LATENCY_BATCH, seed=0), LATENCY_BATCH)
    (batch,) = with_dense(iter([next(iter(batches)).to(device_of(model))]), objective, model)
    spent = 0.0
    for _ in range(2):
        started = time.process_time()
        objective.loss(call(network, batch.inputs), batch).backward()  # type: ignore[no-untyped-call]
        _wait(device_of(model))
        spent = time.process_time() - started
    return spent / batch.samples


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
