"""The relaxation's budget mode: CPU time against its faithful mode, regret against the exact knapsack, a ResNet-50."""

from __future__ import annotations

import time
from typing import Any

import torch
from cifar import add_weights, resnet20
from timing import parser, print_table, print_verdict, use_threads

from rank_search.searching import make_searcher, run_search
from rank_search.space import Budget, RankSpace
from rank_search.task import Task
from rank_search.task.networks.models import load_model

BUDGETS = (0.7, 0.5, 0.3)
MIXED = ("tucker2", "svd_spatial", "svd_grouped", "tensor_train")
TIMES_TARGET, REGRET_TARGET, RESNET50_TARGET_S = 50, 1.0, 60.0


def cpu_seconds(task: Task, **options: Any) -> float:
    """CPU seconds of a search whose tables are made."""
    searcher = make_searcher(task.under(task.budget), "relaxation", 0, **options)
    start = time.process_time()
    run_search(searcher)
    return time.process_time() - start


def speed(weights: str | None, repetitions: int) -> float:
    """How many times the faithful mode's CPU time is that of the budget mode: runs in turn, least of each."""
    model, example = resnet20(weights)
    space = RankSpace.from_model(model, example, ["tucker2"])
    space.relative_errors()
    task = Task(model, space, Budget(macs=0.5))
    budget, faithful = [], []
    for _ in range(repetitions):
        budget.append(cpu_seconds(task))
        faithful.append(cpu_seconds(task, mode="faithful"))
        budget.append(cpu_seconds(task))
    print_table(
        ["ResNet-20, tucker2, macs 0.5", "CPU s, least", "most"],
        [[name, f"{min(s):.2f}", f"{max(s):.2f}"] for name, s in (("budget", budget), ("faithful", faithful))],
    )
    return min(faithful) / min(budget)


def regrets(weights: str | None) -> list[float]:
    """Percent above the optimum over the same tables, which the knapsack proves."""
    model, example = resnet20(weights)
    rows, found = [], []
    for forms in (("tucker2",), MIXED):
        space = RankSpace.from_model(model, example, forms)
        errors = space.relative_errors()
        for macs in BUDGETS:
            task = Task(model, space, Budget(macs=macs))
            optimum = space.minimise(errors, task.budget)
            assert optimum.value == optimum.lower_bound, "the optimum is not proven"
            values = []
            for polish in (False, True):
                result = run_search(make_searcher(task.under(task.budget), "relaxation", 0, polish=polish))
                assert result.score is not None
                values.append(100 * (result.score / optimum.value - 1))
            last = result.trials[-1].info
            said = [f"{values[0]:.2f}", f"{values[1]:.3f}", f"{last['entropy']:.3f}", f"{last['violation']:.0e}"]
            rows.append(["+".join(forms), f"{macs}", f"{optimum.value:.4f}", *said])
            found.append(values[1])
    header = ["forms", "macs", "optimum", "projected: regret %", "polished: regret %", "entropy", "violation"]
    print()
    print_table(header, rows)
    return found


def resnet50() -> float:
    """CPU seconds of tables and search together."""
    torch.manual_seed(0)
    model, example = load_model("torchvision:resnet50"), torch.randn(1, 3, 224, 224)
    start = time.process_time()
    space = RankSpace.from_model(model, example, ["tucker2", "svd"])
    space.relative_errors()
    made = time.process_time()
    task = Task(model, space, Budget(macs=0.5))
    result = run_search(make_searcher(task, "relaxation", 0))
    spent = time.process_time() - start
    optimum = space.minimise(space.relative_errors(), task.budget).value
    assert result.score is not None
    print(
        f"\nResNet-50, tucker2+svd, {sum(map(len, space.layers)):,} options: {spent:.1f} CPU s, {made - start:.1f} "
        f"of them the tables; regret {100 * (result.score / optimum - 1):.4f} %"
    )
    return spent


def main() -> None:
    command = parser(__doc__)
    add_weights(command)
    arguments = command.parse_args()
    use_threads(arguments.threads)
    times, regret = speed(arguments.weights, arguments.repetitions or 2), regrets(arguments.weights)
    spent = resnet50()
    print_verdict(
        f"budget mode at least {TIMES_TARGET} times less CPU time than faithful; regret at most {REGRET_TARGET} %; "
        f"ResNet-50 under {RESNET50_TARGET_S:.0f} s",
        f"{times:.0f} times, {max(regret):.3f} %, {spent:.0f} s",
        times >= TIMES_TARGET and max(regret) <= REGRET_TARGET and spent < RESNET50_TARGET_S,
    )


if __name__ == "__main__":
    main()
