"""Named parameters say what an encoded plan says."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_task import all_plans, tiny_task

from rank_search.errors import PlanError
from rank_search.space.parameters import parameters_of, values_of, vector_of


def test_names_and_order_are_those_of_an_encoded_plan() -> None:
    space = tiny_task(forms=["tucker2", "svd", "cp"]).space
    parameters = parameters_of(space.layers)
    assert len(parameters) == space.width
    assert parameters[0].name == "first/form"
    for plan, _ in list(all_plans())[::7]:
        vector = space.encode(plan)
        values = values_of(parameters, vector)
        assert space.decode(vector_of(parameters, values)) == plan
        numbers = [i for i, parameter in enumerate(parameters) if parameter.forms is None]
        assert np.array_equal(vector_of(parameters, values)[numbers], vector[numbers])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"first/form": "cpp"}, "the parameter 'first/form' is 'cpp'; it is one of tucker2, cp"),
        ({"first/0": 1.5}, "the parameter 'first/0' is 1.5; it is a number from 0 to 1"),
        ({"first/0": float("nan")}, "the parameter 'first/0' is nan; it is a number from 0 to 1"),
        ({"first/0": None}, "the parameter 'first/0' is None; it is a number from 0 to 1"),
    ],
)
def test_a_wrong_value_is_one_clear_error(change: dict[str, object], message: str) -> None:
    space = tiny_task(forms=["tucker2", "svd", "cp"]).space
    parameters = parameters_of(space.layers)
    values = values_of(parameters, space.encode(space.dense)) | change
    with pytest.raises(PlanError, match=message):
        vector_of(parameters, values)
    del values["first/form"]
    with pytest.raises(PlanError, match="the parameter 'first/form' is missing"):
        vector_of(parameters, values)
