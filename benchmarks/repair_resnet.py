"""What repair is worth before any fine-tuning: kinds x forms x budgets x errors, on a pretrained CIFAR ResNet."""

from __future__ import annotations

import time

from cifar import CALIBRATION, add_data, add_network, load, moments_of
from timing import parser, print_table, use_threads
from torch import nn

from rank_search.space import Budget, RankSpace
from rank_search.task import Task
from rank_search.task.networks.models import load_model

FORMS = {"tucker2": ["tucker2"], "all four": ["tucker2", "svd_spatial", "svd_grouped", "cp"]}
KINDS = ("none", "recalibrate", "refit")


def main() -> None:
    command = parser(__doc__)
    add_data(command)
    add_network(command)
    command.add_argument("--inputs", type=int, default=CALIBRATION, help="of the repair")
    command.add_argument("--macs", type=float, nargs="*", default=[0.5, 0.3, 0.2])
    arguments = command.parse_args()
    use_threads(arguments.threads)
    model, data = load_model(arguments.model, arguments.weights), load(arguments)
    moments = moments_of(model, data)
    rows = []
    for title, forms in FORMS.items():
        for errors in ("weight", "refit"):
            space = RankSpace.from_model(
                model,
                data.example(),
                forms,
                exclude=["conv1", "linear"],
                cache=arguments.cache,
                moments=moments if errors == "refit" else None,
            )
            started = time.process_time()
            space.relative_errors()
            tables = time.process_time() - started
            for bound in arguments.macs:
                budget = Budget(macs=bound)
                plan = space.plan(space.minimise_measured(budget).solution.indices)
                row = [title, errors, f"{bound:g}", f"{tables:.1f}"]
                for kind in KINDS:
                    task = Task(model, space, budget, data, repair=kind, repair_inputs=arguments.inputs)
                    task.cut(plan)  # factors are fitted once, before the clock
                    started = time.process_time()
                    network = task.compress(plan)
                    spent = time.process_time() - started
                    row += [f"{accuracy(task, network):.2f}", f"{spent:.1f}"]
                rows.append(row)
                print("  ".join(row), flush=True)
    dense = accuracy(Task(model, space, Budget(macs=1.0), data), model)
    print(f"\n{arguments.model}, dense {dense:.2f}; accuracy in %, CPU seconds, {arguments.inputs} inputs")
    print_table(["forms", "errors", "macs", "tables s", *(f"{k}{s}" for k in KINDS for s in ("", " s"))], rows)


def accuracy(task: Task, network: nn.Module) -> float:
    return 100 * task.validate(network).measures["accuracy"]


if __name__ == "__main__":
    main()
