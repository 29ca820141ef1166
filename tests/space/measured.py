"""What a network really costs, counted by torch, and what its factors really multiply to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def macs(module: nn.Module, example: Tensor) -> int:
    """Multiply-adds for the first sample of ``example``: half of what ``FlopCounterMode`` counts."""
    counter = FlopCounterMode(display=False)
    modes = {part: part.training for part in module.modules()}
    with torch.no_grad(), counter:
        module.eval()(example[:1])
    for part, mode in modes.items():
        part.training = mode
    flops: int = counter.get_total_flops()
    assert flops % 2 == 0
    return flops // 2


def params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def cost(module: nn.Module, example: Tensor) -> dict[str, int]:
    return {"params": params(module), "macs": macs(module, example)}


def reconstruct(form: str, factors: Sequence[Tensor], kernel: tuple[int, int]) -> Tensor:
    """The weight ``[Co, Ci, kh, kw]`` in float64 that the factors, in the order they run, multiply to."""
    first, *middle, last = (factor.detach().double() for factor in factors)
    into, out = first.flatten(1), last.flatten(1)  # [R, Ci], [Co, R]
    if form == "svd":
        return torch.einsum("or,ri->oi", out, into)[:, :, None, None]
    if form == "tucker2":
        core = middle[0].reshape(out.shape[1], into.shape[0], *kernel)
        return torch.einsum("oa,abhw,bi->oihw", out, core, into)
    if form == "cp":
        return torch.einsum("or,rhw,ri->oihw", out, middle[0].reshape(-1, *kernel), into)
    raise AssertionError(form)


def relative_difference(found: Tensor, wanted: Tensor) -> float:
    """``||found - wanted|| / ||wanted||``."""
    assert found.shape == wanted.shape
    return float((found - wanted).norm() / wanted.norm().clamp_min(1e-30))
