"""The branches of one layer: its weight in several forms and ranks at once, with factors that are trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rank_search.errors import EvaluationError
from rank_search.space.forms.multiplied import multiplied
from rank_search.space.plan import Choice
from rank_search.space.tables.options import LayerOptions

from .rank_ranges import Candidates

Factors = tuple[Tensor, ...]
"""``[groups, out / groups, in / groups, taps]`` each, in the order the layers run (:meth:`Decomposition.factors`)."""


class LayerBranches:
    """What one layer may become, and how probable each is.

    Args:
        options: of the layer.
        dtype, device: of the factors.

    Attributes:
        name: of the layer.
        target: W, ``[groups, Co / groups, Ci / groups, taps]``, in Frobenius' metric.
        choices: form and ranks of each branch, ``n``.
        factors: of each branch; they are leaves that require gradients.
        logits: alpha, ``[n]``, 0 at the start; a leaf that requires gradients.
        shares: ``r / max R``, ``[n]``, of the branches that are there.
        left_out: candidates without a finite start, and why.
    """

    def __init__(self, options: LayerOptions, dtype: torch.dtype, device: torch.device) -> None:
        self._options, self._dtype, self._device = options, dtype, device
        self.layer, self.name = options.layer, options.layer.name
        self.target = self._own(options.weight.plain)
        self.choices: list[Choice] = []
        self.factors: list[Factors] = []
        self.left_out: dict[str, str] = {}
        self._sizes: list[float] = []

    def fit(self, candidates: Candidates) -> None:
        """A branch for every candidate, from its form's own factors; alpha is 0.

        Raises:
            EvaluationError: if no candidate has a finite start.
        """
        forms = {form.name: form for form in self._options.forms}
        for choice, size in zip(candidates.choices, candidates.sizes, strict=True):
            try:
                found = forms[choice.form].factors(self._options.weight, choice.ranks)
            except EvaluationError as error:
                self.left_out[str(choice)] = str(error)
                continue
            owned = tuple(self._leaf(factor) for factor in found)
            if not multiplied([factor.detach() for factor in owned], self.layer.groups).isfinite().all():
                self.left_out[str(choice)] = f"the factors, or their product, are not finite in {self._dtype}"
                continue
            self.choices.append(choice)
            self.factors.append(owned)
            self._sizes.append(size)
        if not self.choices:
            reasons = "; ".join(f"{choice}: {reason}" for choice, reason in list(self.left_out.items())[:3])
            raise EvaluationError(
                f"layer {self.name!r}: none of its {len(candidates.choices)} candidates starts finite ({reasons}); "
                "choose other ranks or forms, or exclude the layer"
            )
        self._place(torch.zeros(len(self.choices)))

    @property
    def parameters(self) -> list[Tensor]:
        """The factors of all branches in a row."""
        return [factor for factors in self.factors for factor in factors]

    @property
    def probabilities(self) -> Tensor:
        """``p = softmax(alpha)``, ``[n]``."""
        return torch.softmax(self.logits, 0)

    @property
    def entropy(self) -> float:
        """Of p, divided by the logarithm of n: 1 is uniform; 0 where there is one branch alone."""
        if len(self.choices) == 1:
            return 0.0
        p = torch.softmax(self.logits.detach().double(), 0)
        return min(1.0, float(torch.special.entr(p).sum()) / math.log(len(p)))

    def products(self) -> Tensor:
        """What of every branch, ``[n, groups, Co / groups, Ci / groups, taps]``."""
        return torch.stack([multiplied(factors, self.layer.groups) for factors in self.factors])

    def mixture(self, p: Tensor, train_factors: bool = False) -> Tensor:
        """``W_mix = sum_r p(r) What(r)``, ``[groups, Co / groups, Ci / groups, taps]``.

        Args:
            p: ``[n]``; gradients flow into it.
            train_factors: whether gradients flow into the factors, too.
        """
        with torch.set_grad_enabled(train_factors):
            products = self.products()
        return torch.einsum("n,ngoit->goit", p, products)

    def error(self, p: Tensor, train_factors: bool = False) -> Tensor:
        """``||W - W_mix||_F^2``, see :meth:`mixture`."""
        return (self.target - self.mixture(p, train_factors)).square().sum()

    def most_probable(self) -> Choice:
        """The branch of the largest logit; the first of equal ones."""
        return self.choices[int(self.logits.detach().argmax())]

    def most_probable_of_forms(self) -> dict[str, tuple[int, ...]]:
        """Of every form the ranks of its most probable branch."""
        found: dict[str, tuple[int, ...]] = {}
        for place in torch.argsort(self.logits.detach(), descending=True, stable=True).tolist():
            found.setdefault(self.choices[place].form, self.choices[place].ranks)
        return found

    def state_dict(self) -> dict[str, Any]:
        return {
            "choices": [[choice.form, list(choice.ranks)] for choice in self.choices],
            "sizes": list(self._sizes),
            "factors": [[factor.detach().clone() for factor in factors] for factors in self.factors],
            "logits": self.logits.detach().clone(),
            "left_out": dict(self.left_out),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.choices = [Choice(form, tuple(ranks)) for form, ranks in state["choices"]]
        self.factors = [tuple(self._leaf(factor) for factor in factors) for factors in state["factors"]]
        self.left_out, self._sizes = dict(state["left_out"]), [float(size) for size in state["sizes"]]
        self._place(state["logits"])

    def _place(self, logits: Tensor) -> None:
        sizes = torch.tensor(self._sizes, dtype=torch.float64)
        self.shares, self.logits = self._own(sizes / sizes.max()), self._leaf(logits)

    def _own(self, tensor: Tensor) -> Tensor:
        """A copy of our own, contiguous, so that a restored one gives the same bits."""
        return tensor.detach().to(self._device, self._dtype).clone(memory_format=torch.contiguous_format)

    def _leaf(self, tensor: Tensor) -> Tensor:
        return self._own(tensor).requires_grad_(True)
