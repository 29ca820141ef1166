"""Accuracy against measured time: budgets of time, and of MACs with and without aligned ranks, on a CIFAR ResNet."""

from __future__ import annotations

from cifar import add_data, add_network, load
from timing import parser, print_table, use_threads

from rank_search import Latency, refined, whole_times
from rank_search.space import Budget, RankSpace
from rank_search.task import Task
from rank_search.task.networks.models import load_model

FORMS = ["tucker2", "svd_spatial", "svd_grouped", "cp"]


def main() -> None:
    command = parser(__doc__)
    add_data(command)
    add_network(command)
    command.add_argument("--engine", default="onnxruntime")
    command.add_argument("--batch", type=int, default=1)
    command.add_argument("--times", type=float, nargs="*", default=[0.8, 0.7, 0.6, 0.5])
    command.add_argument("--macs", type=float, nargs="*", default=[0.5, 0.3])
    arguments = command.parse_args()
    use_threads(arguments.threads)
    model = load_model(arguments.model, arguments.weights).eval()
    data = load(arguments)
    rows = []
    for align in (True, False):
        metric = Latency(arguments.engine, arguments.batch)
        space = RankSpace.from_model(
            model,
            data.example(),
            FORMS,
            exclude=["conv1", "linear"],
            cache=arguments.cache,
            metrics=[metric],
            align=align,
        )
        space.relative_errors()
        times = [Budget(latency_ms=bound) for bound in arguments.times] if align else []
        space = refined(space, model, times)
        for budget in [*times, *(Budget(macs=bound) for bound in arguments.macs)]:
            plan = space.plan(space.minimise_measured(budget).solution.indices)
            task = Task(model, space, budget, data)
            accuracy = task.validate(task.compress(plan)).measures["accuracy"]
            dense, (own,) = whole_times(space, model, [plan])
            cost = space.cost(plan)
            kept = [f"{cost[name] / space.dense_cost[name]:.3f}" for name in ("macs", "latency_ms")]
            rows.append([str(budget), "yes" if align else "no", *kept, f"{own / dense:.3f}", f"{100 * accuracy:.2f}"])
            print(*rows[-1], flush=True)
    print_table(["budget", "aligned", "kept macs", "predicted time", "measured time", "accuracy, refitted"], rows)
    print(f"{metric.engine!r}, batch {arguments.batch}; dense {dense / 1e6:.3f} ms; CPU time, networks in turn.")


if __name__ == "__main__":
    main()
