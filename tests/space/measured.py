"""What a network really costs, counted by torch, and what its factors really multiply to."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rank_search.space.forms.decomposition import Decomposition
from rank_search.space.forms.low_rank import LowRank
from rank_search.space.layers.layer_weight import LayerWeight
from rank_search.space.layers.whitening import RIDGE
from rank_search.space.tables.options import LayerOptions


def macs(module: nn.Module, example: Tensor) -> int:
    """Multiply-adds for the first sample of ``example``: half of what ``FlopCounterMode`` counts."""
    counter = FlopCounterMode(display=False)
    modes = {part: part.training for part in module.modules()}
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the counter does not see into the fused attention
    with torch.no_grad(), counter:
        module.eval()(example[:1])
    torch.backends.mha.set_fastpath_enabled(fast)
    for part, mode in modes.items():
        part.training = mode
    flops: int = counter.get_total_flops()
    assert flops % 2 == 0
    return flops // 2


def params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def cost(module: nn.Module, example: Tensor) -> dict[str, int]:
    return {"params": params(module), "macs": macs(module, example)}


def build(form: Decomposition, module: nn.Module, weight: LayerWeight, ranks: Iterable[int]) -> LowRank:
    """The factorised module, filled."""
    built = form.skeleton(module, tuple(ranks))
    built.fill(form.factors(weight, tuple(ranks)), module)
    return built


def build_option(options: LayerOptions, row: int, module: nn.Module) -> LowRank:
    """Option ``row`` of a table (not dense) as a module, filled."""
    built = options.forms[int(options.form[row])].skeleton(module, options.choice(row).ranks)
    built.fill(options.factors(row), module)
    return built


def full_kernel(module: nn.Module) -> Tensor:
    """The weight as ``[Co, Ci, *kernel]`` in float64: groups are blocks among zeros."""
    weight = module.weight.detach().double()  # type: ignore[operator, union-attr]
    blocks = weight.chunk(getattr(module, "groups", 1))
    if isinstance(module, nn.ConvTranspose2d):
        blocks = tuple(block.transpose(0, 1) for block in blocks)
    (out, into), count = blocks[0].shape[:2], len(blocks)
    full = weight.new_zeros(out * count, into * count, *blocks[0].shape[2:])
    for i, block in enumerate(blocks):
        full[i * out : (i + 1) * out, i * into : (i + 1) * into] = block
    return full


def reconstruct(built: Iterable[nn.Module]) -> Tensor:
    """The full kernel ``[Co, Ci, *kernel]`` that modules in a row multiply to, read from the modules alone.

    Right as long as every kernel axis is longer than 1 in one of them at most: then tap (h, w) of the product is tap h
    of one factor times tap w of another, and the channels are summed.
    """
    first, *others = (full_kernel(module) for module in built)
    for kernel in others:
        assert all(1 in extents for extents in zip(first.shape[2:], kernel.shape[2:], strict=True))
        first = (kernel[:, :, None] * first[None]).sum(1)
    return first


def squared_error(module: nn.Module, built: Iterable[nn.Module], moment: Tensor | None = None) -> float:
    """``||W - What||^2`` of the full kernels, or ``sum D (M + ridge) D^T`` over taps with a second moment M."""
    difference = full_kernel(module) - reconstruct(built)
    if moment is None:
        return float(difference.square().sum())
    ridge = RIDGE * moment.diagonal(dim1=1, dim2=2).mean()
    metric = torch.block_diag(*(m + ridge * torch.eye(len(m), dtype=m.dtype) for m in moment))
    taps = difference.flatten(2) if difference.ndim > 2 else difference[:, :, None]
    return float(torch.einsum("oit,ij,ojt->", taps, metric, taps))


def relative_difference(found: Tensor, wanted: Tensor) -> float:
    """``||found - wanted|| / ||wanted||``."""
    assert found.shape == wanted.shape
    return float((found - wanted).norm() / wanted.norm().clamp_min(1e-30))
