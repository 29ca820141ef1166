"""The error after the last factor is refitted: against least squares on explicit rows, for every form and rank."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from rank_search.space.forms.decomposition import decomposition
from rank_search.space.layers.layer import Layer
from rank_search.space.layers.layer_weight import LayerWeight
from rank_search.space.layers.patch_moments import patch_moments
from rank_search.space.tables.refit_errors import refit_errors

CASES = {
    "svd": (lambda: nn.Linear(7, 5, bias=False), (40, 7)),
    "svd_channel": (lambda: nn.Conv2d(4, 6, 3, padding=1, bias=False), (6, 4, 6, 6)),
    "svd_spatial": (lambda: nn.Conv2d(4, 6, 3, padding=1, bias=False), (6, 4, 6, 6)),
    "svd_grouped": (lambda: nn.Conv2d(4, 6, 3, stride=2, bias=False), (9, 4, 9, 9)),
    "tucker2": (lambda: nn.Conv2d(4, 6, 3, padding=1, bias=False, groups=2), (6, 4, 6, 6)),
    "tensor_train": (lambda: nn.Conv2d(4, 6, 3, padding=1, bias=False), (6, 4, 6, 6)),
    "cp": (lambda: nn.Conv2d(4, 6, 3, padding=1, bias=False), (6, 4, 6, 6)),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_what_least_squares_leaves(name: str) -> None:
    torch.manual_seed(0)
    build, shape = CASES[name]
    module = build().double()
    layer = Layer.of("it", module)
    given = torch.randn(shape, dtype=torch.float64) @ torch.randn(shape[-1], shape[-1], dtype=torch.float64)
    form = decomposition(name)
    weight = LayerWeight(layer, module.weight)
    (moment,) = patch_moments(nn.Sequential(module), [given], len(given)).values()
    ranks = form.candidates(layer)
    ranks = ranks[form.feasible(layer, ranks)][:: max(1, len(ranks) // 25)]
    found = refit_errors(form, weight, ranks, moment)
    for one, rank in zip(found, ranks.tolist(), strict=True):
        least = _least_squares(form, weight, module, given, tuple(rank))
        assert least - 1e-6 <= one <= least + 5e-3  # the ridge keeps it above


def _least_squares(form, weight, module, given, ranks) -> float:  # type: ignore[no-untyped-def]
    """The module is run, its last factor replaced by one-hot outputs, and each group regressed on them."""
    low = form.skeleton(module, ranks)
    low.fill(form.factors(weight, ranks), module)
    last = low[-1]
    groups = module.groups if isinstance(module, nn.Conv2d) else 1
    with torch.no_grad():
        features = nn.Sequential(*[*low][:-1])(given)
        wanted = module(given)
        if isinstance(last, nn.Linear):
            rows = [features]
            targets = [wanted]
        else:
            parts = torch.nn.functional.unfold(
                features, last.kernel_size, padding=last.padding, stride=last.stride
            ).transpose(1, 2)
            size = parts.shape[2] // groups
            rows = [parts[:, :, g * size : (g + 1) * size].flatten(0, 1) for g in range(groups)]
            targets = list(wanted.flatten(2).transpose(1, 2).flatten(0, 1).chunk(groups, dim=1))
        left = 0.0
        for x, y in zip(rows, targets, strict=True):
            solution = torch.linalg.lstsq(x, y, driver="gelsd").solution
            left += float((y - x @ solution).square().sum())
    return left / float(sum(y.square().sum() for y in targets))


def test_more_rank_never_costs_error_and_full_rank_has_none() -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(4, 6, 3, bias=False).double()
    layer, form = Layer.of("it", module), decomposition("tucker2")
    given = torch.randn(8, 4, 7, 7, dtype=torch.float64)
    (moment,) = patch_moments(nn.Sequential(module), [given], 8).values()
    ranks = np.array([[r, 4] for r in range(1, 7)])
    found = refit_errors(form, LayerWeight(layer, module.weight), ranks, moment)
    assert (np.diff(found) <= 1e-12).all()
    assert found[-1] < 1e-3


def test_moments_are_about_the_mean_only_where_a_refit_takes_it_away() -> None:
    torch.manual_seed(0)
    given = torch.randn(64, 3, 5, 5) + 2.0
    net = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)).eval()
    bare = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.ReLU())
    rows = given.movedim(1, -1).reshape(-1, 3).double()
    about_zero, about_mean = rows.T @ rows / len(rows), torch.cov(rows.T, correction=0)
    torch.testing.assert_close(patch_moments(net, [given], 64)["0"][0], about_mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        patch_moments(bare, [given[:40], given[40:]], 64)["0"][0], about_zero, rtol=1e-4, atol=1e-4
    )
