"""Multiply-adds of every kind of operator against formulas by hand, whatever torch fuses, and nothing 0 in silence."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from math import prod
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torchvision.ops import DeformConv2d

from rank_search.space import RankSpace
from rank_search.space.layers.counting import Count, count

Function = Callable[[Tensor], Any]
LENGTH, KEYS, WIDTH, VALUES, HEADS = 5, 7, 8, 6, 2


class Runs(nn.Module):
    """A function as a network; tensors and modules that it works with follow it to other dtypes."""

    def __init__(self, function: Callable[..., Any], *held: Tensor | nn.Module) -> None:
        super().__init__()
        self.function, self.inference = function, False
        for place, one in enumerate(held):
            if isinstance(one, nn.Module):
                self.add_module(f"held{place}", one)
            else:
                self.register_buffer(f"held{place}", one)
        self.names = [f"held{place}" for place in range(len(held))]

    def forward(self, inputs: Tensor) -> Any:
        with torch.inference_mode() if self.inference else nullcontext():
            return self.function(inputs, *(getattr(self, name) for name in self.names))


@contextmanager
def without_onednn() -> Iterator[None]:
    with torch.backends.mkldnn.flags(enabled=False):
        yield


def is_counted(model: nn.Module, example: Tensor, macs: int) -> None:
    """The count is this one, and the same without oneDNN, in float64, in inference mode and inside of any backend."""
    wanted = Count(macs)
    assert count(model, example) == wanted
    with without_onednn():
        assert count(model, example) == wanted
    for backend in (SDPBackend.MATH, SDPBackend.FLASH_ATTENTION):
        with sdpa_kernel(backend):
            assert count(model, example) == wanted
    with torch.inference_mode():
        assert count(model, example) == wanted
    double = copy.deepcopy(model).double()
    assert count(double, example.double() if example.is_floating_point() else example) == wanted
    inside = model if isinstance(model, Runs) else Runs(lambda x, module: module(x), model)
    inside.inference = True
    assert count(inside, example) == wanted


# -- attention ---------------------------------------------------------------------------------------------------------


def heads(length: int, width: int, count: int = HEADS) -> Tensor:
    return torch.randn(1, count, length, width)


@pytest.mark.parametrize("options", [{}, {"attn_mask": torch.ones(LENGTH, KEYS, dtype=torch.bool)}, {"scale": 0.5}])
def test_attention_is_the_scores_and_the_weighted_sum_of_values(options: dict[str, Any]) -> None:
    """Every query meets every key along ``E`` numbers, then every value along ``F``; a mask saves nothing."""
    keys, values = heads(KEYS, WIDTH), heads(KEYS, VALUES)
    model = Runs(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **options), keys, values)
    is_counted(model, heads(LENGTH, WIDTH), HEADS * LENGTH * KEYS * (WIDTH + VALUES))


def test_causal_attention_and_attention_with_shared_key_heads_count_every_query_head() -> None:
    causal = Runs(lambda q: F.scaled_dot_product_attention(q, q, q, is_causal=True))
    is_counted(causal, heads(LENGTH, WIDTH), HEADS * LENGTH * LENGTH * 2 * WIDTH)
    grouped = Runs(lambda q, k: F.scaled_dot_product_attention(q, k, k, enable_gqa=True), heads(KEYS, WIDTH, 2))
    is_counted(grouped, heads(LENGTH, WIDTH, 6), 6 * LENGTH * KEYS * 2 * WIDTH)


@pytest.mark.parametrize("backend", [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH])
def test_a_network_that_chooses_its_attention_kernel_itself_is_counted_as_any(backend: SDPBackend) -> None:
    def attend(q: Tensor, k: Tensor) -> Tensor:
        with sdpa_kernel(backend):
            return F.scaled_dot_product_attention(q, k, k)

    is_counted(Runs(attend, heads(KEYS, WIDTH)), heads(LENGTH, WIDTH), HEADS * LENGTH * KEYS * 2 * WIDTH)


@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_multi_head_attention_is_four_projections_and_the_attention(weights: bool, masked: bool) -> None:
    attention, mask = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True), torch.zeros(LENGTH, LENGTH)
    model = Runs(
        lambda x, m, mask: m(x, x, x, need_weights=weights, attn_mask=mask if masked else None), attention, mask
    )
    is_counted(model, torch.randn(1, LENGTH, WIDTH), 4 * LENGTH * WIDTH**2 + 2 * LENGTH**2 * WIDTH)


def test_attention_over_another_sequence_projects_its_keys_and_values_from_their_widths() -> None:
    attention = nn.MultiheadAttention(WIDTH, HEADS, kdim=3, vdim=4, batch_first=True)
    keys, values = torch.randn(1, KEYS, 3), torch.randn(1, KEYS, 4)
    model = Runs(lambda x, m, k, v: m(x, k, v)[0], attention, keys, values)
    projections = 2 * LENGTH * WIDTH**2 + KEYS * (3 + 4) * WIDTH
    is_counted(model, torch.randn(1, LENGTH, WIDTH), projections + 2 * LENGTH * KEYS * WIDTH)


def test_a_bias_and_a_zero_among_the_keys_are_two_keys_more() -> None:
    attention = nn.MultiheadAttention(WIDTH, HEADS, add_bias_kv=True, add_zero_attn=True, batch_first=True)
    model = Runs(lambda x, m: m(x, x, x)[0], attention)
    macs = 4 * LENGTH * WIDTH**2 + 2 * LENGTH * (LENGTH + 2) * WIDTH
    is_counted(model, torch.randn(1, LENGTH, WIDTH), macs)


SELF = 4 * LENGTH * WIDTH**2 + 2 * LENGTH**2 * WIDTH
FEED = 2 * LENGTH * WIDTH * 12


@pytest.mark.parametrize("first", [True, False])
def test_a_transformer_layer_is_its_attention_and_two_linear_maps(first: bool) -> None:
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 12, batch_first=True, norm_first=first)
    is_counted(layer, torch.randn(1, LENGTH, WIDTH), SELF + FEED)
    encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=not first)
    is_counted(encoder, torch.randn(1, LENGTH, WIDTH), 3 * (SELF + FEED))
    padded = Runs(lambda x, m: m(x, src_key_padding_mask=torch.zeros(1, LENGTH).bool()), encoder)
    is_counted(padded, torch.randn(1, LENGTH, WIDTH), 3 * (SELF + FEED))


def test_a_decoder_layer_attends_twice() -> None:
    layer = nn.TransformerDecoderLayer(WIDTH, HEADS, 12, batch_first=True)
    model = Runs(lambda x, m, memory: m(x, memory), layer, torch.randn(1, KEYS, WIDTH))
    cross = 2 * (LENGTH + KEYS) * WIDTH**2 + 2 * LENGTH * KEYS * WIDTH
    is_counted(model, torch.randn(1, LENGTH, WIDTH), SELF + cross + FEED)


# -- recurrent layers --------------------------------------------------------------------------------------------------

GATES = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}
CELLS = {nn.LSTMCell: 4, nn.GRUCell: 3, nn.RNNCell: 1}
INTO, HIDDEN = 6, 5


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("layers", "both"), [(1, False), (3, False), (1, True), (2, True)])
@pytest.mark.parametrize("kind", GATES)
def test_a_recurrent_layer_applies_both_matrices_at_every_step(
    kind: type[Any], layers: int, both: bool, bias: bool, first: bool
) -> None:
    """``gates x hidden x (input + hidden)`` a step and direction; above the first layer both directions come in."""
    module = kind(INTO, HIDDEN, num_layers=layers, bidirectional=both, bias=bias, batch_first=first)
    model = module if first else Runs(lambda x, m: m(x.transpose(0, 1)), module)
    ways = 2 if both else 1
    inputs = [INTO, *[ways * HIDDEN] * (layers - 1)]
    a_step = sum(ways * GATES[kind] * HIDDEN * (into + HIDDEN) for into in inputs)
    is_counted(model, torch.randn(1, LENGTH, INTO), LENGTH * a_step)


@pytest.mark.parametrize("both", [True, False])
def test_a_projected_lstm_feeds_back_the_projection(both: bool) -> None:
    module = nn.LSTM(INTO, HIDDEN, num_layers=2, proj_size=3, bidirectional=both, batch_first=True)
    ways = 2 if both else 1
    a_step = sum(ways * (4 * HIDDEN * (into + 3) + 3 * HIDDEN) for into in (INTO, ways * 3))
    is_counted(module, torch.randn(1, LENGTH, INTO), LENGTH * a_step)


@pytest.mark.parametrize("kind", GATES)
def test_an_unbatched_and_a_packed_sequence_count_their_steps(kind: type[Any]) -> None:
    module, a_step = kind(INTO, HIDDEN, batch_first=True), GATES[kind] * HIDDEN * (INTO + HIDDEN)
    is_counted(Runs(lambda x, m: m(x[0]), module), torch.randn(1, LENGTH, INTO), LENGTH * a_step)
    pack = nn.utils.rnn.pack_padded_sequence
    packed = Runs(lambda x, m: m(pack(x.expand(2, -1, -1), torch.tensor([4, 2]), batch_first=True)), module)
    is_counted(packed, torch.randn(1, LENGTH, INTO), 6 * a_step)


@pytest.mark.parametrize("kind", CELLS)
def test_a_cell_is_one_step(kind: type[Any]) -> None:
    is_counted(kind(INTO, HIDDEN), torch.randn(1, INTO), CELLS[kind] * HIDDEN * (INTO + HIDDEN))


# -- products ----------------------------------------------------------------------------------------------------------


def test_bilinear_is_its_weight_once_per_sample() -> None:
    model = Runs(lambda x, m, y: m(x, y), nn.Bilinear(3, 4, 5), torch.randn(1, LENGTH, 4))
    is_counted(model, torch.randn(1, LENGTH, 3), LENGTH * 3 * 4 * 5)


@pytest.mark.parametrize(("mode", "rows"), [("sum", 7), ("mean", 7), ("max", 0)])
def test_a_bag_adds_up_rows_of_its_table_and_a_maximum_adds_nothing(mode: str, rows: int) -> None:
    bag = nn.EmbeddingBag(10, WIDTH, mode=mode)
    is_counted(bag, torch.randint(0, 10, (1, 7)), rows * WIDTH)
    offsets = torch.tensor([0, 3])
    is_counted(Runs(lambda x, m: m(x[0], offsets), bag), torch.randint(0, 10, (1, 7)), rows * WIDTH)


def test_a_weighted_bag_counts_as_a_sum() -> None:
    model = Runs(lambda x, m, w: m(x, per_sample_weights=w), nn.EmbeddingBag(10, WIDTH, mode="sum"), torch.randn(1, 7))
    is_counted(model, torch.randint(0, 10, (1, 7)), 7 * WIDTH)


MATMULS = [
    ((4,), (4,), 4),
    ((4,), (4, 5), 20),
    ((3, 4), (4,), 12),
    ((3, 4), (4, 5), 60),
    ((4,), (2, 4, 5), 40),
    ((2, 3, 4), (4,), 24),
    ((3, 4), (2, 4, 5), 120),
    ((2, 3, 4), (4, 5), 120),
    ((2, 3, 4), (2, 4, 5), 120),
    ((2, 1, 3, 4), (6, 4, 5), 720),
    ((2, 6, 3, 4), (2, 6, 4, 5), 720),
    ((3, 1), (1, 5), 15),
]


@pytest.mark.parametrize(("left", "right", "macs"), MATMULS)
def test_a_product_of_any_ranks_is_rows_times_columns_times_length(
    left: tuple[int, ...], right: tuple[int, ...], macs: int
) -> None:
    is_counted(Runs(lambda x, a, b: a @ b, torch.randn(left), torch.randn(right)), torch.zeros(1), macs)


PRODUCTS: dict[str, tuple[Function, int]] = {
    "linear": (lambda x: F.linear(x.new_ones(2, 3, 4), x.new_ones(5, 4), x.new_ones(5)), 6 * 4 * 5),
    "mv": (lambda x: torch.mv(x.new_ones(3, 4), x.new_ones(4)), 12),
    "dot": (lambda x: torch.dot(x.new_ones(4), x.new_ones(4)), 4),
    "vdot": (lambda x: torch.vdot(x.new_ones(4), x.new_ones(4)), 4),
    "inner": (lambda x: torch.inner(x.new_ones(3, 4), x.new_ones(5, 4)), 60),
    "addr": (lambda x: torch.addr(x.new_ones(3, 4), x.new_ones(3), x.new_ones(4)), 12),
    "addmm": (lambda x: torch.addmm(x.new_ones(5), x.new_ones(3, 4), x.new_ones(4, 5)), 60),
    "addmv": (lambda x: torch.addmv(x.new_ones(3), x.new_ones(3, 4), x.new_ones(4)), 12),
    "bmm": (lambda x: torch.bmm(x.new_ones(2, 3, 4), x.new_ones(2, 4, 5)), 120),
    "baddbmm": (lambda x: torch.baddbmm(x.new_ones(2, 3, 5), x.new_ones(2, 3, 4), x.new_ones(2, 4, 5)), 120),
    "addbmm": (lambda x: torch.addbmm(x.new_ones(3, 5), x.new_ones(2, 3, 4), x.new_ones(2, 4, 5)), 120),
    "addmm_": (lambda x: x.new_ones(3, 5).addmm_(x.new_ones(3, 4), x.new_ones(4, 5)), 60),
    "addmv_": (lambda x: x.new_ones(3).addmv_(x.new_ones(3, 4), x.new_ones(4)), 12),
    "addr_": (lambda x: x.new_ones(3, 4).addr_(x.new_ones(3), x.new_ones(4)), 12),
    "baddbmm_": (lambda x: x.new_ones(2, 3, 5).baddbmm_(x.new_ones(2, 3, 4), x.new_ones(2, 4, 5)), 120),
    "addbmm_": (lambda x: x.new_ones(3, 5).addbmm_(x.new_ones(2, 3, 4), x.new_ones(2, 4, 5)), 120),
    "out": (lambda x: torch.mm(x.new_ones(3, 4), x.new_ones(4, 5), out=x.new_ones(3, 5)), 60),
    "tensordot": (lambda x: torch.tensordot(x.new_ones(2, 3, 4), x.new_ones(4, 3, 5), ([1, 2], [1, 0])), 2 * 12 * 5),
    "einsum batched": (lambda x: torch.einsum("bij,bjk->bik", x.new_ones(2, 3, 4), x.new_ones(2, 4, 5)), 120),
    "einsum of three": (
        lambda x: torch.einsum("ij,jk,kl->il", x.new_ones(2, 3), x.new_ones(3, 4), x.new_ones(4, 5)),
        2 * 3 * 4 + 2 * 4 * 5,
    ),
    "einsum over two axes": (lambda x: torch.einsum("abc,bcd->ad", x.new_ones(2, 3, 4), x.new_ones(3, 4, 5)), 120),
    "multi_dot": (lambda x: torch.linalg.multi_dot([x.new_ones(2, 3), x.new_ones(3, 4), x.new_ones(4, 5)]), 64),
    "matrix_power": (lambda x: torch.linalg.matrix_power(x.new_ones(3, 3), 3), 2 * 27),
    "vmap": (lambda x: torch.vmap(lambda a: x.new_ones(4, 5) @ a)(x.new_ones(7, 5)), 7 * 20),
}


@pytest.mark.parametrize(("function", "macs"), PRODUCTS.values(), ids=PRODUCTS)
def test_every_other_product_counts_what_it_adds_up(function: Function, macs: int) -> None:
    is_counted(Runs(function), torch.zeros(1), macs)


@pytest.mark.parametrize("mode", ["use_mm_for_euclid_dist_if_necessary", "donot_use_mm_for_euclid_dist"])
@pytest.mark.parametrize("norm", [1.0, 2.0, 3.0])
def test_distances_run_along_every_pair_of_rows(norm: float, mode: str) -> None:
    model = Runs(lambda x, rows: torch.cdist(x, rows, norm, compute_mode=mode), torch.randn(26, 4))
    is_counted(model, torch.randn(1, 30, 4), 30 * 26 * 4)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_counts_as_full(half: torch.dtype) -> None:
    model = nn.Sequential(nn.Conv1d(4, 6, 3), nn.Flatten(), nn.Linear(18, 5)).to(half)
    assert count(model, torch.zeros(1, 4, 5, dtype=half)) == Count(3 * 3 * 24 + 90)


def test_scripts_and_traces_are_seen_through() -> None:
    linear = nn.Linear(5, 4)
    for compiled in (torch.jit.script(linear), torch.jit.trace(linear, torch.zeros(2, 5))):  # type: ignore[no-untyped-call]
        assert count(nn.Sequential(compiled, nn.Linear(4, 3)), torch.zeros(1, 7, 5)) == Count(7 * (20 + 12))


ENTRIES = torch.tensor([[0, 0, 1, 3], [1, 4, 2, 0]])
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "coo": lambda matrix: matrix.to_sparse(),
    "csr": lambda matrix: matrix.to_sparse_csr(),
    "csc": lambda matrix: matrix.to_sparse_csc(),
}


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_sparse_matrix_multiplies_what_it_holds(layout: str) -> None:
    """Four entries of a 4 x 5 matrix, each times a row of seven, or times a number."""
    dense = torch.zeros(4, 5)
    dense[ENTRIES[0], ENTRIES[1]] = 2.0
    sparse = LAYOUTS[layout](dense)
    functions: list[tuple[Function, int]] = [
        (lambda x: sparse @ torch.ones(5, 7), 4 * 7),
        (lambda x: torch.ones(7, 4) @ sparse, 4 * 7),
        (lambda x: torch.sparse.mm(sparse, torch.ones(5, 7)), 4 * 7),
        (lambda x: torch.addmm(torch.ones(4, 7), sparse, torch.ones(5, 7)), 4 * 7),
        (lambda x: sparse @ torch.ones(5), 4),
    ]
    for function, macs in functions:
        assert count(Runs(function), torch.zeros(1)) == Count(macs)


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("layout", ["coo", "csr"])
def test_a_product_of_two_sparse_matrices_multiplies_what_both_hold(layout: str) -> None:
    """Six entries on each diagonal, each of which meets one."""
    sparse = LAYOUTS[layout](torch.eye(6))
    assert count(Runs(lambda x: sparse @ sparse), torch.zeros(1)) == Count(6)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_a_nested_tensor_counts_the_rows_that_it_holds(layout: torch.layout) -> None:
    """Two rows and three, and not twice three."""
    linear = nn.Linear(5, 4)

    def ragged(x: Tensor) -> Tensor:
        rows: Tensor = linear(torch.nested.nested_tensor([x[0, :2], x[0]], layout=layout)).unbind()[1]
        return rows

    assert ragged(torch.randn(1, 3, 5)).shape == (3, 4)
    assert count(Runs(ragged), torch.randn(1, 3, 5)) == Count((2 + 3) * 20)


# -- convolutions ------------------------------------------------------------------------------------------------------

CONVOLUTIONS: list[tuple[nn.Module, tuple[int, ...], int]] = [
    # kernel places times weights: out x in / groups x taps
    (nn.Conv1d(4, 6, 3), (4, 9), 7 * 6 * 4 * 3),
    (nn.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2), (4, 9), 4 * 6 * 2 * 3),
    (nn.Conv1d(4, 6, 3, padding="same", padding_mode="circular"), (4, 9), 9 * 6 * 4 * 3),
    (nn.Conv2d(4, 6, (3, 2), bias=False), (4, 8, 7), 6 * 6 * 6 * 4 * 6),
    (nn.Conv2d(4, 6, 3, stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2), (4, 8, 7), 4 * 3 * 6 * 2 * 9),
    (nn.Conv2d(4, 8, 3, padding=1, groups=4), (4, 5, 5), 25 * 8 * 9),
    (nn.Conv2d(4, 6, 1), (4, 5, 5), 25 * 24),
    (nn.Conv2d(4, 6, 2, padding="same"), (4, 5, 5), 25 * 24 * 4),
    (nn.Conv2d(4, 6, 3, padding=2, padding_mode="reflect"), (4, 5, 5), 49 * 24 * 9),
    (nn.Conv3d(4, 6, (2, 3, 1), stride=(1, 2, 3), padding=(1, 0, 1)), (4, 3, 7, 5), 4 * 3 * 3 * 24 * 6),
    (nn.Conv3d(4, 6, 2, dilation=2, groups=2), (4, 3, 4, 5), 1 * 2 * 3 * 12 * 8),
    # transposed: places of the input times weights, whatever the padding cuts off
    (nn.ConvTranspose1d(4, 6, 3), (4, 9), 9 * 24 * 3),
    (nn.ConvTranspose1d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), (4, 9), 9 * 12 * 3),
    (nn.ConvTranspose2d(4, 6, (3, 2)), (4, 5, 7), 35 * 24 * 6),
    (nn.ConvTranspose2d(4, 6, 3, stride=(2, 3), padding=1, dilation=2, groups=2), (4, 5, 7), 35 * 12 * 9),
    (nn.ConvTranspose3d(4, 6, 2, stride=2, output_padding=1, groups=2), (4, 2, 3, 4), 24 * 12 * 8),
]


def described(value: object) -> str | None:
    return str(value).replace(" ", "") if isinstance(value, nn.Module) else None


@pytest.mark.parametrize(("module", "shape", "macs"), CONVOLUTIONS, ids=described)
def test_a_convolution_is_its_weight_once_per_place(module: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    is_counted(module, torch.randn(1, *shape), macs)
    is_counted(Runs(lambda x, m: m(x[0]), module), torch.randn(1, *shape), macs)
    is_counted(Runs(lambda x, m: m(x.expand(3, *shape)), module), torch.randn(1, *shape), 3 * macs)


def test_a_transposed_convolution_given_its_output_size_counts_the_same() -> None:
    module = nn.ConvTranspose2d(4, 6, 3, stride=2)
    for size in ((11, 11), (12, 11), (12, 12)):
        model = Runs(lambda x, m, size=size: m(x, output_size=size), module)
        is_counted(model, torch.randn(1, 4, 5, 5), 25 * 24 * 9)


def test_a_deformable_convolution_counts_as_a_plain_one_and_its_offsets_as_what_makes_them() -> None:
    module, offsets = DeformConv2d(4, 6, 3, stride=2, groups=2), nn.Conv2d(4, 18, 3, stride=2)
    model = Runs(lambda x, m, o: m(x, o(x)), module, offsets)
    is_counted(model, torch.randn(1, 4, 9, 7), 4 * 3 * (6 * 2 * 9 + 18 * 4 * 9))


# -- what counts nothing, and what is not known ------------------------------------------------------------------------

FREE: dict[str, Function] = {
    "arithmetic": lambda x: (x + 1) * x / 3 - x**2 + x.exp().log1p().sqrt(),
    "outer": lambda x: torch.outer(x.flatten(), x.flatten()),
    "kron": lambda x: torch.kron(x[0, 0], x[0, 1]),
    "compare": lambda x: torch.where(x > 0, x, -x).clamp(0, 1).round().isnan(),
    "activations": lambda x: F.relu(F.gelu(F.silu(F.elu(F.hardswish(F.mish(F.softplus(F.leaky_relu(x)))))))),
    "gates": lambda x: F.glu(F.logsigmoid(F.hardtanh(F.selu(F.relu6(F.softsign(x)))))),
    "prelu": lambda x: F.prelu(x, x.new_ones(4)),
    "softmax": lambda x: F.log_softmax(F.softmax(x, 1), 2).logsumexp(1) + F.gumbel_softmax(x, dim=1).sum(1),
    "reductions": lambda x: x.sum() + x.mean((2, 3)) + x.std() + x.amax() + x.norm() + x.median() + x.cumsum(1).prod(),
    "sorting": lambda x: x.sort(1)[0].topk(2, 2)[0].argmax(3),
    "moving": lambda x: torch.cat([x.flip(1), x.roll(1, 2), x.permute(0, 1, 3, 2).contiguous()], 1).repeat(1, 2, 1, 1),
    "picking": lambda x: x[:, [0, 2]].gather(1, x.new_zeros(1, 1, 6, 6).long()).index_select(2, torch.tensor([0])),
    "scattering": lambda x: x.scatter_add(1, x.new_zeros(1, 1, 6, 6).long(), x[:, :1]).index_fill(
        1, torch.tensor(0), 0
    ),
    "shuffles": lambda x: F.channel_shuffle(F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2), 2),
    "windows": lambda x: F.fold(F.unfold(x, 3), (6, 6), 3),
    "padding": lambda x: F.pad(F.pad(F.pad(x, (1, 1)), (1, 1, 1, 1), "reflect"), (1, 1, 1, 1), "circular"),
    "pools": lambda x: F.max_pool2d(F.avg_pool2d(x, 2, 1), 2) + F.adaptive_avg_pool2d(F.adaptive_max_pool2d(x, 5), 2),
    "pools of other ranks": lambda x: (F.max_pool1d(x[0], 2), F.avg_pool3d(x, 2), F.lp_pool2d(x, 2.0, 2)),
    "unpooling": lambda x: nn.MaxUnpool2d(2)(*F.max_pool2d(x, 2, return_indices=True)),
    "norms": lambda x: F.group_norm(F.layer_norm(F.instance_norm(x), (6, 6)), 2),
    "batch norm": lambda x: F.batch_norm(x, x.new_zeros(4), x.new_ones(4)),
    "more norms": lambda x: F.rms_norm(F.local_response_norm(F.normalize(x), 2), (6,)),
    "dropouts": lambda x: F.dropout(F.alpha_dropout(F.dropout2d(x, training=True), training=True), training=True),
    "interpolation": lambda x: F.interpolate(
        F.interpolate(F.interpolate(x, 7), scale_factor=2, mode="bilinear"), 5, mode="bicubic"
    ),
    "sampling": lambda x: F.grid_sample(x, x.new_zeros(1, 3, 3, 2), align_corners=False),
    "similarity": lambda x: F.cosine_similarity(x, x.flip(1)) + F.pairwise_distance(x, x.flip(1)).sum(),
    "losses": lambda x: F.mse_loss(x, -x) + F.cross_entropy(x, x.argmax(1)) + F.smooth_l1_loss(x, -x),
    "made": lambda x: x + torch.eye(6) + torch.arange(6) + torch.zeros_like(x) + torch.linspace(0, 1, 6),
    "drawn": lambda x: x + torch.rand_like(x) + torch.randn(6) + torch.bernoulli(x.sigmoid()),
    "lookup": lambda x: F.embedding((x > 0).long(), x.new_ones(2, 3)),
    "one hot": lambda x: F.one_hot((x > 0).long(), 2),
    "complex": lambda x: torch.view_as_real(torch.polar(x.abs(), x) * torch.complex(x, x)).abs(),
    "triangles": lambda x: x.triu().tril() + torch.diag_embed(x[..., 0]),
    "casts": lambda x: x.half().double().to(torch.bfloat16).float().to(torch.int8),
}


@pytest.mark.parametrize("function", FREE.values(), ids=FREE)
def test_what_multiplies_no_matrix_counts_nothing_and_is_not_named(function: Function) -> None:
    is_counted(Runs(function), torch.randn(1, 4, 6, 6), 0)


@torch.library.custom_op("testing_operators::squared", mutates_args=())
def squared(matrix: Tensor) -> Tensor:
    """An operator that torch sees as one block."""
    return matrix @ matrix


SQUARE = torch.eye(3) + 0.1
UNKNOWN: dict[str, tuple[Function, str]] = {
    "fft": (lambda x: torch.fft.fft(torch.ones(8)), "fft"),
    "rfft2": (lambda x: torch.fft.irfft2(torch.fft.rfft2(torch.ones(4, 4))), "fft"),
    "stft": (lambda x: torch.stft(torch.ones(64), 16, window=torch.ones(16), return_complex=True), "fft"),
    "inv": (lambda x: torch.linalg.inv(SQUARE), "inv"),
    "solve": (lambda x: torch.linalg.solve(SQUARE, torch.ones(3, 2)), "solve"),
    "solve_triangular": (lambda x: torch.linalg.solve_triangular(SQUARE, SQUARE, upper=True), "solve_triangular"),
    "svd": (lambda x: torch.linalg.svd(SQUARE), "svd"),
    "spectral norm": (lambda x: torch.linalg.matrix_norm(SQUARE, 2), "svd"),
    "pinv": (lambda x: torch.linalg.pinv(SQUARE), "pinv"),
    "eigh": (lambda x: torch.linalg.eigh(SQUARE), "eigh"),
    "qr": (lambda x: torch.linalg.qr(SQUARE), "qr"),
    "cholesky": (lambda x: torch.linalg.cholesky(SQUARE), "cholesky"),
    "logdet": (lambda x: torch.logdet(SQUARE), "slogdet"),
    "det": (lambda x: torch.linalg.det(SQUARE), "det"),
    "lstsq": (lambda x: torch.linalg.lstsq(SQUARE, SQUARE), "lstsq"),
    "matrix_exp": (lambda x: torch.matrix_exp(SQUARE), "matrix_exp"),
    "pdist": (lambda x: F.pdist(SQUARE), "pdist"),
    "conv_tbc": (lambda x: torch.conv_tbc(torch.ones(5, 1, 3), torch.ones(2, 3, 4), torch.ones(4)), "conv_tbc"),
    "sampled": (lambda x: torch.sparse.sampled_addmm(SQUARE.to_sparse_csr(), SQUARE, SQUARE), "sampled_addmm"),
    "a gradient": (
        lambda x: torch.func.grad(lambda w: F.conv1d(torch.ones(1, 2, 5), w).sum())(torch.ones(2, 2, 3)),
        "convolution_backward",
    ),
    "a custom operator": (lambda x: squared(SQUARE), "testing_operators::squared"),
    "torchvision's": (lambda x: torchvision.ops.roi_align(torch.ones(1, 2, 6, 6), [torch.ones(1, 4)], 2), "roi_align"),
}


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize(("function", "name"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_computes_and_has_no_formula_is_named(function: Function, name: str) -> None:
    for inference in (False, True):
        if inference and "grad" in name:
            continue
        model = Runs(function)
        model.inference = inference
        found = count(model, torch.zeros(1)).not_counted
        assert any(name in one for one in found), found


def test_a_space_passes_the_names_on_each_once() -> None:
    model = Runs(lambda x, m: torch.fft.fft(torch.fft.fft(m(x))).real, nn.Linear(8, 8))
    space = RankSpace.from_model(model, torch.randn(1, 8))
    assert len(space.not_counted) == len(set(space.not_counted)) == 2
    assert all("fft" in name for name in space.not_counted)
    assert space.dense_cost["macs"] == 64
    assert RankSpace.from_model(nn.Sequential(nn.Linear(8, 8)), torch.randn(1, 8)).not_counted == ()


# -- whole networks ----------------------------------------------------------------------------------------------------

ONLY_SIZE = {"maxvit_t": 224, "vit_b_16": 224, "inception_v3": 96}
FAMILIES = (
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "maxvit_t"),
    *("mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf", "resnet18"),
    *("resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11", "vit_b_16"),
)


@pytest.mark.parametrize("name", FAMILIES)
def test_of_every_family_of_torchvision_everything_is_counted_and_as_published(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torchvision publishes billions of multiply-adds, to three digits, for the size of the weights' own images."""
    for draw in ("trunc_normal_", "normal_", "kaiming_normal_", "kaiming_uniform_", "xavier_uniform_", "uniform_"):
        monkeypatch.setattr(nn.init, draw, lambda tensor, *rest, **options: tensor)
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model = torchvision.models.get_model(name, **options)
    size = ONLY_SIZE.get(name, 64)
    assert count(model, torch.zeros(1, 3, size, size)).not_counted == ()
    weights = torchvision.models.get_model_weights(name).DEFAULT
    side = weights.transforms().crop_size[0]
    found = count(model.to("meta"), torch.zeros(1, 3, side, side))
    assert found.not_counted == ()
    assert found.macs / 1e9 == pytest.approx(weights.meta["_ops"], abs=6e-4)


def test_a_product_of_extents_is_an_exact_integer_beyond_what_a_double_holds() -> None:
    shape = (2**20 + 1, 2**20 + 3, 2**20 + 7)
    model = Runs(lambda x: torch.empty(shape[:2], device="meta") @ torch.empty(shape[1:], device="meta"))
    assert count(model, torch.zeros(1)).macs == prod(shape)
