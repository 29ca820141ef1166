"""How well errors of layers predict the loss of the network: Spearman's rank correlation over random feasible plans."""

from __future__ import annotations

import numpy as np
from cifar import add_data, add_weights, load, resnet20
from forms_resnet20 import CALIBRATION, FORMS, batches
from scipy.stats import spearmanr
from timing import parser, print_table, use_threads

from rank_search.arrays import FloatArray
from rank_search.space import Budget, RankPlan, RankSpace, input_covariances
from rank_search.task import Task

BUDGET = Budget(macs=0.5)


def random_plans(space: RankSpace, values: list[FloatArray], count: int, seed: int) -> list[RankPlan]:
    """Half drawn uniformly in the space, half near the optimum: the knapsack of values with random layer weights."""
    rng = np.random.default_rng(seed)
    plans = [space.random_plan(rng, BUDGET) for _ in range(count // 2)]
    for _ in range(count - len(plans)):
        weights = np.exp(rng.normal(0, 1.5, len(values)))
        noisy = [w * value * np.exp(rng.normal(0, 0.5, len(value))) for w, value in zip(weights, values, strict=True)]
        plans.append(space.plan(space.minimise(noisy, BUDGET).indices))
    return plans


def main() -> None:
    command = parser(__doc__)
    add_weights(command)
    add_data(command)
    command.add_argument("--plans", type=int, default=200)
    command.add_argument("--images", type=int, default=500, help="validation images per plan")
    command.add_argument("--cache", default=None, help="folder that keeps the decompositions for another run")
    arguments = command.parse_args()
    use_threads(arguments.threads)
    model, example = resnet20(arguments.weights)
    data = load(arguments)
    rows = []
    for title in ("tucker2", "with cp"):
        for metric in ("weight", "activation", "activation, centred"):
            covariances = None
            if metric != "weight":
                covariances = input_covariances(model, batches(data, CALIBRATION), centred="centred" in metric)
            space = RankSpace.from_model(
                model,
                example,
                FORMS[title],
                exclude=["conv1", "linear"],
                cache=arguments.cache,
                covariances=covariances,
            )
            relative = space.relative_errors()
            absolute = [one * options.energy for one, options in zip(relative, space.layers, strict=True)]
            plans = random_plans(space, relative, arguments.plans, seed=0)
            task = Task(model, space, BUDGET, data, evaluation_samples=arguments.images)
            losses = np.array([task.evaluate(plan).score for plan in plans])
            picked = np.array([space.indices(plan) for plan in plans])
            half = len(plans) // 2
            for weights, values in (("relative", relative), ("none", absolute)):
                sums = sum(value[rows_of] for value, rows_of in zip(values, picked.T, strict=True))
                found = [
                    spearmanr(sums[part], losses[part]).statistic
                    for part in (slice(None), slice(half), slice(half, None))
                ]
                rows.append([title, metric, weights, *(f"{value:.2f}" for value in found)])
                print("  ".join(rows[-1]), flush=True)
            print(f"  losses: least {losses.min():.2f}, median {np.median(losses):.2f}, greatest {losses.max():.2f}")
    print()
    print_table(["forms", "errors", "weights", "all plans", "uniform", "near the optimum"], rows)
    print(
        f"Spearman's rank correlation of the summed errors with the measured loss, {arguments.plans} plans at {BUDGET} "
        f"(each metric decomposes, and is judged, by itself), {arguments.images} validation images, recalibrated."
    )


if __name__ == "__main__":
    main()
