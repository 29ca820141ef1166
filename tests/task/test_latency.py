"""Latency: more work takes longer, every network gets a number, nothing is changed."""

from __future__ import annotations

import dataclasses

import torch
from tiny_task import TinyNet, tiny_data, tiny_net
from torch import nn

from rank_search.space import Budget, RankSpace
from rank_search.task import Task
from rank_search.task.latency import LATENCY_BATCH, timings


class Counted(nn.Module):
    """Squares a matrix again and again."""

    def __init__(self, work: int) -> None:
        super().__init__()
        self.work = work
        self.register_buffer("matrix", torch.randn(96, 96) / 10)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        for _ in range(self.work):
            inputs = inputs @ self.matrix
        return inputs


def test_a_network_with_a_hundred_times_the_work_takes_longer() -> None:
    fast, slow = timings([Counted(2), Counted(200)], torch.randn(96, 96))
    assert 0 < fast.least < slow.least
    assert fast.least <= fast.median


def test_it_records_no_gradients_and_changes_nothing() -> None:
    model = nn.Linear(3, 3).half()
    before = model.weight.detach().clone()
    timings([model], torch.randn(1, 3), rounds=1)
    assert model.weight.grad is None
    assert not list(model.buffers())
    assert model.weight.dtype == torch.float16
    assert torch.equal(model.weight, before)


def test_a_network_of_integers_is_timed() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 2))
    (found,) = timings([model], torch.tensor([[1, 2], [3, 4]]))
    assert found.least > 0


def test_a_batch_of_32_is_timed_however_few_samples_are_held_out() -> None:
    """Reports divide its time by 32."""
    seen = []

    class Seeing(TinyNet):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(len(images))
            return super().forward(images)

    data = tiny_data()
    few = dataclasses.replace(data, validation=data.validation.subset(5, seed=0))
    space = RankSpace.from_model(tiny_net(), few.example(), ["tucker2"])
    Task(tiny_net(), space, Budget(macs=0.9), few).timings([Seeing()])
    assert {*seen} == {LATENCY_BATCH}
