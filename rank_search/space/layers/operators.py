"""Multiply-adds of every operator that torch runs: by a formula, none by convention, or not known."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

SPARSE = (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)
Formula = Callable[[Sequence[Any], Mapping[str, Any], Any], int]
"""Multiply-adds from arguments, keyword arguments and the output."""


def macs_of(operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> int | None:
    """Multiply-adds of one call.

    A multiply-add is one weight, or one element of another operand, times one element, added up: products of matrices,
    convolutions, attention, recurrent layers. What works on elements one by one, reduces, pools, normalises, looks up,
    sorts or moves counts nothing, as everywhere in the field.

    Returns:
        None if the operator is none of these and has no formula.
    """
    formula = FORMULAS.get(_name(operator))
    if formula is not None:
        return formula(args, kwargs, output)
    return 0 if _free(operator) else None


def has_formula(operator: Any) -> bool:
    """Whether the operator is counted as a whole; otherwise what it consists of is looked at first."""
    return _name(operator) in FORMULAS


def _name(operator: Any) -> str:
    """Qualified, for every overload, in place or not."""
    name: str = operator.name().partition(".")[0]
    return name.rstrip("_") if not name.endswith("__") else name


def _free(operator: Any) -> bool:
    name = _name(operator)
    if not name.startswith(("aten::", "prim::", "prims::")):
        return False
    if operator.is_view or torch.Tag.pointwise in operator.tags:
        return True
    return bool(_FREE.fullmatch(name.partition("::")[2]))


def _product(left: int, right: int) -> Formula:
    """A product of matrices, or of batches of them; those stored as sparse multiply what they hold."""

    def formula(args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> int:
        a, b = args[left], args[right]
        if a.layout in SPARSE and b.layout in SPARSE:  # every entry of a column meets those of the row
            inner = int(a.shape[1])
            met = torch.bincount(_indices(a)[1], minlength=inner) @ torch.bincount(_indices(b)[0], minlength=inner)
            return int(met)
        if a.layout != torch.strided:
            return _held(a) * _times(b.shape[1:])
        if b.layout != torch.strided:
            return _held(b) * _times(a.shape[:-1])
        return int(a.numel()) * _times(b.shape[a.ndim - 1 :])

    return formula


def _times(extents: Iterable[int]) -> int:
    return int(prod(extents))


def _indices(matrix: Tensor) -> Tensor:
    coo: Tensor = matrix.to_sparse_coo()  # type: ignore[no-untyped-call]
    return coo.coalesce().indices()


def _linear(args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> int:
    """A linear layer on rows of unequal number, ``[..., in]``: the rows that there are."""
    rows, weight = args[0], args[1]
    held = rows.values() if rows.is_nested and rows.layout == torch.jagged else rows
    return int(held.numel()) * int(weight.shape[0])


def _held(matrix: Tensor) -> int:
    values = matrix._values() if matrix.layout == torch.sparse_coo else matrix.values()
    return int(values.numel())


def _convolution(args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> int:
    """Every weight once per sample and place: where the kernel puts out, or, transposed, where it is given."""
    x, weight, transposed = args[0], args[1], bool(args[6]) if len(args) > 6 else False
    places: Tensor = x if transposed else output
    axes = weight.ndim - 2
    batch = places.shape[0] if places.ndim == weight.ndim else 1
    return int(batch) * _times(places.shape[-axes:]) * int(weight.numel())


def _attention(args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> int:
    """``Q K^T`` and its product with V, masked or not: ``[..., L, E], [..., S, E], [..., S, F]``."""
    query, key, value = args[:3]
    length = key.shape[-2]
    return _times(query.shape[:-1]) * int(length) * (int(query.shape[-1]) + int(value.shape[-1]))


def _attention_heads_last(args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> int:
    """The same with ``[batch, length, heads, E]``."""
    query, key, value = (tensor.transpose(1, 2) for tensor in args[:3])
    return _attention((query, key, value), kwargs, output)


def _recurrent_layer(args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> int:
    """One direction of one layer, ``[T, B, input]``: both matrices at every step (oneDNN)."""
    return _times(args[0].shape[:-1]) * (int(args[1].numel()) + int(args[2].numel()))


def _recurrent_network(args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> int:
    """All layers and directions: every matrix at every step (cuDNN, MIOpen); biases are vectors."""
    return _times(args[0].shape[:-1]) * sum(int(weight.numel()) for weight in args[1] if weight.ndim > 1)


def _trilinear(args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> int:
    """``nn.Bilinear``: its weight ``[out, in1, in2]`` once per sample; the smaller products beside it are left out."""
    x, weight = args[0], args[1]
    return _times(x.shape[:-1]) * int(weight.numel())


def _embedding_bag(args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> int:
    """A bag adds up rows of the table, each times its weight or 1; the maximum of rows multiplies nothing."""
    table, indices, mode = args[0], args[1], args[4] if len(args) > 4 else kwargs.get("mode", 0)
    return 0 if mode == 2 else int(indices.numel()) * int(table.shape[1])


def _distances(args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> int:
    """Every pair of rows, once along their length."""
    return int(output.numel()) * int(args[0].shape[-1])


def _deformable(args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> int:
    """As the convolution; where its taps lie costs interpolation, which counts nothing."""
    return int(output.shape[0]) * _times(output.shape[2:]) * int(args[1].numel())


def _dot(args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> int:
    return int(args[0].numel())


def _outer(args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> int:
    return int(output.numel())


FORMULAS: dict[str, Formula] = {
    **dict.fromkeys(("aten::mm", "aten::bmm", "aten::mv", "aten::_int_mm", "aten::_scaled_mm"), _product(0, 1)),
    **dict.fromkeys(
        ("aten::addmm", "aten::baddbmm", "aten::addbmm", "aten::addmv", "aten::_addmm_activation"), _product(1, 2)
    ),
    "aten::_sparse_mm": _product(0, 1),
    "aten::_sparse_addmm": _product(1, 2),
    "aten::linear": _linear,
    **dict.fromkeys(("aten::dot", "aten::vdot"), _dot),
    "aten::addr": _outer,
    **dict.fromkeys(
        (
            *("aten::convolution", "aten::_convolution", "aten::convolution_overrideable"),
            *("aten::cudnn_convolution", "aten::miopen_convolution", "aten::mkldnn_convolution"),
            *("aten::_slow_conv2d_forward", "aten::slow_conv3d_forward", "aten::_conv_depthwise2d"),
        ),
        _convolution,
    ),
    **dict.fromkeys(
        (
            *("aten::_scaled_dot_product_flash_attention_for_cpu", "aten::_scaled_dot_product_flash_attention"),
            *("aten::_scaled_dot_product_efficient_attention", "aten::_scaled_dot_product_cudnn_attention"),
            *("aten::_scaled_dot_product_fused_attention_overrideable", "aten::_scaled_dot_product_attention_math"),
        ),
        _attention,
    ),
    "aten::mkldnn_rnn_layer": _recurrent_layer,
    **dict.fromkeys(("aten::_cudnn_rnn", "aten::miopen_rnn"), _recurrent_network),
    "aten::_trilinear": _trilinear,
    **dict.fromkeys(("aten::_embedding_bag", "aten::_embedding_bag_forward_only"), _embedding_bag),
    **dict.fromkeys(("aten::_cdist_forward", "aten::_euclidean_dist"), _distances),
    "torchvision::deform_conv2d": _deformable,
}
"""By qualified name, for every overload."""

_FREE = re.compile(
    "|".join(
        (
            # made, copied, moved, asked for
            r"(new_)?(empty|zeros|ones|full|rand|randn|randint|eye|arange|linspace|logspace|range|scalar_tensor)(_\w+)?",
            r"(randperm|(tril|triu)_indices|\w+_window|complex|polar|fill|zero|copy|clone|contiguous|lift|lift_fresh)",
            r"(_to_copy|_to_dense|_to_sparse\w*|to_mkldnn|_copy_from\w*|_local_scalar_dense|item|equal|_pin_memory|set)",
            r"(is_\w+|size|stride|sym_\w+|_\w*assert\w*|_make_dep_token|_print|resize|resize_as|_resize_output|detach)",
            r"(_coalesced|coalesce|_nnz|_values|_indices|(sparse|dense)_dim|_sparse_\w+_tensor\w*|sparse_\w+_tensor\w*)",
            r"(_?nested_\w+|_jagged_\w+|_padded_\w+|_pack_padded_sequence|_unsafe_view|_reshape_alias|device|dim)",
            r"(to|type_as|reshape\w*|flatten|unflatten|dropout|(layer|group|batch|instance|rms)_norm|softmax|log_softmax)",
            # picked, put, ordered
            r"(cat|_chunk_cat|stack|split\w*|unsafe_split\w*|chunk|unbind|repeat|repeat_interleave|tile|roll|flip|rot90)",
            r"(index\w*|_index_put_impl|_unsafe_index\w*|_unsafe_masked_index\w*|gather|\w*scatter\w*|take|masked_\w+)",
            r"(embedding|one_hot|nonzero\w*|argwhere|where|tril|triu|diag\w*|block_diag|trace|unfold\w*|im2col|col2im)",
            r"((constant|reflection|replication|circular)_pad\w*|pixel_(un)?shuffle|(native_)?channel_shuffle|t|transpose)",
            r"(permute|squeeze|unsqueeze|view\w*|expand\w*|slice|select|narrow|as_strided|alias|lu_unpack)",
            r"(sort|argsort|topk|kthvalue|_?unique\w*|searchsorted|bucketize|bincount|histc|isin|mode|multinomial)",
            # drawn
            r"(bernoulli|uniform|normal\w*|log_normal|exponential|geometric|cauchy|poisson|_standard_gamma)",
            r"(native_dropout|_fused_dropout|rrelu_with_noise\w*|_philox_\w+)",
            # reduced and normalised
            r"(sum|nansum|mean|prod|var\w*|std\w*|amax|amin|aminmax|max|min|argmax|argmin|median|nanmedian|any|all)",
            r"(count_nonzero|norm|linalg_vector_norm|renorm|logsumexp|_?logcumsumexp|cum(sum|prod|max|min)|_cum\w+)",
            r"(_?softmax|_log_softmax|_safe_softmax|segment_reduce|dist|_weight_norm_interface|_fused_rms_norm)",
            r"(_?native_(batch|group|layer)_norm\w*|_?batch_norm_\w+|(cudnn|miopen)_batch_norm|\w*_moving_avg_\w+)",
            # pooled and interpolated
            r"(_?(adaptive_)?(avg|max)_pool\w*|fractional_max_pool\w*|max_unpool\w*|mkldnn_(adaptive_)?(avg|max)_pool\w*)",
            r"(_?upsample_\w+|_?grid_sampler\w*|affine_grid_generator)",
            # element by element, without the tag
            r"(hard(swish|sigmoid|tanh|shrink)|softshrink|mish|silu|gelu|elu|celu|selu|relu6?|leaky_relu|prelu|softplus)",
            r"(threshold|clamp\w*|clip|abs|neg|pow|exp\w*|log\w*|sqrt|rsqrt|reciprocal|sigmoid|tanh|sign|sgn|round|trunc)",
            r"(add|sub|rsub|mul|div|true_divide|floor\w*|ceil|remainder|fmod|maximum|minimum|fm(ax|in)|lerp|addc(mul|div))",
            r"(eq|ne|lt|le|gt|ge|(a?(sin|cos|tan)h?)|atan2|erf\w*|isnan|isinf|isfinite|nan_to_num|_linalg_check_errors)",
            r"(_prelu_kernel|glu|log_sigmoid_forward|frexp|_thnn_fused_(lstm|gru)_cell|_masked_scale|linalg_cross)",
            r"(_foreach_(?!mm)\w+|_add_relu|quantize_per_\w+|_?fake_quantize_\w+|bitwise_\w+|logical_\w+|__\w+)",
            r"(\w+_loss\w*|\w*binary_cross_entropy\w*)",
        )
    )
)
"""Operators that multiply no matrix: by name, where torch tags them neither as views nor as pointwise."""
