"""How well layers measured alone foretell whole networks, and what a budget of time buys: torchvision ResNets."""

from __future__ import annotations

import time

import torch
import torchvision
from timing import parser, print_table, use_threads
from torch import nn

from rank_search import Latency, calibrated, refined, whole_times
from rank_search.deploy.latency import check
from rank_search.space import Budget, RankSpace


def main() -> None:
    command = parser(__doc__)
    command.add_argument("--model", default="resnet18")
    command.add_argument("--engines", nargs="*", default=["onnxruntime", "eager"])
    command.add_argument("--batch", type=int, default=1)
    command.add_argument("--plans", type=int, default=30)
    command.add_argument("--forms", nargs="*", default=["tucker2", "svd_spatial"])
    command.add_argument("--times", type=float, nargs="*", default=[0.5, 0.3])
    arguments = command.parse_args()
    use_threads(arguments.threads)
    torch.manual_seed(0)
    model: nn.Module = getattr(torchvision.models, arguments.model)().eval()
    rows, answers = [], []
    for engine in arguments.engines:
        started = time.process_time()
        space = RankSpace.from_model(
            model,
            torch.zeros(1, 3, 224, 224),
            arguments.forms,
            exclude=["conv1", "fc"],
            metrics=[Latency(engine, arguments.batch)],
            align=True,
        )
        space = calibrated(space, model)
        spent = time.process_time() - started
        found = check(space, model, arguments.plans)
        shares = [f"{found.error:.3f}", f"{found.within(0.05):.2f}", f"{found.within(0.1):.2f}", f"{found.tau:.3f}"]
        rows.append([engine, f"{spent:.0f}", *shares])
        print(*rows[-1], flush=True)
        budgets = [Budget(latency_ms=bound) for bound in arguments.times] + [Budget(macs=0.3)]
        space.relative_errors()
        space = refined(space, model, budgets)
        for budget in budgets:
            plan = space.plan(space.minimise(space.relative_errors(), budget).indices)
            dense, (own,) = whole_times(space, model, [plan])
            macs = space.cost(plan)["macs"] / space.dense_cost["macs"]
            share = own / dense
            answers.append([engine, str(budget), f"{macs:.3f}", f"{share:.3f}", f"{share / macs:.2f}"])
            print(*answers[-1], flush=True)
    print_table(["engine", "CPU s", "mean error", "within 5 %", "within 10 %", "Kendall's tau"], rows)
    print_table(["engine", "budget", "kept macs", "measured time", "time / macs"], answers)
    print(f"{arguments.model}, random weights, {arguments.plans} random plans, batch {arguments.batch}.")


if __name__ == "__main__":
    main()
