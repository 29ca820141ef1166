"""A plan as named parameters, for optimisers that move in a form per layer and a number per mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rank_search.arrays import FloatArray
from rank_search.errors import PlanError
from rank_search.space.tables.options import LayerOptions

FORM = "form"


@dataclass(frozen=True)
class Parameter:
    """One number of an encoded plan, or the form of one layer.

    Args:
        layer: its name.
        key: ``form``, or the place of a mode: ``0``, ``1``, ...
        forms: to choose from, by name; None for a mode, which is a number from 0 to 1.
    """

    layer: str
    key: str
    forms: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        return f"{self.layer}/{self.key}"


def parameters_of(layers: Sequence[LayerOptions]) -> list[Parameter]:
    """The parameters of a space in the order of :meth:`RankSpace.encode`, a form only where a layer has several."""
    found = []
    for options in layers:
        name = options.layer.name
        if len(options.forms) > 1:
            found.append(Parameter(name, FORM, tuple(form.name for form in options.forms)))
        found += [Parameter(name, str(mode)) for mode in range(options.width)]
    return found


def vector_of(parameters: Sequence[Parameter], values: Mapping[str, Any]) -> FloatArray:
    """Values by name as an encoded plan: a form becomes the middle of its bin.

    Raises:
        PlanError: if a parameter is missing, a form is not one of the layer's, or a number not from 0 to 1.
    """
    vector = []
    for parameter in parameters:
        if parameter.name not in values:
            raise PlanError(f"the parameter {parameter.name!r} is missing: give one for every form and mode")
        value = values[parameter.name]
        if parameter.forms is not None:
            if value not in parameter.forms:
                allowed = ", ".join(parameter.forms)
                raise PlanError(f"the parameter {parameter.name!r} is {value!r}; it is one of {allowed}")
            vector.append((parameter.forms.index(value) + 0.5) / len(parameter.forms))
        elif isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value <= 1:
            raise PlanError(f"the parameter {parameter.name!r} is {value!r}; it is a number from 0 to 1")
        else:
            vector.append(float(value))
    return np.array(vector)


def values_of(parameters: Sequence[Parameter], vector: FloatArray) -> dict[str, Any]:
    """An encoded plan as values by name."""
    found: dict[str, Any] = {}
    for parameter, value in zip(parameters, vector.tolist(), strict=True):
        forms = parameter.forms
        found[parameter.name] = value if forms is None else forms[min(int(value * len(forms)), len(forms) - 1)]
    return found
