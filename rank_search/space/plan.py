"""A rank plan: which form and which ranks every layer gets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rank_search.errors import PlanError

DENSE_FORM = "dense"


@dataclass(frozen=True)
class Choice:
    """What one layer becomes.

    Args:
        form: a decomposition's name, or ``"dense"`` for the layer as it is.
        ranks: one rank per mode of the form, each at least 1; empty for dense.
    """

    form: str
    ranks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if (self.form == DENSE_FORM) != (not self.ranks):
            raise PlanError(
                f"a {self.form!r} choice with ranks {list(self.ranks)}: dense has none, every other form some"
            )
        for rank in self.ranks:
            if isinstance(rank, bool | np.bool_) or not isinstance(rank, int | np.integer) or rank < 1:
                raise PlanError(
                    f"rank {rank!r} of a {self.form!r} choice is not allowed: ranks are whole numbers from 1"
                )
        object.__setattr__(self, "ranks", tuple(int(rank) for rank in self.ranks))  # NumPy's are numbers, too

    def __str__(self) -> str:
        return f"{self.form} {','.join(map(str, self.ranks))}".strip()


DENSE = Choice(DENSE_FORM)


class RankPlan(Mapping[str, Choice]):
    """An immutable, hashable mapping from layer names to choices; a layer that is not named stays dense.

    Equality ignores the order of layers and whether dense layers are spelled out.
    """

    def __init__(self, choices: Mapping[str, Choice]) -> None:
        for name, choice in choices.items():
            if not isinstance(choice, Choice):
                raise PlanError(f"layer {name!r}: {choice!r} is not a Choice; use RankPlan.from_json for plain data")
        self._choices = dict(choices)
        self._key = frozenset((name, choice) for name, choice in choices.items() if choice != DENSE)

    def __getitem__(self, name: str) -> Choice:
        return self._choices[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._choices)

    def __len__(self) -> int:
        return len(self._choices)

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RankPlan) and self._key == other._key

    def __repr__(self) -> str:
        return f"RankPlan({', '.join(f'{name}: {choice}' for name, choice in self._choices.items())})"

    def to_dict(self) -> dict[str, Any]:
        """Plain data: ``{"layer1.0.conv1": {"form": "tucker2", "ranks": [16, 12]}, "fc": "dense"}``."""
        return {
            name: DENSE_FORM if choice == DENSE else {"form": choice.form, "ranks": list(choice.ranks)}
            for name, choice in self._choices.items()
        }

    def to_json(self) -> str:
        """The plan as JSON text, a line per layer in the plan's order; equal plans of one space give equal text."""
        lines = (f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in self.to_dict().items())
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def from_json(cls, text: str | Mapping[str, Any]) -> RankPlan:
        """Reads JSON text, or the plain data of :meth:`to_dict`.

        Raises:
            PlanError: if the text is not JSON or not a plan.
        """
        if isinstance(text, str):
            try:
                data = json.loads(text)
            except (ValueError, RecursionError) as error:  # a number of 5,000 digits, a list 10,000 deep
                raise PlanError(f"the plan is not valid JSON: {error}") from None
        else:
            data = text
        if not isinstance(data, Mapping):
            raise PlanError(f"a plan is a mapping from layer names to choices, not {type(data).__name__}")
        return cls({str(name): _choice(str(name), value) for name, value in data.items()})


def _choice(name: str, value: Any) -> Choice:
    if value == DENSE_FORM:
        return DENSE
    if (
        not isinstance(value, Mapping)
        or set(value) != {"form", "ranks"}
        or not isinstance(value["ranks"], list | tuple)
    ):
        raise PlanError(f'layer {name!r}: {value!r} is neither "dense" nor {{"form": NAME, "ranks": [...]}}')
    try:
        return Choice(str(value["form"]), tuple(value["ranks"]))
    except PlanError as error:
        raise PlanError(f"layer {name!r}: {error}") from None
