"""From a model to the option tables of its layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from rank_search.errors import CovarianceError, InvalidInputError, LayerSelectionError, WeightsError
from rank_search.space.forms.decomposition import Decomposition, decomposition
from rank_search.space.layers.factor_cache import FactorCache
from rank_search.space.layers.layer import Layer
from rank_search.space.layers.layer_weight import LayerWeight
from rank_search.space.layers.patch_moments import checked_moment
from rank_search.space.layers.trace import Trace
from rank_search.space.layers.whitening import Whitening
from rank_search.space.metrics.metric import Metric
from rank_search.space.tables.options import LayerOptions
from rank_search.space.tables.thinning import LEAST_OPTIONS

FormSpec = str | Mapping[str, Mapping[str, Any] | None]
"""A form's name, or ``{name: {option: value}}``."""
SLOW = "no option of it is as fast as the dense layer (align)"
DEFAULT_FORMS = ("tucker2", "svd")


def make_forms(forms: Iterable[FormSpec] | None) -> tuple[Decomposition, ...]:
    """The decompositions that were asked for, each once.

    Raises:
        UnknownNameError, InvalidInputError, LayerSelectionError: see their messages.
    """
    if isinstance(forms, str):
        raise LayerSelectionError(f"forms is the text {forms!r}; give a list, e.g. [{forms!r}]")
    specs: dict[str, dict[str, Any]] = {}
    for name, options in map(form_spec, DEFAULT_FORMS if forms is None else forms):
        if specs.setdefault(name, options) != options:
            raise InvalidInputError(f"the form {name!r} stands twice with different options; give it once")
    if not specs:
        raise LayerSelectionError("forms is empty; give at least one, e.g. ['tucker2']")
    return tuple(decomposition(name, **options) for name, options in specs.items())


def form_spec(entry: Any) -> tuple[str, dict[str, Any]]:
    """A form's name and options.

    Raises:
        InvalidInputError: if the entry is no ``FormSpec``.
    """
    if isinstance(entry, str):
        return entry, {}
    if isinstance(entry, Mapping) and len(entry) == 1:
        ((name, options),) = entry.items()
        if isinstance(name, str) and (options is None or isinstance(options, Mapping)):
            return name, dict(options or {})
    raise InvalidInputError(f"the form {entry!r} is neither a name nor {{NAME: {{OPTION: VALUE}}}}")


def build_tables(
    model: nn.Module,
    traced: Trace,
    names: Iterable[str],
    left_out: Mapping[str, str],
    forms: tuple[Decomposition, ...],
    cache: FactorCache,
    covariances: Mapping[str, Tensor] | None,
    moments: Mapping[str, Tensor] | None,
    prune: bool,
    multiple_of: int,
    max_options: int | None,
    metrics: tuple[Metric, ...],
    align: bool | int = False,
) -> tuple[list[LayerOptions], dict[str, str]]:
    """The tables of all layers that have any option beside dense, and for the others why they have none.

    Args:
        names: of all candidates, in the model's order; for the rest see ``RankSpace.from_model``.
        left_out: reasons of the layers that the user excluded.
    """
    if covariances is not None and moments is not None:
        raise InvalidInputError("covariances and moments are two metrics of errors: give one of them")
    for option, value, least in (("multiple_of", multiple_of, 1), ("max_options", max_options, LEAST_OPTIONS)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise InvalidInputError(f"{option}={value!r} is not allowed: give a whole number from {least}")
    tables: list[LayerOptions] = []
    skipped: dict[str, str] = {}
    for name in names:
        reason = left_out.get(name) or traced.skipped.get(name)
        if reason is None:
            found = _table(traced.layers[name], forms, model, cache, covariances, moments, multiple_of, metrics)
            if isinstance(found, str):
                reason = found
            else:
                whole = len(found)
                for width, column in alignments(metrics, align):
                    found = found.aligned(width, column)
                slow = whole > 1 and len(found) == 1
                found = found.pruned() if prune else found
                found = found if max_options is None else found.at_most(max_options)
                if len(found) > 1:
                    tables.append(found)
                else:
                    reason = SLOW if slow else "no finite fit was found for any of its options"
        if reason is not None:
            skipped[name] = reason
    return tables, skipped


def alignments(metrics: Iterable[Metric], align: bool | int) -> list[tuple[int, int]]:
    """Widths that options are aligned to, each with the column of the time that decides.

    Raises:
        InvalidInputError: if there is no such time.
    """
    if align is False:
        return []
    if not isinstance(align, int) or align < 1:
        raise InvalidInputError(f"align={align!r} is not allowed: give True (the machine's width) or a number from 1")
    found = [(metric.width, column) for column, metric in enumerate(metrics) if metric.width is not None]
    if not found:
        raise InvalidInputError("align needs a time to decide by: give metrics=[rank_search.Latency(...)], too")
    return [(width if align is True else align, column) for width, column in found]


def forms_without_layer(forms: Iterable[Decomposition], traced: Trace, left_out: Mapping[str, str]) -> dict[str, str]:
    """The forms that apply to no layer of the selection, with the commonest reason."""
    layers = [layer for name, layer in traced.layers.items() if name not in left_out]
    reasons = {form.name: [form.why_not(layer) for layer in layers] for form in forms}
    return {
        name: Counter(map(str, found)).most_common(1)[0][0]
        for name, found in reasons.items()
        if found and None not in found
    }


def _table(
    layer: Layer,
    forms: tuple[Decomposition, ...],
    model: nn.Module,
    cache: FactorCache,
    covariances: Mapping[str, Tensor] | None,
    moments: Mapping[str, Tensor] | None,
    multiple_of: int,
    metrics: tuple[Metric, ...],
) -> LayerOptions | str:
    """The layer's options, or why it has none."""
    reasons = {form.name: form.why_not(layer) for form in forms}
    fitting = tuple(form for form in forms if reasons[form.name] is None)
    if not fitting:
        return "; ".join(reason for reason in dict.fromkeys(reasons.values()) if reason is not None)
    weight = model.get_submodule(layer.name).weight
    assert isinstance(weight, Tensor)
    if not weight.isfinite().all():
        raise WeightsError(
            f"layer {layer.name!r} holds {int((~weight.isfinite()).sum())} weights that are NaN or infinite"
        )
    options = LayerOptions(fitting, LayerWeight(layer, weight, cache), multiple_of, metrics)
    if len(options) < 2:
        return f"no {' or '.join(form.name for form in fitting)} is cheaper than the dense layer"
    if moments is not None and layer.name in moments:
        options.moment = checked_moment(layer, moments[layer.name])
    if covariances is not None:
        if layer.name not in covariances:
            raise CovarianceError(
                f"there is no input covariance of layer {layer.name!r}: measure them with input_covariances(model, "
                "batches) on this model"
            )
        whitening = Whitening.of(layer.name, covariances[layer.name], layer.groups, layer.group_channels[1])
        options.weight = LayerWeight(layer, weight, cache, whitening)
    return options
