"""Whether evaluations may use the cheaper repair: the order of plans under each kind, and what each costs."""

from __future__ import annotations

import time

import numpy as np
from cifar import add_data, add_weights, load, resnet20
from scipy.stats import kendalltau
from timing import parser, print_table, use_threads

from rank_search.space import Budget, RankSpace
from rank_search.task import Task

FORMS = ["tucker2", "svd_spatial", "svd_grouped", "cp"]
KINDS = ("none", "recalibrate", "refit")


def main() -> None:
    command = parser(__doc__)
    add_weights(command)
    add_data(command)
    command.add_argument("--cache", default=None, help="folder that keeps the decompositions for another run")
    command.add_argument("--plans", type=int, default=24)
    command.add_argument("--macs", type=float, default=0.3)
    arguments = command.parse_args()
    use_threads(arguments.threads)
    model, example = resnet20(arguments.weights)
    data = load(arguments)
    space = RankSpace.from_model(model, example, FORMS, exclude=["conv1", "linear"], cache=arguments.cache, prune=True)
    budget = Budget(macs=arguments.macs)
    plans = near_the_optimum(space, budget, arguments.plans)
    losses: dict[str, list[float]] = {}
    spent = {}
    for kind in KINDS:
        task = Task(
            model, space, budget, data, evaluation_repair=kind, recalibration_samples=512 if kind == "refit" else 256
        )
        started = time.process_time()
        losses[kind] = [task.evaluate(plan).score for plan in plans]
        spent[kind] = (time.process_time() - started) / len(plans)
        print(kind, np.round(losses[kind], 3), flush=True)
    best = np.argsort(losses["refit"])[: len(plans) // 3]
    rows = []
    for kind in KINDS:
        values = np.array(losses[kind])
        tau = kendalltau(values, losses["refit"]).statistic
        among = kendalltau(values[best], np.array(losses["refit"])[best]).statistic
        rank = int(np.argsort(np.argsort(losses["refit"]))[np.argmin(values)]) + 1
        rows.append([kind, f"{tau:.2f}", f"{among:.2f}", str(rank), f"{spent[kind]:.1f}"])
    print_table(["evaluation", "tau with refit", "tau in the best third", "place of its best plan", "CPU s"], rows)
    print(f"{len(plans)} plans at macs {arguments.macs:g}, loss on {len(data.validation):,} images")


def near_the_optimum(space: RankSpace, budget: Budget, count: int) -> list:  # type: ignore[type-arg]
    """Optima of the knapsack under noise of growing size on its errors: from the best plan to bad ones."""
    rng = np.random.default_rng(0)
    errors = space.relative_errors()
    found = {}
    for size in np.linspace(0, 1.5, 2 * count):
        noisy = [error * np.exp(size * rng.standard_normal(len(error))) for error in errors]
        plan = space.plan(space.minimise(noisy, budget).indices)
        found.setdefault(plan, None)
    return list(found)[:: max(1, len(found) // count)][:count]


if __name__ == "__main__":
    main()
