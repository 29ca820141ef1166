"""From a plan to a network: replace layers by their factors, save the result, load it again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rank_search.copying import copy_network
from rank_search.errors import InvalidInputError, PlanError, WeightsError
from rank_search.files import read_json, read_tensors, why_not_stored, write_tensors, write_text
from rank_search.plugins import nearest
from rank_search.space.forms.decomposition import Decomposition, decomposition
from rank_search.space.forms.low_rank import LowRank
from rank_search.space.layers.layer import KINDS, Layer
from rank_search.space.layers.layer_weight import LayerWeight
from rank_search.space.layers.trace import DEPTHWISE, unreplaceable
from rank_search.space.plan import DENSE, Choice, RankPlan
from rank_search.space.tables.options import why_not_offered
from rank_search.wrappers import own_names

PLAN_FILE, WEIGHTS_FILE = "plan.json", "model.safetensors"


def compress(model: nn.Module, plan: RankPlan) -> nn.Module:
    """A copy of the model with every layer of the plan replaced by its factors; the model itself is not changed.

    Decomposes each layer on the spot, in Frobenius' metric; inside a search the space does it from cached factors, in
    the metric of its errors.

    Raises:
        PlanError: if the plan is not one for this model, or a rank is impossible.
        InvalidInputError: if the model is compressed already, or cannot be copied.
    """
    refuse_compressed(model)
    refused = unreplaceable(model)

    def build(name: str, choice: Choice, module: nn.Module) -> LowRank:
        if name in refused:
            raise PlanError(f"layer {name!r} cannot become {choice}: {refused[name]}")
        form = _checked_form(name, choice, module)
        low_rank = form.skeleton(module, choice.ranks)
        assert isinstance(module.weight, Tensor)
        low_rank.fill(form.factors(LayerWeight(Layer.of(name, module), module.weight), choice.ranks), module)
        return low_rank

    return replace_layers(model, plan, build)


def replace_layers(model: nn.Module, plan: RankPlan, build: Callable[[str, Choice, nn.Module], LowRank]) -> nn.Module:
    """A copy of the model in which ``build`` has made every layer that the plan does not leave dense.

    Raises:
        PlanError: if the plan names a layer that the model does not have.
    """
    if not isinstance(plan, RankPlan):
        raise PlanError(f"the plan is a {type(plan).__name__}, not a RankPlan; use RankPlan.from_json for plain data")
    memo: dict[int, object] = {}
    for name, choice in plan.items():
        module = _layer(model, name)
        if choice != DENSE:
            low_rank = build(name, choice, module).train(module.training)
            memo[id(module)] = low_rank  # so that deepcopy does not copy the weights that are replaced
    return copy_network(model, memo)


def uninitialised(name: str, choice: Choice, module: nn.Module) -> LowRank:
    """The factorised layer with weights of any value, where the dense layer is; for weights that are loaded next.

    Raises:
        PlanError: if the layer cannot have that choice.
    """
    assert isinstance(module.weight, Tensor)
    low_rank = _checked_form(name, choice, module).skeleton(module, choice.ranks)
    low_rank.to_empty(device=module.weight.device).to(module.weight.dtype)
    low_rank.freeze_like(module)
    return low_rank


def refuse_compressed(model: nn.Module) -> None:
    """Says so if the network was compressed before: plans name layers of a dense one.

    Raises:
        InvalidInputError
    """
    plan = plan_of(model)
    if len(plan):
        raise InvalidInputError(
            f"{type(model).__name__} is compressed already ({len(plan)} layers, {next(iter(plan))!r} first), and plans "
            "are of dense networks: search on the dense network, with the smaller budget"
        )


def _checked_form(name: str, choice: Choice, module: nn.Module) -> Decomposition:
    """The form of a choice that the layer can have."""
    form = decomposition(choice.form)
    if type(module) not in KINDS:
        known = ", ".join(kind.__name__ for kind in KINDS)
        raise PlanError(f"the plan changes {name!r}, a {type(module).__name__}: only {known} are decomposed")
    layer = Layer.of(name, module)
    reason = DEPTHWISE if layer.depthwise else form.why_not(layer)
    if reason is not None:
        raise PlanError(f"layer {name!r} cannot become {choice}: {reason}")
    inside = len(choice.ranks) == len(form.modes) and max(choice.ranks) <= max(form.largest_ranks(layer))
    if not inside or not form.feasible(layer, np.array([choice.ranks], dtype=np.int64))[0]:
        raise PlanError(f"layer {name!r}: {why_not_offered(form, layer, choice)}")
    return form


def plan_of(model: nn.Module) -> RankPlan:
    """The plan of a compressed network, read from its modules."""
    return RankPlan({name: module.choice for name, module in model.named_modules() if isinstance(module, LowRank)})


def save(compressed: nn.Module, folder: str | Path, factory: Callable[[], nn.Module] | None = None) -> Path:
    """Writes ``plan.json`` and ``model.safetensors`` (the plan again in its header); each appears whole or not at all.

    A network in ``nn.DataParallel``, ``DistributedDataParallel`` or ``torch.compile`` is saved as it is without them.

    Args:
        compressed: dense or compressed.
        folder: made if need be.
        factory: what :func:`load` will be given; with it a network that could not be loaded is refused here already.

    Raises:
        StorageError: if the folder cannot be written.
        PlanError, WeightsError: if the factory's network is another one; nothing is written then.
        WeightsError: if the network has state that a file of tensors cannot hold; nothing is written then.
    """
    folder = Path(folder)
    check_saveable(compressed)
    found, state = plan_of(compressed), compressed.state_dict()
    plan = RankPlan({own: found[name] for name, own in own_names(compressed, found).items()})
    tensors = {own: state[name] for name, own in own_names(compressed, state).items()}
    if factory is not None:
        _check_factory(factory, "save")
        _rebuilt(factory(), plan, tensors, type(compressed).__name__)
    write_tensors(folder / WEIGHTS_FILE, tensors, {"plan": plan.to_json()})
    write_text(folder / PLAN_FILE, plan.to_json())
    return folder


def check_saveable(model: nn.Module) -> None:
    """Says so if a network has state that :func:`save` cannot write.

    Raises:
        WeightsError: naming it.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise WeightsError(
            f"{type(model).__name__} cannot be saved: TorchScript has lost its layers' plan; save the network that it "
            "was made of, or keep it with torch.jit.save"
        )
    for key, value in model.state_dict().items():
        reason = why_not_stored(value)
        if reason is not None:
            raise WeightsError(
                f"{type(model).__name__} cannot be saved: {key!r} of its state is {reason}; networks are saved as "
                "dense tensors: keep it dense, or out of the state (register_buffer(..., persistent=False))"
            )


def load(folder: str | Path, factory: Callable[[], nn.Module]) -> nn.Module:
    """Rebuilds a saved network from its folder and a function that returns the dense architecture (any weights).

    The network has the dtypes that were saved, whatever those of the function's network are.

    Raises:
        InvalidInputError: if a file is missing or broken; PlanError if the plan is another model's; WeightsError if
            the tensors do not fit.
    """
    _check_factory(factory, "load")
    folder = Path(folder)
    plan = RankPlan.from_json(read_json(folder / PLAN_FILE))
    tensors, header = read_tensors(folder / WEIGHTS_FILE)
    if "plan" not in header:
        raise WeightsError(f"{folder / WEIGHTS_FILE} carries no plan: it was not written by rank_search.save")
    if RankPlan.from_json(header["plan"]) != plan:  # a save over an older one was cut off between its two files
        raise PlanError(f"{folder / PLAN_FILE} is not the plan of {folder / WEIGHTS_FILE}: save the network again")
    return _rebuilt(factory(), plan, tensors, folder / WEIGHTS_FILE)


def _check_factory(factory: Callable[[], nn.Module], what: str) -> None:
    if isinstance(factory, nn.Module) or not callable(factory):
        raise PlanError(
            f"{what} needs a function that returns the model, not a {type(factory).__name__}: use lambda: ..."
        )


def _rebuilt(dense: nn.Module, plan: RankPlan, tensors: Mapping[str, Tensor], where: object) -> nn.Module:
    """The network of a plan and its tensors, in eval mode, of the tensors' dtypes."""
    _check_inside(dense, plan)
    layers = {own: name for name, own in own_names(dense, dict(dense.named_modules())).items()}
    model = replace_layers(dense, RankPlan({layers.get(k, k): choice for k, choice in plan.items()}), uninitialised)
    try:
        state = model.state_dict(keep_vars=True)
        names = {own: name for name, own in own_names(model, state).items()}
        tensors = {names.get(key, key): value for key, value in tensors.items()}
        _as_saved(state, tensors)
        model.load_state_dict(tensors)
    except Exception as error:  # a module's own loading may raise anything
        reason = " ".join(str(error).split())
        raise WeightsError(f"{where} does not fit this model and its plan: {reason}") from None
    return model.eval()


def _as_saved(state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Gives a network's parameters and buffers the floating-point dtypes of saved ones."""
    for key, value in state.items():
        saved = tensors.get(key)
        if saved is not None and isinstance(value, Tensor) and value.is_floating_point() and saved.is_floating_point():
            value.data = value.data.to(saved.dtype)


def _check_inside(model: nn.Module, plan: RankPlan) -> None:
    """Says so if the plan is of a network that held this one.

    Raises:
        PlanError
    """
    names, prefixes = dict(model.named_modules()), {name.partition(".")[0] for name in plan}
    if len(prefixes) != 1 or prefixes <= {*names}:
        return
    (prefix,) = prefixes
    if all("." in name and name.removeprefix(f"{prefix}.") in names for name in plan):
        raise PlanError(
            f"the network was saved inside of another module, which calls it {prefix!r}: give a function that "
            f"returns that module, or save its .{prefix} alone"
        )


def _layer(model: nn.Module, name: str) -> nn.Module:
    try:
        module = model.get_submodule(name)
    except AttributeError:
        names = [known for known, found in model.named_modules() if type(found) in KINDS]
        raise PlanError(
            f"the plan names the layer {name!r}, which this model does not have"
            f"{nearest(name, names)}; is it another model's?"
        ) from None
    return module
