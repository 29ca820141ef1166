"""What the MACs of a plan are worth in time: the data-free optimum of every form, against the dense network."""

from __future__ import annotations

import torch
from cifar import add_weights, resnet20
from forms_resnet20 import BUDGETS, FORMS
from timing import parser, print_table, use_threads

from rank_search.space import Budget, RankSpace
from rank_search.task.latency import timings

BATCHES = (1, 32)


def main() -> None:
    command = parser(__doc__)
    add_weights(command)
    command.add_argument("--cache", default=None, help="folder that keeps the decompositions for another run")
    arguments = command.parse_args()
    use_threads(arguments.threads)
    model, example = resnet20(arguments.weights)
    model.eval()
    rows = []
    for title, forms in FORMS.items():
        space = RankSpace.from_model(model, example, forms, exclude=["conv1", "linear"], cache=arguments.cache)
        values = space.relative_errors()
        for bound in BUDGETS:
            plan = space.plan(space.minimise(values, Budget(macs=bound)).indices)
            small = space.compress(model, plan).eval()
            row = [title, f"{space.cost(plan)['macs'] / space.dense_cost['macs']:.3f}"]
            for size in BATCHES:
                found = timings([small, model], torch.randn(size, 3, 32, 32), rounds=arguments.repetitions or 40)
                own, dense = (1000 * timing.least / size for timing in found)
                row += [f"{own:.2f}", f"{dense:.2f}", f"{own / dense:.2f}"]
            rows.append(row)
    header = ["forms", "kept macs"]
    for size in BATCHES:
        header += [f"ms, batch {size}", "dense", "kept time"]
    print_table(header, rows)
    print("Least milliseconds per image, the compressed and the dense network in turn; channels-last.")


if __name__ == "__main__":
    main()
