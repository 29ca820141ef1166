"""What the tests of the refit share: seeded networks, plans for them, and errors measured without the package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rank_search.nests import Nest, leaves, mapped
from rank_search.space import Choice, RankPlan, compress
from rank_search.space.forms.decomposition import decomposition
from rank_search.space.layers.layer import KINDS, Layer
from rank_search.task.repair.mender import Mended
from rank_search.task.repair.refit import refit
from rank_search.task.repair.steps import steps_of

FORMS = ("svd", "svd_channel", "svd_spatial", "svd_grouped", "tucker2", "cp", "tensor_train")


def seeded(build: Callable[[], nn.Module], seed: int = 0, dtype: torch.dtype = torch.float32) -> Any:
    """What ``build`` makes, in evaluation mode, with norms that have statistics of their own."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        net = build().to(dtype)
        for module in net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.3, 1)  # type: ignore[union-attr]
                if module.affine:
                    module.weight.uniform_(0.5, 1.5)
                    module.bias.normal_(0, 0.3)
    return net.eval()


def noise(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def correlated(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    """Features along axis 1 that hang together, with a mean: where a fit from inputs pays."""
    values = noise(*shape, seed=seed, dtype=torch.float64).transpose(1, -1)
    channels = shape[1]
    mixing = noise(channels, channels, seed=99, dtype=torch.float64)
    mixing = mixing * torch.logspace(0, -1.5, channels, dtype=torch.float64)[:, None]
    return (values @ mixing + 0.5).transpose(1, -1).contiguous().to(dtype)


def given_to(layer: nn.Module, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """The same for a layer: features are the last axis of what a linear one is given."""
    if not isinstance(layer, nn.Linear):
        return correlated(*shape, dtype=dtype)
    return correlated(shape[0], shape[-1], *shape[1:-1], dtype=dtype).movedim(1, -1).contiguous()


def choice_for(module: nn.Module, form: str, share: float = 0.3) -> Choice | None:
    """Ranks a share of the way up the form's candidates; None where the form does not apply."""
    known, layer = decomposition(form), Layer.of("", module)
    if known.why_not(layer) is not None:
        return None
    rows = known.candidates(layer)
    rows = rows[known.feasible(layer, rows)]
    rows = rows[known.params(layer, rows).argsort(kind="stable")]
    return Choice(form, tuple(rows[int(share * (len(rows) - 1))]))


def cut(net: nn.Module, forms: Iterable[str] = FORMS, share: float = 0.3, only: Iterable[str] = ()) -> Any:
    """A copy with every layer (or only some) in the first of the forms that applies to it."""
    choices = {}
    for name, module in net.named_modules():
        if type(module) in KINDS and (not only or name in only):
            found = [choice for form in forms if (choice := choice_for(module, form, share)) is not None]
            choices[name] = found[0]
    return compress(net, RankPlan(choices))


def parts(inputs: Nest, sizes: Iterable[int]) -> list[Nest]:
    first, found = 0, []
    for size in sizes:
        found.append(mapped(inputs, lambda tensor, at=first, n=size: tensor[at : at + n].clone()))  # type: ignore[misc]
        first += size
    return found


def mended(model: nn.Module, dense: nn.Module, inputs: Nest, size: int | None = None) -> dict[str, Mended]:
    """Refits in batches of a size; None is one batch of all."""
    count = len(leaves(inputs)[0])
    size = size or count
    sizes = [min(size, count - first) for first in range(0, count, size)]
    steps = steps_of(dense, mapped(inputs, lambda tensor: tensor[:1]))
    return refit(model, dense, steps, lambda: iter(parts(inputs, sizes)), count)


def fitted(count: int) -> Tensor:
    """Which inputs are fitted to: all but every fourth."""
    return torch.arange(count) % 4 != 3


def seen(net: nn.Module, name: str, inputs: Nest) -> tuple[Tensor, Tensor]:
    """What a layer is given in a network, and puts out."""
    found: list[tuple[Tensor, Tensor]] = []
    handle = net.get_submodule(name).register_forward_hook(
        lambda module, given, output: found.append((given[0].clone(), output.clone()))
    )
    try:
        with torch.no_grad():
            run(net, inputs)
    finally:
        handle.remove()
    ((given, output),) = found
    return given, output


def run(net: nn.Module, inputs: Nest) -> Any:
    inputs = mapped(inputs, torch.Tensor.clone)
    if isinstance(inputs, Mapping):
        return net(**inputs)
    return net(*inputs) if isinstance(inputs, tuple | list) else net(inputs)


def rest(wanted: Tensor, found: Tensor, axis: int = 1, centred: bool = False) -> float:
    """``||wanted - found||^2 / ||wanted||^2``, means per channel taken off both if centred; float64."""
    gap, wanted = (wanted - found).double(), wanted.double()
    if centred:
        axes = [at for at in range(wanted.ndim) if at != axis % wanted.ndim]
        gap, wanted = gap - gap.mean(axes, keepdim=True), wanted - wanted.mean(axes, keepdim=True)
    return float(gap.square().sum() / wanted.square().sum())


def bytes_of(net: nn.Module) -> dict[str, bytes]:
    """Every parameter and buffer, bit by bit."""
    state = net.state_dict()
    return {
        name: value.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes() for name, value in state.items()
    }


def state_of(net: nn.Module) -> Any:
    """All that a refit must leave alone in the dense network: values, modes, hooks, attributes."""
    modules = {
        name: (
            module.training,
            len(module._forward_hooks),
            len(module._forward_pre_hooks),
            set(vars(module)),
            vars(module).get("forward"),
        )
        for name, module in net.named_modules()
    }
    needs = {name: (value.requires_grad, value.grad is None, id(value)) for name, value in net.named_parameters()}
    return bytes_of(net), modules, needs


def finite(net: nn.Module) -> bool:
    return all(bool(value.isfinite().all()) for value in net.state_dict().values() if value.is_floating_point())


def layer_bytes(net: nn.Module, name: str) -> dict[str, bytes]:
    return bytes_of(net.get_submodule(name))


def counted(batches: Callable[[], Iterable[Nest]]) -> tuple[Callable[[], Iterator[Nest]], list[int]]:
    """The same batches, and a list that grows by one whenever they are asked for."""
    asked: list[int] = []

    def again() -> Iterator[Nest]:
        asked.append(len(asked))
        return iter(batches())

    return again, asked
