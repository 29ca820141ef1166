"""Latency: more work takes longer, every network gets a number, nothing is changed."""

from __future__ import annotations

import torch
from torch import nn

from rank_search.task.latency import ROUNDS, WARM_UP, latencies


class Counted(nn.Module):
    """Squares a matrix again and again, and counts its forward passes."""

    def __init__(self, work: int) -> None:
        super().__init__()
        self.work, self.passes = work, 0
        self.register_buffer("matrix", torch.randn(96, 96) / 10)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.passes += 1
        for _ in range(self.work):
            inputs = inputs @ self.matrix
        return inputs


def test_a_network_with_a_hundred_times_the_work_takes_longer() -> None:
    light, heavy = Counted(2), Counted(200)
    fast, slow = latencies([light, heavy], torch.randn(96, 96))
    assert 0 < fast < slow
    assert light.passes == heavy.passes == WARM_UP + ROUNDS


def test_it_records_no_gradients() -> None:
    model = nn.Linear(3, 3)
    latencies([model], torch.randn(1, 3), rounds=1)
    assert model.weight.grad is None
    assert not list(model.buffers())
