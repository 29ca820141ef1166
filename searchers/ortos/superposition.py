"""One round of the continuous data-free relaxation: a superposition of ranks in every layer.

With the branches What_i(r) of layer i, their logits alpha_i and ``p_i = softmax(alpha_i)``:

    W_mix_i = sum_r p_i(r) What_i(r)                                   [A]
    L_r     = gamma sum_i ( sum_r p_i(r) r / max R_i )^beta            [A]
    factors: L_Tw = ( sum_i ||W_i - W_mix_i||_F^2 ) L_r                [A]
    alpha:   L_Ta = the same, data-free (v1), or the network's validation cross-entropy times L_r (v2)      [A]
    20 iterations on the factors alone, then 100 of a factor step and an alpha step, SGD with Nesterov momentum  [A]

(arXiv 2409.03555, ORTOS in v1, RENE later; [A] is what the authors' code shows, docs/methods.md.) RECONSTRUCTION
[R]: the momentum of the factors goes on from the warm-up; clipping, which is off by default, bounds the norm of a
step's whole gradient. Ours: r where a layer has several forms or separate ranks (:class:`Candidates`); that a number
which is not finite ends the round with an error, where the authors' softmax picks the smallest rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rank_search.errors import EvaluationError, InvalidInputError
from rank_search.searching.option_values import fraction, one_of, positive, whole
from rank_search.space.plan import Choice
from rank_search.space.tables.options import LayerOptions

from .branches import LayerBranches
from .rank_ranges import Candidates

NetworkLoss = Callable[[dict[str, Tensor]], Tensor]
"""From canonical weights by layer name to a loss that can be differentiated in them."""

ADVICE = "lower lr, or set clip (5 mends CP starts that explode); the last finite state is kept"


@dataclass(frozen=True)
class SuperpositionOptions:
    """How a round is run; the defaults are those for CIFAR [A], for ImageNet lr is 1e-4.

    Args:
        warm_up: iterations on the factors alone.
        iterations: of a factor step and an alpha step.
        lr: learning rate of the factors.
        logit_lr: of alpha; None takes lr.
        momentum: Nesterov's.
        gamma, beta: of the rank loss.
        clip: largest norm of the whole gradient of a step; None, the faithful mode, does not clip.
        precision: ``float32`` or ``float64``.

    Raises:
        InvalidInputError: if a value is not allowed.
    """

    warm_up: int = 20
    iterations: int = 100
    lr: float = 1e-3
    logit_lr: float | None = None
    momentum: float = 0.9
    gamma: float = 0.4
    beta: float = 0.8
    clip: float | None = None
    precision: str = "float32"

    def __post_init__(self) -> None:
        whole("warm_up", self.warm_up, 0)
        whole("iterations", self.iterations, 1)
        for option in ("lr", "gamma", "beta"):
            positive(option, getattr(self, option))
        for option in ("logit_lr", "clip"):
            if getattr(self, option) is not None:
                positive(option, getattr(self, option))
        if fraction("momentum", self.momentum) == 1:
            raise InvalidInputError("momentum=1 is not allowed: the steps would never fade; give a number below 1")
        one_of("precision", self.precision, ("float32", "float64"))


@dataclass(frozen=True)
class RoundReport:
    """What a round came to.

    Args:
        entropy: per layer that of p over the logarithm of the number of branches; 1 says that nothing was decided.
        mixture_error: ``||W - W_mix||^2 / ||W||^2``, the mean over layers.
        chosen_error: the same of the most probable branch alone: a mixture may fit W although no branch does.
        rank_loss: L_r.
        clipped: steps whose gradient was clipped.
        left_out: per layer the candidates without a finite start, and why.
    """

    entropy: dict[str, float]
    mixture_error: float
    chosen_error: float
    rank_loss: float
    clipped: int
    left_out: dict[str, dict[str, str]]


def rank_loss(probabilities: Sequence[Tensor], shares: Sequence[Tensor], gamma: float, beta: float) -> Tensor:
    """``L_r = gamma sum_i ( sum_r p_i(r) r / max R_i )^beta`` with ``shares`` r / max R, ``[n]`` of every layer [A]."""
    return gamma * torch.stack([(p @ share) ** beta for p, share in zip(probabilities, shares, strict=True)]).sum()


class Superposition:
    """One round. Memory is that of the branches and of one layer's products: gradients are taken layer by layer.

    Args:
        layers: of a space; exactly those that have candidates.
        candidates: per layer, from :meth:`RankRanges.candidates`.
        options: how.
        device: where it computes.
        state: of :meth:`state_dict`, to go on from instead of fitting the branches.

    Attributes:
        layers: the branches of every layer.
        iteration: how many are done.
        clipped: steps whose gradient was clipped.

    Raises:
        InvalidInputError: if layers and candidates do not belong together.
        EvaluationError: if no candidate of a layer has a finite start.
    """

    def __init__(
        self,
        layers: Sequence[LayerOptions],
        candidates: Mapping[str, Candidates],
        options: SuperpositionOptions | None = None,
        device: torch.device | str = "cpu",
        state: Mapping[str, Any] | None = None,
    ) -> None:
        names = [table.layer.name for table in layers]
        if not names or set(names) != set(candidates):
            wrong = ", ".join(sorted(set(names) ^ set(candidates))) or "no layer at all"
            raise InvalidInputError(f"layers and candidates do not belong together: {wrong}")
        for table in layers:
            unknown = {c.form for c in candidates[table.layer.name].choices} - {form.name for form in table.forms}
            if unknown:
                raise InvalidInputError(f"layer {table.layer.name!r} does not have the form {', '.join(unknown)}")
        self._options = options or SuperpositionOptions()
        dtype = torch.float64 if self._options.precision == "float64" else torch.float32
        self.layers = [LayerBranches(table, dtype, torch.device(device)) for table in layers]
        self.iteration = self.clipped = 0
        self._last_finite: dict[str, Any] | None = None
        if state is None:
            for layer in self.layers:
                layer.fit(candidates[layer.name])
            self._make_optimisers({})
        else:
            self.load_state_dict(state)

    @property
    def total(self) -> int:
        """Iterations of the whole round."""
        return self._options.warm_up + self._options.iterations

    @property
    def done(self) -> bool:
        """Whether the round is over."""
        return self.iteration >= self.total

    def run(self, iterations: int | None = None, network_loss: NetworkLoss | None = None) -> None:
        """So many iterations, or those that are left; whatever stops it, the state is one between two iterations.

        Args:
            iterations: at most; None runs to the end of the round.
            network_loss: of the alpha steps (v2), see :func:`network_loss`; None is data-free (v1).

        Raises:
            EvaluationError: if a loss, gradient, factor or logit is not finite. The state is then that of the last
                iteration that began with a finite loss and gradient.
        """
        until = self.total if iterations is None else min(self.total, self.iteration + iterations)
        try:
            while self.iteration < until:
                self._factor_step()
                if self.iteration >= self._options.warm_up:
                    self._logit_step(network_loss)
                self.iteration += 1
        except BaseException:
            if self._last_finite is not None:
                self.load_state_dict(self._last_finite)
            raise

    def probabilities(self) -> dict[str, dict[Choice, float]]:
        """p of every branch of every layer."""
        return {
            layer.name: dict(zip(layer.choices, layer.probabilities.tolist(), strict=True)) for layer in self.layers
        }

    def most_probable(self) -> dict[str, Choice]:
        """Of every layer the branch of the largest logit."""
        return {layer.name: layer.most_probable() for layer in self.layers}

    def most_probable_of_forms(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """Of every layer and form the ranks of the most probable branch: what :meth:`RankRanges.narrow` takes."""
        return {layer.name: layer.most_probable_of_forms() for layer in self.layers}

    def mixtures(self) -> dict[str, Tensor]:
        """W_mix of every layer, canonical, without gradients."""
        with torch.no_grad():
            return {layer.name: layer.mixture(layer.probabilities) for layer in self.layers}

    def report(self) -> RoundReport:
        """The numbers of this moment.

        Raises:
            EvaluationError: if one is not finite.
        """
        mixed: list[float] = []
        chosen: list[float] = []
        with torch.no_grad():
            for layer in self.layers:
                energy = max(float(layer.target.double().square().sum()), 1e-300)
                best = torch.zeros_like(layer.logits)
                best[int(layer.logits.argmax())] = 1.0
                for errors, p in ((mixed, layer.probabilities), (chosen, best)):
                    errors.append(self._finite(layer.error(p), "reconstruction error", layer.name) / energy)
            loss = float(self._rank_loss())
        return RoundReport(
            {layer.name: layer.entropy for layer in self.layers},
            sum(mixed) / len(mixed),
            sum(chosen) / len(chosen),
            loss,
            self.clipped,
            {layer.name: dict(layer.left_out) for layer in self.layers if layer.left_out},
        )

    def state_dict(self) -> dict[str, Any]:
        """Copies of plain values and tensors, with which a run goes on to the same bits."""
        return {
            "iteration": self.iteration,
            "clipped": self.clipped,
            "layers": {layer.name: layer.state_dict() for layer in self.layers},
            "momentum": {"factors": _momentum(self._factor_steps), "logits": _momentum(self._logit_steps)},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from :meth:`state_dict`, its branches included.

        Raises:
            InvalidInputError: if it is of other layers.
        """
        names = [layer.name for layer in self.layers]
        if set(state["layers"]) != set(names):
            wrong = ", ".join(sorted(set(state["layers"]) ^ set(names)))
            raise InvalidInputError(f"the saved round is of other layers ({wrong}): resume the same search")
        for layer in self.layers:
            layer.load_state_dict(state["layers"][layer.name])
        self.iteration, self.clipped = int(state["iteration"]), int(state["clipped"])
        self._make_optimisers(state["momentum"])

    def _factor_step(self) -> None:
        """SGD on ``( sum_i ||W_i - W_mix_i||^2 ) L_r`` in the factors, where L_r is a number."""
        self._check_logits()
        weight = self._rank_loss().detach()
        gradients: list[Tensor] = []
        for layer in self.layers:
            loss = layer.error(layer.probabilities.detach(), train_factors=True) * weight
            self._finite(loss, "loss", layer.name)
            found = torch.autograd.grad(loss, layer.parameters)
            self._finite(_norm(found), "gradient of the factors", layer.name)
            gradients += found
        self._last_finite = self.state_dict()
        self._apply(self._factor_steps, gradients)
        for layer in self.layers:
            self._finite(_norm(layer.parameters), "norm of the factors", layer.name)

    def _logit_step(self, network_loss: NetworkLoss | None) -> None:
        """SGD on ``loss L_r`` in alpha, by the product rule."""
        logits = [layer.logits for layer in self.layers]
        weight = self._rank_loss()
        of_rank = torch.autograd.grad(weight, logits)
        loss, of_loss = self._errors() if network_loss is None else self._network(network_loss)
        gradients = [loss * mine + weight.detach() * other for mine, other in zip(of_rank, of_loss, strict=True)]
        for layer, gradient in zip(self.layers, gradients, strict=True):
            self._finite(_norm([gradient]), "gradient of the logits", layer.name)
        self._apply(self._logit_steps, gradients)
        self._check_logits()

    def _errors(self) -> tuple[Tensor, list[Tensor]]:
        """The reconstruction error of all layers and its gradient in every alpha."""
        errors: list[Tensor] = []
        gradients: list[Tensor] = []
        for layer in self.layers:
            error = layer.error(layer.probabilities)
            self._finite(error, "reconstruction error", layer.name)
            gradients += torch.autograd.grad(error, [layer.logits])
            errors.append(error.detach())
        return torch.stack(errors).sum(), gradients

    def _network(self, network_loss: NetworkLoss) -> tuple[Tensor, list[Tensor]]:
        """The network's loss and its gradient in every alpha; What is multiplied out twice, so as not to be kept."""
        mixtures = self.mixtures()
        for name, mixture in mixtures.items():
            self._finite(_norm([mixture]), "mixture", name)
            mixture.requires_grad_(True)
        with torch.enable_grad():
            loss = network_loss(dict(mixtures))
        if loss.ndim or not loss.requires_grad:
            raise InvalidInputError(
                f"network_loss returned a tensor of shape {list(loss.shape)}"
                f"{'' if loss.requires_grad else ' that does not depend on the weights'}; give a differentiable number"
            )
        self._finite(loss, "network's loss")
        found = torch.autograd.grad(loss, list(mixtures.values()), allow_unused=True, materialize_grads=True)
        gradients: list[Tensor] = []
        for layer, gradient in zip(self.layers, found, strict=True):
            self._finite(_norm([gradient]), "gradient of the network's loss", layer.name)
            gradients += torch.autograd.grad((layer.mixture(layer.probabilities) * gradient).sum(), [layer.logits])
        return loss.detach().to(self.layers[0].logits), gradients

    def _rank_loss(self) -> Tensor:
        p, shares = zip(*((layer.probabilities, layer.shares) for layer in self.layers), strict=True)
        return rank_loss(p, shares, self._options.gamma, self._options.beta)

    def _apply(self, steps: torch.optim.SGD, gradients: Sequence[Tensor]) -> None:
        """One optimiser step, its whole gradient clipped if it is longer than allowed."""
        norm, clip = float(_norm(gradients)), self._options.clip
        scale = clip / norm if clip is not None and norm > clip else 1.0
        self.clipped += scale < 1
        parameters = steps.param_groups[0]["params"]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient * scale if scale < 1 else gradient
        steps.step()
        steps.zero_grad()

    def _check_logits(self) -> None:
        for layer in self.layers:
            self._finite(_norm([layer.logits]), "norm of the logits", layer.name)

    def _finite(self, value: Tensor, what: str, layer: str | None = None) -> float:
        number = float(value.detach())
        if math.isfinite(number):
            return number
        where, when = "" if layer is None else f"layer {layer!r}: ", f"iteration {self.iteration + 1} of {self.total}"
        raise EvaluationError(f"{where}the {what} is {number} at {when}; {ADVICE}")

    def _make_optimisers(self, momentum: Mapping[str, Sequence[Tensor]]) -> None:
        """Both optimisers of the branches as they are now, with their momentum."""
        options = self._options
        factors = [factor for layer in self.layers for factor in layer.parameters]
        self._factor_steps = _sgd(factors, options.lr, options.momentum, momentum.get("factors", ()))
        logits = [layer.logits for layer in self.layers]
        self._logit_steps = _sgd(logits, options.logit_lr or options.lr, options.momentum, momentum.get("logits", ()))


def _sgd(parameters: list[Tensor], lr: float, momentum: float, buffers: Sequence[Tensor]) -> torch.optim.SGD:
    steps = torch.optim.SGD(parameters, lr=lr, momentum=momentum, nesterov=momentum > 0)
    for parameter, buffer in zip(parameters, buffers, strict=bool(buffers)):
        steps.state[parameter]["momentum_buffer"] = buffer.to(parameter).clone()
    return steps


def _momentum(steps: torch.optim.SGD) -> list[Tensor]:
    """The momentum of every parameter in order; none before the first step."""
    found = [steps.state[parameter].get("momentum_buffer") for parameter in steps.param_groups[0]["params"]]
    return [buffer.clone() for buffer in found if buffer is not None]


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    """Of all entries together, in float64, where the square of no finite float32 overflows."""
    norms = [torch.linalg.vector_norm(tensor.detach(), dtype=torch.float64) for tensor in tensors]
    total: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    return total
