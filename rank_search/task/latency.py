"""How long a forward pass takes, beside what the MACs promise."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import nn

from rank_search.copying import copy_network
from rank_search.nests import Nest, call, check_nest, moved
from rank_search.running import device_of
from rank_search.task.data.data import Data
from rank_search.task.evaluation import with_dense
from rank_search.task.objectives.objective import Objective

WARM_UP, ROUNDS, LIMIT_S = 3, 15, 10.0
LATENCY_BATCH = 32


def latencies(models: Sequence[nn.Module], inputs: Nest, rounds: int = ROUNDS) -> list[float]:
    """Median milliseconds per input of every network's forward pass, on its device and with torch's threads of now.

    The networks run in turn, so that what else the machine does slows all of them alike: compare ratios.

    Args:
        models: networks in eval mode.
        inputs: the batch they are given, a nest of ``[N, ...]``; with one small sample the calls cost more than the
            arithmetic.
        rounds: measured passes of each; fewer, at least one, where they would take more than ten seconds.
    """
    spent: list[list[float]] = [[] for _ in models]
    samples = check_nest(inputs, "the batch")
    begun = time.perf_counter()
    with torch.inference_mode():
        for done in range(WARM_UP + rounds):
            if done > WARM_UP and time.perf_counter() - begun > LIMIT_S:
                break
            for model, times in zip(models, spent, strict=True):
                device = device_of(model)
                given = moved(inputs, device)
                _wait(device)
                start = time.perf_counter()
                call(model, given)
                _wait(device)
                if done >= WARM_UP:
                    times.append(1000 * (time.perf_counter() - start) / samples)
    return [float(torch.tensor(times, dtype=torch.float64).median()) for times in spent]


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
