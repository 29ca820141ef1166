"""A fine-tune on disk: interrupted after any epoch it goes on to the same bits; files of others are started over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_task import SHORT, TRAIN, TinyNet, tiny_data, tiny_net, tiny_task
from torch import Tensor, nn

from rank_search.errors import LimitReached, PlanError, StorageError
from rank_search.space import DENSE, Budget, Choice, RankPlan, plan_of
from rank_search.states import load_state, save_state
from rank_search.task import Limits, Recipe, Task
from rank_search.task.finetune import train_on
from rank_search.task.meter import COUNTS
from rank_search.task.training import Training

pytestmark = pytest.mark.usefixtures("single_thread")

BUDGET = Budget(macs=0.7)
EPOCHS = 4
PLAN = RankPlan({"first": Choice("tucker2", (1, 1)), "second": Choice("tucker2", (2, 2)), "head": DENSE})
OTHER = RankPlan({"first": Choice("tucker2", (1, 1)), "second": Choice("tucker2", (1, 1)), "head": Choice("svd", (1,))})


class Dropping(TinyNet):
    """The tiny network, which draws from the global generator in training."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.3)
        self.load_state_dict(tiny_net().state_dict())

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(self.dropout(images))


@pytest.fixture(scope="module")
def task() -> Task:
    return tiny_task(BUDGET, net=Dropping(), recipe=replace(SHORT, epochs=EPOCHS), seed=3)


def fresh(task: Task, **options: Any) -> Task:
    """The same task with a meter of its own, as another process has it."""
    return task.under(BUDGET, **options)


def bits(net: nn.Module) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in net.state_dict().items()}


def counts(task: Task) -> dict[str, float | int]:
    reading = task.meter.reading()
    return {name: reading[name] for name in COUNTS}


def stopping_after(epochs: int) -> Callable[[], None]:
    left = iter(range(epochs - 1))

    def after_epoch() -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    return after_epoch


def stopped(task: Task, file: Path, after: int, **options: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        task.finetune(PLAN, checkpoint=file, after_epoch=stopping_after(after), **options)


@pytest.fixture(scope="module")
def whole(task: Task) -> tuple[dict[str, bytes], dict[str, float | int]]:
    """The bits and the meter of the fine-tune without a file."""
    undisturbed = fresh(task)
    return bits(undisturbed.finetune(PLAN)), counts(undisturbed)


Whole = tuple[dict[str, bytes], dict[str, float | int]]

# -- going on ----------------------------------------------------------------------------------------------------------


def test_a_file_changes_nothing(task: Task, whole: Whole, tmp_path: Path) -> None:
    seen: list[int] = []
    other, file = fresh(task), tmp_path / "state"
    net = other.finetune(PLAN, checkpoint=file, after_epoch=lambda: seen.append(load_state(file)["training"]["epochs"]))
    assert (bits(net), counts(other)) == whole
    assert seen == [1, 2, 3, 4]
    assert whole[1]["samples_trained"] == EPOCHS * TRAIN


@pytest.mark.parametrize("interruptions", [(1,), (2,), (3,), (4,), (1, 1, 1), (2, 1), (1, 1, 1, 1)], ids=str)
def test_it_goes_on_to_the_same_bits_and_counts(
    task: Task, whole: Whole, interruptions: tuple[int, ...], tmp_path: Path
) -> None:
    for epochs in interruptions:
        stopped(fresh(task), tmp_path / "state", epochs)
        torch.rand(5)
    other = fresh(task)
    again: list[int] = []
    net = other.finetune(PLAN, checkpoint=tmp_path / "state", after_epoch=lambda: again.append(1))
    assert (bits(net), counts(other)) == whole
    assert len(again) == EPOCHS - sum(interruptions)
    assert not any(module.training for module in net.modules())


def test_what_is_over_is_read_back_without_training(
    task: Task, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh(task).finetune(PLAN, checkpoint=tmp_path / "state")
    monkeypatch.setattr(torch.optim.SGD, "step", lambda *args: pytest.fail("it trained"))
    other = fresh(task)
    assert (bits(other.finetune(PLAN, checkpoint=tmp_path / "state")), counts(other)) == whole


def test_an_epoch_that_was_interrupted_is_trained_again(task: Task, whole: Whole, tmp_path: Path) -> None:
    steps = 0

    class Stopped(Exception):
        pass

    def charge(samples: int) -> None:
        nonlocal steps
        steps += 1
        if steps == 5:  # in the second of the epochs of three steps
            raise Stopped

    first = fresh(task)
    made = first.training(PLAN)
    broken = Training(made.model, tiny_data(), made.recipe, first.seed, first.model, charge)
    belongs_to = {"plan": PLAN.to_dict(), "epochs": EPOCHS, "seed": first.seed}
    with pytest.raises(Stopped):
        train_on(broken, tmp_path / "state", belongs_to)
    other = fresh(task)
    assert (bits(other.finetune(PLAN, checkpoint=tmp_path / "state")), counts(other)) == whole


def test_no_epochs_leave_the_network_as_compressed_and_no_file(task: Task, tmp_path: Path) -> None:
    other = fresh(task)
    net = other.finetune(PLAN, 0, checkpoint=tmp_path / "state")
    assert bits(net) == bits(fresh(task).compress(PLAN))
    assert counts(other)["samples_trained"] == 0
    assert not (tmp_path / "state").exists()


def test_a_limit_counts_what_was_trained_before(task: Task, tmp_path: Path) -> None:
    limits = Limits(samples_trained=3 * TRAIN)
    stopped(fresh(task, limits=limits), tmp_path / "state", 2)
    other = fresh(task, limits=limits)
    with pytest.raises(LimitReached, match="samples_trained would pass the limit of 123"):
        other.finetune(PLAN, checkpoint=tmp_path / "state")
    assert other.meter.samples_trained == 3 * TRAIN


# -- files of others ---------------------------------------------------------------------------------------------------


def spoil(file: Path, how: str) -> None:
    content = file.read_bytes()
    if how == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif how == "without its end":
        file.write_bytes(content[:-1])
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "garbage":
        file.write_bytes(bytes(range(256)) * 20)
    elif how == "other tensors":
        file.unlink()
        save_file({"weight": torch.zeros(3)}, file)
    elif how == "another state":
        save_state(file, {"trials": [], "searcher": {}})
    elif how == "a state that is no JSON":
        file.unlink()
        save_file({"empty": torch.zeros(0)}, file, {"state": "{"})


@pytest.mark.parametrize(
    "how",
    ["truncated", "without its end", "empty", "garbage", "other tensors", "another state", "a state that is no JSON"],
)
def test_a_file_that_cannot_be_read_is_started_over(task: Task, whole: Whole, how: str, tmp_path: Path) -> None:
    stopped(fresh(task), tmp_path / "state", 2)
    spoil(tmp_path / "state", how)
    other = fresh(task)
    assert (bits(other.finetune(PLAN, checkpoint=tmp_path / "state")), counts(other)) == whole
    assert load_state(tmp_path / "state")["training"]["epochs"] == EPOCHS


def test_a_file_of_another_plan_is_started_over(task: Task, whole: Whole, tmp_path: Path) -> None:
    fresh(task).finetune(OTHER, checkpoint=tmp_path / "state")
    other = fresh(task)
    assert (bits(other.finetune(PLAN, checkpoint=tmp_path / "state")), counts(other)) == whole


def test_a_file_of_other_epochs_is_started_over(task: Task, whole: Whole, tmp_path: Path) -> None:
    stopped(fresh(task), tmp_path / "state", 2, epochs=EPOCHS + 1)
    other = fresh(task)
    assert (bits(other.finetune(PLAN, checkpoint=tmp_path / "state")), counts(other)) == whole


def test_a_file_of_another_seed_is_started_over(task: Task, whole: Whole, tmp_path: Path) -> None:
    stopped(fresh(task, seed=8), tmp_path / "state", 2)
    other = fresh(task)
    assert (bits(other.finetune(PLAN, checkpoint=tmp_path / "state")), counts(other)) == whole


def test_a_file_of_another_recipe_is_started_over(tmp_path: Path) -> None:
    slow, fast = (tiny_task(BUDGET, recipe=Recipe(epochs=EPOCHS, lr=lr, batch_size=16)) for lr in (0.001, 0.1))
    stopped(slow, tmp_path / "state", 2)
    assert bits(fast.finetune(PLAN, checkpoint=tmp_path / "state")) == bits(fast.finetune(PLAN))


def test_a_file_of_another_start_is_started_over(task: Task, tmp_path: Path) -> None:
    start = fresh(task).finetune(PLAN, 2)
    stopped(fresh(task), tmp_path / "state", 2)
    expected = bits(fresh(task).finetune(PLAN, trained=start))
    assert bits(fresh(task).finetune(PLAN, trained=start, checkpoint=tmp_path / "state")) == expected


def test_a_file_that_cannot_be_written_is_an_error_in_a_line(task: Task, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError) as caught:
        fresh(task).finetune(PLAN, checkpoint=tmp_path / "file" / "state")
    assert "\n" not in str(caught.value)


# -- from a network that was trained before ----------------------------------------------------------------------------


def test_the_plans_own_network_is_copied_as_it_stands(task: Task) -> None:
    start = fresh(task).finetune(PLAN, 2).train()
    before = bits(start)
    other = fresh(task)
    copied = other.compress(PLAN, start)
    assert copied is not start
    assert bits(copied) == before
    assert plan_of(copied) == PLAN
    assert not any(module.training for module in copied.modules())
    assert counts(other) == dict.fromkeys(COUNTS, 0)
    with torch.no_grad():
        next(copied.parameters()).zero_()
    assert bits(start) == before


def test_a_fine_tune_goes_on_from_the_plans_own_network(task: Task) -> None:
    start = fresh(task).finetune(PLAN, 2)
    before = bits(start)
    other = fresh(task)
    found = bits(other.finetune(PLAN, 2, trained=start))
    assert counts(other) == {**dict.fromkeys(COUNTS, 0), "samples_trained": 2 * TRAIN}
    by_hand = Training(
        fresh(task).compress(PLAN, start), tiny_data(), replace(task.recipe, epochs=2), task.seed, task.model
    )
    by_hand.run(2)
    assert found == bits(by_hand.model)
    assert bits(start) == before


def test_the_network_of_another_plan_is_refused(task: Task) -> None:
    start = fresh(task).compress(OTHER)
    for call in (fresh(task).compress, lambda plan, net: fresh(task).finetune(plan, trained=net)):
        with pytest.raises(PlanError, match=r"^the trained network is that of ") as caught:
            call(PLAN, start)
        assert "\n" not in str(caught.value)
