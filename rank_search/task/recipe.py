"""The one fine-tune recipe, the same for every method: distillation from the dense net, SGD-Nesterov, cosine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar

from rank_search.errors import InvalidInputError
from rank_search.plugins import nearest

FORM_LR = {"cp": 0.3}
"""Factor on the learning rate of a form's own parameters: CP factors are ill-conditioned (docs/methods.md)."""

DISTILL = ("logits", "layers")


@dataclass(frozen=True)
class Recipe:
    """How a compressed network is trained after its ranks are chosen.

    Args:
        epochs: passes over the training set; 0 leaves the network as it is.
        lr: peak learning rate; rises over the first ``warmup`` of all steps, then falls to 0 as a cosine.
        form_lr: factor on ``lr`` per form for the parameters of layers of that form; 1 where a form is not named.
        momentum, weight_decay: of SGD with Nesterov's momentum; biases and norm layers are not decayed.
        batch_size: samples per step.
        distill: what is learned from the dense network beside the targets: its ``logits`` (the network's outputs,
            whatever they are), or the outputs of its ``layers`` (see :func:`task_loss`).
        distill_weight: of that term; 0 is the objective's loss alone. With ``logits`` at most 1: the loss has the rest.
        layer_sum: with ``layers``: the paper's own sum, which has the factor 0.5 in place of ``distill_weight``.
        mixup: trains on sums of two samples, in shares drawn from Beta(mixup, mixup); 0 on the samples themselves. With
            ``distill_weight`` 1 the network learns what the dense one answers to them: see docs/results.md.
        fix_norms: batch norms keep the running statistics that they have, so that training starts at the network that
            the repair left; on the statistics of batches it starts elsewhere, and few samples do not lead back
            (docs/results.md).
        temperature: of the softmax of ``logits`` (Hinton et al., 2015).
        clip: largest norm of the whole gradient.
        warmup: fraction of all steps.
    """

    epochs: int = 5
    lr: float = 0.02
    form_lr: Mapping[str, float] = field(default_factory=lambda: dict(FORM_LR))
    momentum: float = 0.9
    weight_decay: float = 1e-4
    batch_size: int = 64
    distill: str = "logits"
    distill_weight: float = 0.7
    layer_sum: bool = False
    mixup: float = 0.0
    fix_norms: bool = False
    temperature: float = 2.0
    clip: float = 1.0
    warmup: float = 0.1

    # how a config file reads this section; a number as `distill`, which was its weight, is refused below
    __pydantic_config__: ClassVar[dict[str, str | bool]] = {"extra": "forbid", "coerce_numbers_to_str": True}

    def __post_init__(self) -> None:
        if self.distill not in DISTILL:
            raise InvalidInputError(
                f"finetune distill={self.distill!r} is not allowed{nearest(str(self.distill), DISTILL)}: it must be "
                f"{' or '.join(DISTILL)}; a weight goes to distill_weight"
            )
        if not isinstance(self.layer_sum, bool) or (self.layer_sum and self.distill != "layers"):
            raise InvalidInputError(
                f"finetune layer_sum={self.layer_sum!r} is not allowed with distill={self.distill}: it must be False, "
                "or True with distill=layers"
            )
        if not isinstance(self.fix_norms, bool):
            raise InvalidInputError(f"finetune fix_norms={self.fix_norms!r} is not allowed: it must be True or False")
        ranges = {
            "epochs": (0, math.inf),
            "momentum": (0, 0.9999),
            "weight_decay": (0, math.inf),
            "distill_weight": (0, 1 if self.distill == "logits" else math.inf),
            "mixup": (0, 100),
            "warmup": (0, 1),
        }
        for item in fields(self):
            if item.name in ("distill", "layer_sum", "fix_norms"):
                continue
            value = getattr(self, item.name)
            low, high = ranges.get(item.name, (None, math.inf))
            values = value.values() if isinstance(value, Mapping) else [value]
            for number in values:
                inside = number > 0 if low is None else low <= number <= high
                if isinstance(number, bool) or not inside or not math.isfinite(number):
                    allowed = "above 0" if low is None else f"from {low}" + (f" to {high}" if high < math.inf else "")
                    raise InvalidInputError(f"finetune {item.name}={value!r} is not allowed: it must be {allowed}")
