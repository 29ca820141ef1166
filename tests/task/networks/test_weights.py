"""Weights from files: what is accepted, what is refused with which words, and that a refusal changes nothing."""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rank_search.errors import WeightsError
from rank_search.files import write_tensors
from rank_search.task.networks.models import load_model
from rank_search.task.networks.weights import check_finite, load_weights

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "cifar10_resnet20.safetensors"


def network() -> nn.Sequential:
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 4, 3), bn=nn.BatchNorm2d(4), linear=nn.Linear(4, 2)))


def random_state(model: nn.Module) -> dict[str, Tensor]:
    state = {key: value.clone() for key, value in model.state_dict().items()}
    return {key: torch.rand_like(value) if value.is_floating_point() else value + 5 for key, value in state.items()}


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "optimizer": {"lr": 0.1}},
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {"state_dict": {f"module.{key}": value for key, value in state.items()}},
        lambda state: OrderedDict(state),
    ],
)
@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_a_torch_file_is_loaded_however_the_state_is_wrapped(
    tmp_path: Path, suffix: str, wrap: Callable[[dict[str, Tensor]], dict[str, Any]]
) -> None:
    model, path = network(), tmp_path / f"w{suffix}"
    state = random_state(model)
    torch.save(wrap(state), path)
    load_weights(model, path)
    assert same(model.state_dict(), state)


def test_a_safetensors_file_is_loaded_from_a_path_or_its_text(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    for form in (path, str(path)):
        model = network()
        state = random_state(model)
        write_tensors(path, state)
        load_weights(model, form)
        assert same(model.state_dict(), state)


def test_a_model_whose_own_names_start_with_module_keeps_the_prefix(tmp_path: Path) -> None:
    model = nn.Sequential(OrderedDict(module=nn.Linear(2, 2)))
    state = random_state(model)
    torch.save(state, tmp_path / "w.pt")
    load_weights(model, tmp_path / "w.pt")
    assert same(model.state_dict(), state)


@pytest.mark.skipif(not SHARED.is_file(), reason="the shared network is not there")
def test_the_shared_file_fills_every_parameter_and_statistic_of_resnet20() -> None:
    from safetensors.torch import load_file

    stored = load_file(SHARED)
    loaded = load_model("cifar_resnet20", SHARED).state_dict()
    assert {key for key in loaded if not key.endswith("num_batches_tracked")} == set(stored)
    assert all(torch.equal(loaded[key], value) for key, value in stored.items())


def test_half_precision_values_are_cast_to_the_models_dtype(tmp_path: Path) -> None:
    model = network()
    state = {key: value.half() if value.is_floating_point() else value for key, value in random_state(model).items()}
    torch.save(state, tmp_path / "w.pt")
    load_weights(model, tmp_path / "w.pt")
    assert model.conv.weight.dtype == torch.float32
    assert torch.equal(model.conv.weight, state["conv.weight"].float())


def test_loading_keeps_parameters_that_an_optimiser_holds(tmp_path: Path) -> None:
    model = network()
    held = model.conv.weight
    torch.save(random_state(model), tmp_path / "w.pt")
    load_weights(model, tmp_path / "w.pt")
    assert model.conv.weight is held


def without(*keys: str) -> Callable[[dict[str, Any]], object]:
    return lambda state: [state.pop(key) for key in keys]


def put(key: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda state: state.update({key: value})


def spoil(key: str, *values: float) -> Callable[[dict[str, Any]], object]:
    def change(state: dict[str, Any]) -> None:
        state[key].view(-1)[: len(values)] = torch.tensor(values)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("conv.weight"), r"1 key \(conv.weight\) missing"),
        (
            without("conv.weight", "conv.bias", "bn.weight", "bn.bias"),
            r"4 keys \(conv.weight, conv.bias, bn.weight, ...\) missing",
        ),
        (put("extra", torch.zeros(1)), r"1 key \(extra\) unexpected"),
        (
            lambda state: state.update(other=state.pop("linear.bias")),
            r"\(linear.bias\) missing, and 1 key \(other\) un",
        ),
        (put("linear.weight", torch.zeros(2, 5)), r"'linear.weight' has shape \[2, 5\]; the model's is \[2, 4\]"),
        (put("linear.weight", torch.zeros(4, 2)), r"'linear.weight' has shape \[4, 2\]; the model's is \[2, 4\]"),
        (put("linear.bias", 3), "'linear.bias' is of type int; expected a tensor"),
        (
            put("linear.bias", torch.zeros(2, dtype=torch.int8)),
            "'linear.bias' is stored as strided int8; expected a de",
        ),
        (put("linear.bias", torch.zeros(2).to_sparse()), "'linear.bias' is stored as sparse_coo float32; expected"),
        (spoil("linear.weight", torch.nan, torch.nan), "'linear.weight' has 2 of 8 values that are NaN or infinite"),
        (spoil("bn.running_var", -torch.inf), "'bn.running_var' has 1 of 4 values that are NaN or infinite"),
        (put("linear.bias", torch.tensor([1e300, 0.0], dtype=torch.float64)), "'linear.bias' has 1 of 2 values that"),
    ],
)
@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
def test_a_state_that_does_not_fit_is_refused_in_one_line_and_the_model_stays(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    model, path = network(), tmp_path / "w.pt"
    before = copy.deepcopy(model.state_dict())
    state = random_state(model)
    change(state)
    torch.save(state, path)
    with pytest.raises(WeightsError, match=message) as caught:
        load_weights(model, path)
    assert str(caught.value).isprintable()
    assert str(path) in str(caught.value)
    assert same(model.state_dict(), before)


def test_a_module_that_refuses_late_leaves_the_model_unchanged(tmp_path: Path) -> None:
    class Stubborn(nn.Linear):
        def _load_from_state_dict(self, *args: Any, **options: Any) -> None:
            super()._load_from_state_dict(*args, **options)
            if not self.weight.eq(self.weight[0, 0]).all():
                raise ValueError("only constants\nplease")

    model = nn.Sequential(nn.Linear(2, 2), Stubborn(2, 2))
    nn.init.ones_(model[1].weight)
    before = copy.deepcopy(model.state_dict())
    torch.save(random_state(model), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"does not fit the model: only constants please$"):
        load_weights(model, tmp_path / "w.pt")
    assert same(model.state_dict(), before)


class NotATensor:
    """Something that only a full unpickler would build."""


def _write_program(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scripting is deprecated; its files are there
        torch.jit.save(torch.jit.trace(nn.Linear(1, 1), torch.zeros(1, 1)), path)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("none.pt", None, "does not exist"),
        ("none.safetensors", None, "does not exist"),
        ("folder.pt", Path.mkdir, "is not a file"),
        ("w.onnx", Path.touch, "has the suffix '.onnx'; weights are read from .safetensors, .pt, .pth files"),
        ("w", Path.touch, "has the suffix ''"),
        ("empty.pt", Path.touch, "is not a readable file of plain tensors"),
        ("empty.safetensors", Path.touch, "is not a readable safetensors file"),
        ("text.pt", lambda path: path.write_text("weights"), "is not a readable file of plain tensors"),
        ("text.safetensors", lambda path: path.write_text("weights " * 9), "is not a readable safetensors file"),
        (
            "pickled.pt",
            lambda path: torch.save(NotATensor(), path),
            r"objects \([\w.]+\.NotATensor\), not",
        ),
        (
            "module.pt",
            lambda path: torch.save(nn.Linear(1, 1), path),
            r"whole pickled .*\.Linear\), .*model.state_dict",
        ),
        ("program.pt", _write_program, r"is a TorchScript program, not tensors: load it with torch\.jit\.load"),
        ("list.pt", lambda path: torch.save([torch.zeros(1)], path), "holds a list; expected a state dict"),
        ("tensor.pt", lambda path: torch.save(torch.zeros(1), path), "holds a Tensor; expected a state dict"),
        ("numbers.pt", lambda path: torch.save({0: torch.zeros(1)}, path), "expected a state dict"),
        ("nothing.pt", lambda path: torch.save({}, path), r"8 keys \(conv.weight, .*missing"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_one_line(
    tmp_path: Path, name: str, write: Callable[[Path], object] | None, message: str
) -> None:
    model, path = network(), tmp_path / name
    before = copy.deepcopy(model.state_dict())
    if write is not None:
        write(path)
    with pytest.raises(WeightsError, match=message) as caught:
        load_weights(model, path)
    assert str(caught.value).isprintable()
    assert str(path) in str(caught.value)
    assert same(model.state_dict(), before)


def test_a_torch_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save(random_state(network()), path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(WeightsError, match=r"w\.pt is damaged or incomplete: .*; copy it again$"):
        load_weights(network(), path)


def test_check_finite_names_the_first_bad_tensor_and_counts() -> None:
    model = network()
    check_finite(model)
    with torch.no_grad():
        model.linear.bias[0] = torch.nan
    with pytest.raises(WeightsError, match=r"'linear.bias' of the model has 1 of 2 values that are NaN or infinite"):
        check_finite(model)
    model.bn.running_mean[:3] = torch.inf
    with pytest.raises(WeightsError, match=r"'bn.running_mean' of the model has 3 of 4 values"):
        check_finite(model)
