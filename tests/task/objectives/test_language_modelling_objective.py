"""Language modelling: cross-entropy of the tokens that count, and its exponential."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch import Tensor

from rank_search.errors import InvalidInputError
from rank_search.task.batch import Batch
from rank_search.task.objectives.language_modelling import LanguageModelling
from rank_search.task.objectives.objective import added
from rank_search.testing import ObjectiveContract

TOKENS = 7


def drawn(samples: int, length: int = 6, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits ``[N, T, V]``, tokens ``[N, T]`` and a mask of right padding, unevenly long."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(samples, length, TOKENS, generator=generator)
    tokens = torch.randint(0, TOKENS, (samples, length), generator=generator)
    lengths = torch.randint(2, length + 1, (samples, 1), generator=generator)
    return logits, tokens, (torch.arange(length) < lengths).long()


def cross_entropies(logits: Tensor, wanted: list[tuple[int, int, int]]) -> list[float]:
    """``-log p`` of (sample, position, token), one at a time."""
    rows = log_softmax(logits.double().numpy(), axis=-1)
    return [-float(rows[place]) for place in wanted]


def next_tokens(tokens: Tensor, mask: Tensor | None = None) -> list[tuple[int, int, int]]:
    """Position t predicts token t + 1, where that is attended."""
    samples, length = tokens.shape
    return [
        (n, t, int(tokens[n, t + 1]))
        for n in range(samples)
        for t in range(length - 1)
        if mask is None or int(mask[n, t + 1])
    ]


def part(nest: Any, start: int, stop: int) -> Any:
    return {key: value[start:stop] for key, value in nest.items()} if isinstance(nest, dict) else nest[start:stop]


def measured(logits: Tensor, inputs: Any, targets: Tensor | None, *cuts: int) -> dict[str, float]:
    objective = LanguageModelling()
    ends = [0, *cuts, len(logits)]
    parts = []
    for i, j in itertools.pairwise(ends):
        batch = Batch(part(inputs, i, j), None if targets is None else targets[i:j])
        parts.append(objective.totals(logits[i:j], batch))
    return objective.measures(added(parts))


class TestWithoutTargets(ObjectiveContract):
    def objective(self) -> LanguageModelling:
        return LanguageModelling()

    def case(self, samples: int) -> tuple[Tensor, Batch]:
        logits, tokens, mask = drawn(samples)
        return logits, Batch({"input_ids": tokens, "attention_mask": mask}, None)


class TestWithTargets(ObjectiveContract):
    def objective(self) -> LanguageModelling:
        return LanguageModelling()

    def case(self, samples: int) -> tuple[Tensor, Batch]:
        logits, tokens, mask = drawn(samples)
        return logits, Batch(tokens, tokens.masked_fill(mask == 0, -100))


def test_what_it_reports() -> None:
    objective = LanguageModelling()
    assert (objective.measure, objective.higher, objective.percent) == ("perplexity", False, False)
    assert (objective.needs_targets, objective.by_dense) == (False, False)


def test_targets_stand_where_they_are_predicted_and_minus_100_does_not_count() -> None:
    logits, tokens, mask = drawn(9)
    targets = tokens.masked_fill(mask == 0, -100)
    places = [(n, t, int(tokens[n, t])) for n in range(9) for t in range(6) if int(mask[n, t])]
    wanted = np.mean(cross_entropies(logits, places))
    measures = measured(logits, torch.zeros_like(tokens), targets, 1, 7)
    assert len(places) < tokens.numel()
    assert measures["loss"] == pytest.approx(wanted, rel=1e-5)
    assert measures["perplexity"] == pytest.approx(math.exp(wanted), rel=1e-5)
    loss = LanguageModelling().loss(logits, Batch(torch.zeros_like(tokens), targets))
    assert float(loss) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("kind", ["tensor", "tuple", "input_ids", "input_ids second", "first of a mapping"])
def test_without_targets_every_position_predicts_the_next_token(kind: str) -> None:
    logits, tokens, _ = drawn(5)
    other = torch.zeros_like(tokens)
    inputs: Any = {
        "tensor": tokens,
        "tuple": (tokens, other),
        "input_ids": {"input_ids": tokens, "types": other},
        "input_ids second": {"position_ids": other, "input_ids": tokens},
        "first of a mapping": {"tokens": tokens, "types": other},
    }[kind]
    wanted = np.mean(cross_entropies(logits, next_tokens(tokens)))
    batch = Batch(inputs, None)
    objective = LanguageModelling()
    assert float(objective.loss(logits, batch)) == pytest.approx(wanted, rel=1e-5)
    measures = objective.measures(added([objective.totals(logits, batch)]))
    assert measures["perplexity"] == pytest.approx(math.exp(wanted), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float32])
def test_positions_whose_next_token_is_not_attended_do_not_count(dtype: torch.dtype) -> None:
    logits, tokens, mask = drawn(9)
    inputs = {"input_ids": tokens, "attention_mask": mask.to(dtype)}
    wanted = np.mean(cross_entropies(logits, next_tokens(tokens, mask)))
    assert wanted != pytest.approx(np.mean(cross_entropies(logits, next_tokens(tokens))), abs=1e-3)
    measures = measured(logits, inputs, None, 2, 3)
    assert measures["loss"] == pytest.approx(wanted, rel=1e-5)
    assert measures["perplexity"] == pytest.approx(math.exp(wanted), rel=1e-5)
    assert float(LanguageModelling().loss(logits, Batch(inputs, None))) == pytest.approx(wanted, rel=1e-5)


def test_left_padding_drops_the_padding_and_keeps_the_first_token_that_is_attended() -> None:
    logits, tokens, _ = drawn(1, length=4)
    mask = torch.tensor([[0, 0, 1, 1]])
    wanted = np.mean(cross_entropies(logits, [(0, 1, int(tokens[0, 2])), (0, 2, int(tokens[0, 3]))]))
    batch = Batch({"input_ids": tokens, "attention_mask": mask}, None)
    assert float(LanguageModelling().loss(logits, batch)) == pytest.approx(wanted, rel=1e-5)


def test_the_perplexity_of_a_uniform_guess_is_the_number_of_tokens() -> None:
    _, tokens, _ = drawn(4)
    assert measured(torch.zeros(4, 6, TOKENS), tokens, None, 3)["perplexity"] == pytest.approx(TOKENS, rel=1e-6)


def test_tokens_and_not_samples_or_batches_weigh_alike() -> None:
    logits = torch.zeros(2, 5, 2)
    logits[0, :, 0] = math.log(3.0)
    targets = torch.tensor([[1, -100, -100, -100, -100], [0, 0, 0, 0, 0]])
    wanted = (math.log(4) + 5 * math.log(2)) / 6
    assert measured(logits, torch.zeros(2, 5), targets, 1)["loss"] == pytest.approx(wanted, rel=1e-6)


def test_a_hopeless_network_has_a_perplexity_that_is_a_float() -> None:
    logits = torch.zeros(1, 3, 2)
    logits[..., 0] = 5000.0
    perplexity = measured(logits, torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.int64))["perplexity"]
    assert perplexity > 1e300


def test_a_batch_in_which_no_token_counts_changes_nothing() -> None:
    logits, tokens, _ = drawn(4)
    targets = tokens.clone()
    targets[:2] = -100
    places = [(n, t, int(tokens[n, t])) for n in (2, 3) for t in range(6)]
    wanted = np.mean(cross_entropies(logits, places))
    assert measured(logits, tokens, targets, 2)["loss"] == pytest.approx(wanted, rel=1e-5)


def test_the_loss_of_a_batch_in_which_no_token_counts_is_a_number() -> None:
    logits = drawn(2)[0].requires_grad_(True)
    loss = LanguageModelling().loss(logits, Batch(torch.zeros(2, 6), torch.full((2, 6), -100)))
    assert float(loss) == 0.0
    loss.backward()
    assert logits.grad is not None
    assert float(logits.grad.abs().sum()) == 0.0


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_distance_is_t_squared_times_the_kl_of_a_token(temperature: float) -> None:
    dense, other = drawn(3)[0], drawn(3, seed=1)[0]
    p, q = (log_softmax(x.double().numpy() / temperature, axis=-1) for x in (dense, other))
    wanted = float(temperature**2 * np.mean(np.sum(np.exp(p) * (p - q), axis=-1)))
    assert float(LanguageModelling().distance(other, dense, temperature)) == pytest.approx(wanted, rel=1e-4)
    assert float(LanguageModelling().distance(dense, dense, temperature)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("outputs", "targets"), [((3, 6, 7), (3, 5)), ((3, 6, 7), (2, 6)), ((3, 7), (3, 6))])
@pytest.mark.parametrize("method", ["loss", "totals"])
def test_shapes_that_do_not_fit_are_named(outputs: tuple[int, ...], targets: tuple[int, ...], method: str) -> None:
    batch = Batch(torch.zeros(3, 6, dtype=torch.int64), torch.zeros(targets, dtype=torch.int64))
    with pytest.raises(InvalidInputError) as caught:
        getattr(LanguageModelling(), method)(torch.zeros(outputs), batch)
    assert str(list(outputs)) in str(caught.value)
    assert str(list(targets)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_logits_of_another_length_than_the_tokens_are_named() -> None:
    with pytest.raises(InvalidInputError) as caught:
        LanguageModelling().loss(torch.zeros(3, 4, 7), Batch(torch.zeros(3, 6, dtype=torch.int64), None))
    assert "[3, 4, 7]" in str(caught.value)
    assert "[3, 6]" in str(caught.value)


def test_inputs_that_are_no_tokens_ask_for_targets() -> None:
    with pytest.raises(InvalidInputError, match="targets"):
        LanguageModelling().loss(torch.zeros(3, 6, 7), Batch(torch.zeros(3, 6), None))
