"""Models by name: geometry against closed forms and published numbers, the shared network, and what cannot be built."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rank_search.errors import InvalidInputError, PluginError, UnknownNameError, WeightsError
from rank_search.task.data.load_data import load_data
from rank_search.task.networks.cifar_resnet import BasicBlock
from rank_search.task.networks.models import NAMES, load_model

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def macs(model: nn.Module, *shape: int) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, *shape))
    return int(counter.get_total_flops()) // 2


def test_resnet20_has_the_published_size_and_cost() -> None:
    model = load_model("cifar_resnet20")
    assert parameters(model) == 269_722
    stem, classifier = 32 * 32 * 27 * 16, 64 * 10
    first = 6 * 32 * 32 * 9 * 16 * 16
    second = 16 * 16 * 9 * 32 * (16 + 5 * 32)
    third = 8 * 8 * 9 * 64 * (32 + 5 * 64)
    assert macs(model, 3, 32, 32) == stem + first + second + third + classifier == 40_551_040


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_every_depth_of_the_paper_has_the_size_that_its_table_6_gives(depth: int, millions: float) -> None:
    model = load_model(f"cifar_resnet{depth}")
    assert round(parameters(model) / 1e6, 1 if millions > 1 else 2) == millions
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) + 1 == depth


def test_cifar_resnet_takes_any_number_of_classes_and_channels() -> None:
    model = load_model("cifar_resnet8", classes=7, in_channels=1)
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 7)


def test_the_shortcut_subsamples_and_puts_new_channels_half_before_half_after() -> None:
    block = BasicBlock(2, 4, stride=2).eval()
    nn.init.zeros_(block.conv2.weight)
    features = torch.rand(3, 2, 5, 5)
    out = block(features)
    assert out.shape == (3, 4, 3, 3)
    for channel, source in enumerate((None, 0, 1, None)):
        for row in range(3):
            for column in range(3):
                expected = torch.zeros(3) if source is None else features[:, source, 2 * row, 2 * column]
                assert torch.equal(out[:, channel, row, column], expected)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared network and images are not there")
def test_the_shared_network_scores_as_documented() -> None:
    file = SHARED / "cifar10_validation.npz"
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    data = load_data("npz", train=str(file), validation=str(file), mean=mean, std=std)
    model = load_model("cifar_resnet20", SHARED / "cifar10_resnet20.safetensors")
    with torch.inference_mode():
        right = sum(
            int((model(images).argmax(dim=1) == labels).sum()) for images, labels in data.batches(data.validation, 500)
        )
    assert len(data.validation) == 3000
    assert round(100 * right / 3000, 2) == pytest.approx(91.87, abs=0.04)  # one image more or less by rounding


def test_digits_net_has_the_cost_of_its_closed_form_and_is_small() -> None:
    model = load_model("digits_net")
    expected = 64 * 9 * (1 * 16 + 16 * 16) + 16 * 9 * (16 * 32 + 32 * 32 + 32 * 64) + 64 * 10
    assert macs(model, 1, 8, 8) == expected == 673_408
    narrow = load_model("digits_net", classes=3, width=8)
    convolutions = 9 * (1 * 8 + 8 * 8 + 8 * 16 + 16 * 16 + 16 * 32)
    assert parameters(narrow) == convolutions + 2 * (8 + 8 + 16 + 16 + 32) + 32 * 3 + 3
    assert narrow(torch.zeros(2, 1, 8, 8)).shape == (2, 3)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Threads cost more than they bring in a network this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_digits_net_learns_the_digits_in_ten_epochs() -> None:
    torch.manual_seed(0)
    data = load_data("digits")
    model = load_model("digits_net").train()
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=10)
    for _ in range(10):
        for images, labels in data.train_batches(64, generator):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimiser.step()
        schedule.step()
    model.eval()
    assert data.test is not None
    with torch.inference_mode():
        (images, labels), *_ = data.batches(data.test, 300)
        accuracy = float((model(images).argmax(dim=1) == labels).float().mean())
    assert accuracy >= 0.97


@pytest.mark.parametrize("name", ["digits_net", "cifar_resnet8", "torchvision:squeezenet1_1"])
def test_a_model_comes_in_evaluation_mode(name: str) -> None:
    assert not any(module.training for module in load_model(name).modules())


def test_weights_are_loaded_and_the_same_seed_draws_the_same_model(tmp_path: Path) -> None:
    torch.manual_seed(3)
    first = load_model("digits_net")
    torch.manual_seed(3)
    second = load_model("digits_net")
    third = load_model("digits_net")
    torch.save(first.state_dict(), tmp_path / "weights.pt")
    loaded = load_model("digits_net", tmp_path / "weights.pt")
    images = torch.rand(4, 1, 8, 8)
    assert torch.equal(first(images), second(images))
    assert not torch.equal(first(images), third(images))
    assert torch.equal(first(images), loaded(images))
    with pytest.raises(WeightsError, match="linear"):
        load_model("digits_net", tmp_path / "weights.pt", classes=4)


def test_torchvision_models_take_their_options_and_download_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("a download was tried")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    assert load_model("torchvision:mobilenet_v2", num_classes=7)(torch.zeros(1, 3, 32, 32)).shape == (1, 7)
    load_model("torchvision:lraspp_mobilenet_v3_large")  # by itself it fetches a backbone
    for option in ("pretrained", "weights_backbone", "pretrained_backbone"):
        with pytest.raises(InvalidInputError, match=f"'{option}' would download"):
            load_model("torchvision:lraspp_mobilenet_v3_large", **{option: "DEFAULT"})


def test_an_option_that_torchvision_refuses_is_told_with_its_reason() -> None:
    with pytest.raises(InvalidInputError, match=r"'torchvision:resnet18' does not take the options .*num_clases"):
        load_model("torchvision:resnet18", num_clases=7)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("digit_net", "did you mean 'digits_net'"),
        ("cifar_resnet", "did you mean 'cifar_resnet"),
        ("torchvision:resnet_18", "did you mean 'resnet18'"),
        ("resnet18", "did you mean 'torchvision:resnet18'"),
        ("cifar_resnet18", r"did you mean 'cifar_resnet20'.*6n \+ 2.*8, 14, 20"),
        ("cifar_resnet2", r"did you mean 'cifar_resnet8'.*6n \+ 2"),
        ("cifar_resnet0", r"6n \+ 2"),
        ("cifar_resnet-20", "did you mean 'cifar_resnet20'"),
        ("no_such_package_here:build", "no_such_package_here"),
        ("math:squirt", "did you mean 'sqrt'"),
        ("", "known: digits_net"),
    ],
)
def test_an_unknown_name_is_refused_in_one_line_that_helps(name: str, hint: str) -> None:
    with pytest.raises(UnknownNameError, match=hint) as caught:
        load_model(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("clases", 10, "no option 'clases' .did you mean 'classes'"),
        ("classes", 0, "option 'classes' is 0: .*greater than 0"),
        ("classes", "ten", "option 'classes' is 'ten': .*integer"),
    ],
)
def test_a_wrong_option_is_named(name: str, option: str, value: object, message: str) -> None:
    with pytest.raises(InvalidInputError, match=f"model '{name}'.*{message}"):
        load_model(name, **{option: value})


def test_a_function_of_the_user_builds_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models_of_a_user.py").write_text(
        "from torch import nn\n"
        "def build(width, deep=False):\n    return nn.Sequential(nn.Linear(width, 2), nn.Dropout())\n"
        "def number():\n    return 3\n"
        "def broken():\n    raise KeyError('width')\n"
        "constant = 4\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    model = load_model("models_of_a_user:build", width=5)
    assert model(torch.zeros(1, 5)).shape == (1, 2)
    assert not model.training
    with pytest.raises(InvalidInputError, match=r"no option 'widht' .did you mean 'width'.*its options: width, deep"):
        load_model("models_of_a_user:build", widht=5)
    with pytest.raises(InvalidInputError, match="needs the option 'width'"):
        load_model("models_of_a_user:build")
    with pytest.raises(PluginError, match="returned an int; it must return a Module"):
        load_model("models_of_a_user:number")
    with pytest.raises(PluginError, match="raised KeyError: 'width'"):
        load_model("models_of_a_user:broken")
    with pytest.raises(PluginError, match="is an int; give a function"):
        load_model("models_of_a_user:constant")
    with pytest.raises(UnknownNameError, match="did you mean 'build'"):
        load_model("models_of_a_user:biuld")


def test_the_deepest_network_is_finite_at_initialisation() -> None:
    torch.manual_seed(0)
    images = torch.from_numpy(np.random.RandomState(0).rand(2, 3, 32, 32)).float()
    assert torch.isfinite(load_model("cifar_resnet110")(images)).all()
