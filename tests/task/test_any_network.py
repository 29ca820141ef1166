"""Any network, end to end: text, two inputs, dense prediction, an autoencoder, embeddings without any targets.

Each goes from an example nest through its rank space and four searches to a fine-tuned network that is read back.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import rank_search
from rank_search import Budget, RankPlan, RankSpace, Recipe, Task, TensorData
from rank_search.errors import DataError, InvalidInputError, UnknownNameError
from rank_search.nests import call, mapped
from rank_search.task import Limits

pytestmark = pytest.mark.usefixtures("single_thread")

TOKENS, LENGTH, WIDTH = 11, 7, 16
TRAIN, VALIDATION = 26, 10


@dataclass
class TextAnswer:
    logits: Tensor
    hidden: Tensor | None = None


class Block(nn.Module):
    """Causal attention of two heads, and a feed-forward of twice the width."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        n, length, _ = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, length, 3, 2, WIDTH // 2).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        x = x + self.out(attended.transpose(1, 2).reshape(n, length, WIDTH))
        result: Tensor = x + self.down(F.gelu(self.up(self.norm2(x))))
        return result


class TextNet(nn.Module):
    """A decoder that is called by name and answers with an object, as those of transformers are."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(TOKENS, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, TOKENS, bias=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> TextAnswer:
        length = input_ids.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=input_ids.device).tril()
        allowed = causal & attention_mask.bool()[:, None, None, :]
        x = self.tokens(input_ids) + self.places(torch.arange(length, device=input_ids.device))
        for block in self.blocks:
            x = block(x, allowed)
        return TextAnswer(self.head(self.norm(x)), x)


class PairNet(nn.Module):
    """A number from an image and a row of a table."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.table, self.mix, self.head = nn.Linear(6, 12), nn.Linear(20, 16), nn.Linear(16, 2)

    def forward(self, image: Tensor, row: Tensor) -> Tensor:
        seen = F.relu(self.norm(self.conv(image))).mean((2, 3))
        result: Tensor = self.head(F.relu(self.mix(torch.cat([seen, F.relu(self.table(row))], 1))))
        return result


class PixelNet(nn.Module):
    """Classes of pixels, in a mapping as torchvision's have it."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.norm1 = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8)
        self.middle, self.norm2 = nn.Conv2d(8, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12)
        self.up, self.head = nn.ConvTranspose2d(12, 8, 2, stride=2), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = F.relu(self.norm2(self.middle(F.relu(self.norm1(self.down(x))))))
        features = F.relu(self.up(x))
        return {"features": features, "out": self.head(features)}


class AutoEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 6))
        self.decode = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 20))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.decode(self.encode(x))
        return result


class EmbeddingNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv1d(3, 12, 3, padding=1), nn.BatchNorm1d(12)
        self.second, self.out = nn.Conv1d(12, 12, 3, padding=1), nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.second(F.relu(self.norm(self.first(x)))))
        result: Tensor = self.out(x.mean(2))
        return result


@dataclass
class Case:
    """A network, its data and its objective, with its MACs worked out by hand."""

    make: Callable[[], nn.Module]
    samples: Callable[[int, int], tuple[Any, Any]]
    objective: Any
    macs: int
    measure: str
    trains: dict[str, Any] = field(default_factory=lambda: {"epochs": 1})

    def net(self) -> nn.Module:
        """Random weights; norms have seen a batch."""
        with torch.random.fork_rng():
            torch.manual_seed(1)
            net = self.make().train()
            with torch.no_grad():
                call(net, self.samples(16, 5)[0])
        return net.eval()

    def data(self) -> TensorData:
        return TensorData(self.samples(TRAIN, 2), self.samples(VALIDATION, 3), self.samples(4, 4))


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def text(count: int, seed: int) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, LENGTH + 1, (count, 1), generator=generator)
    ids = torch.randint(0, TOKENS, (count, LENGTH), generator=generator)
    return {"input_ids": ids, "attention_mask": (torch.arange(LENGTH) < lengths).long()}, None


def pairs(count: int, seed: int) -> tuple[Any, Any]:
    image, row = drawn(count, 2, 6, 6, seed=seed), drawn(count, 6, seed=seed + 50)
    return (image, row), torch.stack([row.sum(1), image.mean((1, 2, 3))], 1)


def pixels(count: int, seed: int) -> tuple[Any, Any]:
    images = drawn(count, 3, 8, 8, seed=seed)
    labels = images.argmax(1)
    labels[:, :2] = 255
    return images, labels


def rows(count: int, seed: int) -> tuple[Any, Any]:
    table = drawn(count, 20, seed=seed)
    return table, table


def signals(count: int, seed: int) -> tuple[Any, Any]:
    return drawn(count, 3, 9, seed=seed), None


BLOCK_MACS = LENGTH * (3 * WIDTH**2 + WIDTH**2 + 4 * WIDTH**2) + 2 * LENGTH * LENGTH * WIDTH
CASES = {
    "text": Case(TextNet, text, "language_modelling", 2 * BLOCK_MACS + LENGTH * WIDTH * TOKENS, "perplexity"),
    "pair": Case(PairNet, pairs, "regression", 36 * 9 * 2 * 8 + 6 * 12 + 20 * 16 + 16 * 2, "rmse"),
    "pixels": Case(
        PixelNet,
        pixels,
        "segmentation",
        16 * 9 * 3 * 8 + 16 * 9 * 8 * 12 + 16 * 4 * 12 * 8 + 64 * 8 * 4,
        "iou",
    ),
    "autoencoder": Case(AutoEncoder, rows, "regression", 2 * (20 * 16 + 16 * 6), "rmse"),
    "embedding": Case(EmbeddingNet, signals, "embedding", 9 * 3 * 3 * 12 + 9 * 3 * 12 * 12 + 12 * 10, "cosine"),
}
RECIPE = Recipe(epochs=1, lr=0.01, batch_size=8)
KEPT = 0.7


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def one(inputs: Any) -> Any:
    return mapped(inputs, lambda tensor: tensor[:1])


def counted(net: nn.Module, inputs: Any) -> dict[str, int]:
    """Parameters, and half the FLOPs of the first sample under the attention that the counter sees in full."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        call(net.eval(), one(inputs))
    flops = counter.get_total_flops()
    assert flops % 2 == 0
    return {"params": sum(p.numel() for p in net.parameters()), "macs": flops // 2}


def space_of(case: Case, net: nn.Module) -> RankSpace:
    return RankSpace.from_model(net, case.samples(3, 2)[0])


def task_of(case: Case, **options: Any) -> Task:
    net = case.net()
    options = {"objective": case.objective, **options}
    return Task(net, space_of(case, net), Budget(macs=KEPT), case.data(), RECIPE, **options)


def tensor_of(outputs: Any) -> Tensor:
    """The tensor that counts, as each of these networks puts it out."""
    found = (
        outputs.logits if isinstance(outputs, TextAnswer) else outputs["out"] if isinstance(outputs, dict) else outputs
    )
    assert isinstance(found, Tensor)
    return found


SEARCHES: list[tuple[str, Limits, dict[str, Any]]] = [
    ("knapsack", Limits(), {}),
    ("tpe", Limits(evaluations=4), {}),
    ("batude", Limits(), {"epochs": 1}),
    ("relaxation", Limits(), {"rounds": 4, "iterations": 4}),
]


def test_the_costs_of_a_network_are_counted_by_hand_and_by_torch(case: Case) -> None:
    net = case.net()
    space = space_of(case, net)
    cost = counted(net, case.samples(3, 2)[0])
    assert cost["macs"] == case.macs
    assert dict(space.dense_cost) == cost


def test_the_space_has_every_layer_that_a_low_rank_can_make_cheaper() -> None:
    names = {name: set(space_of(case, case.net()).dense) for name, case in CASES.items()}
    block = {"qkv", "out", "up", "down"}
    assert names["text"] == {f"blocks.{i}.{layer}" for i in (0, 1) for layer in block} | {"head"}
    assert names["pair"] == {"conv", "table", "mix", "head"}
    assert names["pixels"] == {"down", "middle", "up", "head"}
    assert names["autoencoder"] == {"encode.0", "encode.2", "decode.0", "decode.2"}
    assert names["embedding"] >= {"second", "out"}


@pytest.mark.parametrize(("searcher", "limits", "options"), SEARCHES, ids=[name for name, _, _ in SEARCHES])
def test_every_search_ends_with_a_network_within_the_budget_that_trains_and_is_read_back(
    case: Case, searcher: str, limits: Limits, options: dict[str, Any], tmp_path: Path
) -> None:
    task = task_of(case)
    limit = int(KEPT * case.macs)
    result = rank_search.search(task, searcher, limits, **options)
    assert result.trials
    for trial in result.trials:
        assert task.space.cost(trial.plan)["macs"] <= limit
    inputs = case.samples(5, 9)[0]
    compressed = task.compress(result.plan, trained=result.trained)
    cost = counted(compressed, inputs)
    assert cost["macs"] <= limit
    assert dict(result.cost) == cost

    before = [parameter.detach().clone() for parameter in compressed.parameters()]
    small = task.finetune(result.plan, epochs=1, trained=result.trained)
    assert counted(small, inputs) == cost
    after = list(small.parameters())
    assert [p.shape for p in after] == [p.shape for p in before]
    assert any(not torch.equal(p, q) for p, q in zip(before, after, strict=True))
    measures = task.validate(small).measures
    assert case.measure in measures
    assert all(torch.isfinite(torch.tensor(value)) for value in measures.values())

    folder = rank_search.save(small, tmp_path / "small")
    again = rank_search.load(folder, case.make).eval()
    with torch.no_grad():
        wanted, found = tensor_of(call(small.eval(), inputs)), tensor_of(call(again, inputs))
    assert torch.equal(found, wanted)
    assert rank_search.plan_of(again) == result.plan


def test_a_search_leaves_the_dense_network_and_the_data_as_they_were(case: Case) -> None:
    net, data = case.net(), case.data()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    samples = copy.deepcopy(data.train.inputs)
    task = Task(net, space_of(case, net), Budget(macs=KEPT), data, RECIPE, objective=case.objective)
    result = rank_search.search(task, "batude", epochs=1)
    task.finetune(result.plan, epochs=1, trained=result.trained)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    left, right = (rank_search.nests.leaves(nest) for nest in (samples, data.train.inputs))
    assert all(torch.equal(one, two) for one, two in zip(left, right, strict=True))


def test_what_the_dense_network_is_worth_is_computed_by_hand() -> None:
    def worth(name: str) -> tuple[dict[str, float], Any, Any]:
        case = CASES[name]
        inputs, targets = case.samples(VALIDATION, 3)
        net = case.net()
        with torch.no_grad():
            outputs = tensor_of(call(net, inputs)).double()
        return dict(task_of(case).validate(net).measures), outputs, targets if targets is not None else inputs

    measures, outputs, targets = worth("pair")
    assert measures["rmse"] == pytest.approx(float((outputs - targets).square().mean().sqrt()), rel=1e-5)
    measures, outputs, targets = worth("autoencoder")
    assert measures["mae"] == pytest.approx(float((outputs - targets).abs().mean()), rel=1e-5)
    measures, outputs, targets = worth("pixels")
    keep = targets != 255
    losses = -outputs.log_softmax(1).movedim(1, -1)[keep].gather(1, targets[keep][:, None])
    assert measures["loss"] == pytest.approx(float(losses.mean()), rel=1e-5)
    measures, outputs, inputs = worth("text")
    wanted = [
        -float(outputs[n, t].log_softmax(0)[inputs["input_ids"][n, t + 1]])
        for n in range(VALIDATION)
        for t in range(LENGTH - 1)
        if inputs["attention_mask"][n, t + 1]
    ]
    assert measures["perplexity"] == pytest.approx(float(torch.tensor(wanted).double().mean().exp()), rel=1e-5)
    measures, _, _ = worth("embedding")
    assert measures["cosine"] == pytest.approx(1.0, abs=1e-6)


def test_an_embedding_is_judged_by_its_cosine_to_the_dense_networks() -> None:
    case = CASES["embedding"]
    task = task_of(case, repair="none", recalibration_samples=0)
    plan = rank_search.search(task, "knapsack").plan
    inputs = case.samples(VALIDATION, 3)[0]
    with torch.no_grad():
        dense, small = (net(inputs).double() for net in (case.net(), task.compress(plan).eval()))
    wanted = float((F.normalize(dense) * F.normalize(small)).sum(1).mean())
    assert wanted < 0.9999
    assert task.evaluate(plan).measures["cosine"] == pytest.approx(wanted, rel=1e-4)


def test_the_fine_tune_brings_an_embedding_nearer_to_the_dense_networks() -> None:
    case = CASES["embedding"]
    task = task_of(case, repair="none")  # a refit leaves too little to gain
    plan = rank_search.search(task, "knapsack").plan
    before = task.validate(task.compress(plan)).measures["cosine"]
    after = task.validate(task.finetune(plan, epochs=8)).measures["cosine"]
    assert after > before


def test_the_common_fine_tune_lowers_the_loss_of_a_pair_network() -> None:
    case = CASES["pair"]
    task = task_of(case)
    plan = rank_search.search(task, "knapsack").plan
    tuned = task.finetune(plan, epochs=20)
    assert task.validate(tuned).score < task.validate(task.compress(plan)).score


@pytest.mark.parametrize("distill", ["logits", "layers"])
def test_both_ways_to_distil_train_every_network(case: Case, distill: str) -> None:
    net = case.net()
    recipe = Recipe(epochs=1, lr=0.01, batch_size=8, distill=distill)
    task = Task(net, space_of(case, net), Budget(macs=KEPT), case.data(), recipe, objective=case.objective)
    plan = rank_search.search(task, "knapsack").plan
    small = task.finetune(plan)
    assert torch.isfinite(torch.tensor(task.validate(small).score))


@pytest.mark.parametrize(
    ("searcher", "options"),
    [
        ("random", {}),
        ("uniform", {}),
        ("batude_gradient", {"epochs": 1}),
        ("relaxation_outputs", {"rounds": 2, "iterations": 2, "batch_size": 8}),
        (
            "ortos",
            {"lowest": 1, "highest": 3, "step": 2, "shrink": 2, "warm_up": 1, "iterations": 2, "batch_size": 8},
        ),
    ],
)
def test_the_other_searches_keep_the_budget_too(case: Case, searcher: str, options: dict[str, Any]) -> None:
    task = task_of(case)
    result = rank_search.search(task, searcher, Limits(evaluations=3), **options)
    cost = counted(task.compress(result.plan, trained=result.trained), case.samples(2, 9)[0])
    assert dict(result.cost) == cost
    assert cost["macs"] <= int(KEPT * case.macs)


class TiedTextNet(TextNet):
    """The head is the embedding, as in many language models."""

    def __init__(self) -> None:
        super().__init__()
        self.head.weight = self.tokens.weight


def bfloat16_text_net() -> nn.Module:
    return TextNet().bfloat16()


def float64_text_net() -> nn.Module:
    return TextNet().double()


@pytest.mark.parametrize("make", [TiedTextNet, bfloat16_text_net, float64_text_net])
@pytest.mark.parametrize(("searcher", "options"), [("knapsack", {}), ("batude", {"epochs": 1})])
def test_a_budget_of_bytes_holds_for_tied_weights_and_other_dtypes(
    make: Callable[[], nn.Module], searcher: str, options: dict[str, Any], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net, case = make().eval(), CASES["text"]
    inputs = case.samples(3, 8)[0]

    def stored(network: nn.Module) -> int:
        state = network.state_dict().values()
        return sum({value.data_ptr(): value.numel() * value.element_size() for value in state}.values())

    space = RankSpace.from_model(net, inputs, metrics=["bytes"])
    task = Task(net, space, Budget(bytes=0.7), case.data(), RECIPE, objective="language_modelling")
    result = rank_search.search(task, searcher, **options)
    small = task.finetune(result.plan, epochs=1, trained=result.trained)
    assert space.dense_cost["bytes"] == stored(net)
    assert result.cost["bytes"] == stored(small) <= 0.7 * stored(net)
    assert {p.dtype for p in small.parameters()} == {p.dtype for p in net.parameters()}
    again = rank_search.load(rank_search.save(small, tmp_path / "small"), make).eval()
    with torch.no_grad():
        assert torch.equal(tensor_of(call(again, inputs)), tensor_of(call(small.eval(), inputs)))


def test_batches_in_which_nothing_counts_do_not_stop_a_fine_tune() -> None:
    case = CASES["pixels"]
    net = case.net()
    images, labels = case.samples(16, 2)
    labels[1:] = 255
    data = TensorData((images, labels), case.samples(VALIDATION, 3))
    recipe = Recipe(epochs=1, lr=0.01, batch_size=4)
    task = Task(net, space_of(case, net), Budget(macs=KEPT), data, recipe, objective=case.objective)
    small = task.finetune(rank_search.search(task, "knapsack").plan)
    assert all(bool(torch.isfinite(parameter).all()) for parameter in small.parameters())


# -- what does not fit -------------------------------------------------------------------------------------------------


def refused(case: Case, objective: Any, error: type[Exception], data: TensorData | None = None) -> str:
    net = case.net()
    space = space_of(case, net)
    with pytest.raises(error) as caught:
        Task(net, space, Budget(macs=KEPT), data or case.data(), RECIPE, objective=objective)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "objective", "shapes"),
    [
        ("autoencoder", "classification", ["20]"]),
        ("autoencoder", None, ["20]"]),
        ("autoencoder", "segmentation", ["20]"]),
        ("pair", "classification", ["2]"]),
        ("pixels", "classification", ["4, 8, 8]", "8, 8]"]),
        ("pixels", "regression", ["4, 8, 8]", "8, 8]"]),
        ("autoencoder", "language_modelling", ["20]"]),
    ],
)
def test_an_objective_that_does_not_fit_is_refused_when_the_task_is_made(
    name: str, objective: str | None, shapes: list[str]
) -> None:
    message = refused(CASES[name], objective, InvalidInputError)
    assert message.count(shapes[0]) >= (2 if len(shapes) == 1 else 1)
    for shape in shapes:
        assert shape in message


@pytest.mark.parametrize("name", ["text", "embedding"])
@pytest.mark.parametrize("objective", ["classification", None, "regression", "multilabel", "segmentation"])
def test_data_without_targets_is_refused_by_an_objective_that_needs_them(name: str, objective: str | None) -> None:
    assert "targets" in refused(CASES[name], objective, DataError)


def test_an_unknown_objective_is_refused_with_the_nearest() -> None:
    assert "did you mean 'regression'" in refused(CASES["pair"], "regresion", UnknownNameError)


def test_labels_that_no_output_stands_for_are_refused_or_said_in_one_line() -> None:
    case = CASES["autoencoder"]
    inputs = drawn(12, 20, seed=0)
    labels = torch.arange(12) + 12
    data = TensorData((inputs, labels), (inputs, labels))
    net = case.net()
    with pytest.raises(rank_search.RankSearchError) as caught:
        Task(net, space_of(case, net), Budget(macs=KEPT), data, RECIPE).validate(net)
    assert "\n" not in str(caught.value)


def test_labels_of_32_bits_are_as_good_or_refused_when_the_task_is_made() -> None:
    case = CASES["autoencoder"]
    inputs, labels = drawn(12, 20, seed=0), (torch.arange(12) % 20).int()
    net = case.net()
    try:
        task = Task(net, space_of(case, net), Budget(macs=KEPT), TensorData((inputs, labels), (inputs, labels)), RECIPE)
    except InvalidInputError:
        return
    with torch.no_grad():
        wanted = F.cross_entropy(net(inputs), labels.long())
    assert task.validate(net).score == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize("labels", [torch.arange(12) + 20, torch.arange(12) - 1])
def test_labels_that_no_output_of_the_first_samples_stands_for_are_refused_when_the_task_is_made(
    labels: Tensor,
) -> None:
    inputs = drawn(12, 20, seed=0)
    refused(CASES["autoencoder"], "classification", InvalidInputError, TensorData((inputs, labels), (inputs, labels)))


def test_a_plan_is_read_from_a_network_that_was_never_compressed_as_dense() -> None:
    assert rank_search.plan_of(CASES["text"].net()) == RankPlan({})
