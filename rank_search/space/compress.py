"""From a plan to a network: replace layers by their factors, save the result, load it again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
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


def save(compressed: nn.Module, folder: str | Path) -> Path:
    """Writes ``plan.json`` and ``model.safetensors`` (the plan again in its header); each appears whole or not at all.

    Raises:
        StorageError: if the folder cannot be written.
        WeightsError: if the network has state that a file of tensors cannot hold; nothing is written then.
    """
    folder = Path(folder)
    check_saveable(compressed)
    plan = plan_of(compressed)
    write_tensors(folder / WEIGHTS_FILE, compressed.state_dict(), {"plan": plan.to_json()})
    write_text(folder / PLAN_FILE, plan.to_json())
    return folder


def check_saveable(model: nn.Module) -> None:
    """Says so if a network has state that :func:`save` cannot write.

    Raises:
        WeightsError: naming it.
    """
    for key, value in model.state_dict().items():
        reason = why_not_stored(value)
        if reason is not None:
            raise WeightsError(
                f"{type(model).__name__} cannot be saved: {key!r} of its state is {reason}; networks are saved as "
                "dense tensors: keep it dense, or out of the state (register_buffer(..., persistent=False))"
            )


def load(folder: str | Path, factory: Callable[[], nn.Module]) -> nn.Module:
    """Rebuilds a saved network from its folder and a function that returns the dense architecture (any weights).

    Raises:
        InvalidInputError: if a file is missing or broken; PlanError if the plan is another model's; WeightsError if
            the tensors do not fit.
    """
    if isinstance(factory, nn.Module) or not callable(factory):
        raise PlanError(
            f"load needs a function that returns the model, not a {type(factory).__name__}: use lambda: ..."
        )
    folder = Path(folder)
    plan = RankPlan.from_json(read_json(folder / PLAN_FILE))
    tensors, header = read_tensors(folder / WEIGHTS_FILE)
    if "plan" not in header:
        raise WeightsError(f"{folder / WEIGHTS_FILE} carries no plan: it was not written by rank_search.save")
    if RankPlan.from_json(header["plan"]) != plan:  # a save over an older one was cut off between its two files
        raise PlanError(f"{folder / PLAN_FILE} is not the plan of {folder / WEIGHTS_FILE}: save the network again")
    model = replace_layers(factory(), plan, uninitialised)
    try:
        model.load_state_dict(tensors)
    except Exception as error:  # a module's own loading may raise anything
        reason = " ".join(str(error).split())
        raise WeightsError(f"{folder / WEIGHTS_FILE} does not fit this model and its plan: {reason}") from None
    return model.eval()


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
