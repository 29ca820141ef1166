"""What the common fine-tune reaches from the refitted start: recipes x seeds, on a pretrained CIFAR ResNet."""

from __future__ import annotations

import time
from dataclasses import asdict, replace

import torch
import yaml
from cifar import add_data, add_network, load, moments_of
from timing import parser, use_threads

from rank_search.space import Budget, RankSpace
from rank_search.task import Recipe, Task
from rank_search.task.networks.models import load_model

FORMS = ["tucker2", "svd_spatial", "svd_grouped", "cp"]


def main() -> None:
    command = parser(__doc__)
    add_data(command)
    add_network(command)
    command.add_argument("--macs", type=float, default=0.266)
    command.add_argument("--recipe", action="append", default=[], help="such as {lr: 0.04, distill_weight: 0.95}")
    command.add_argument("--epochs", type=int, default=12)
    command.add_argument("--seeds", type=int, nargs="*", default=[0])
    arguments = command.parse_args()
    use_threads(arguments.threads)
    model = load_model(arguments.model, arguments.weights)
    data = replace(load(arguments), crop=4, flip=True)
    moments = moments_of(model, data)
    space = RankSpace.from_model(
        model, data.example(), FORMS, exclude=["conv1", "linear"], cache=arguments.cache, moments=moments
    )
    budget = Budget(macs=arguments.macs)
    plan = space.plan(space.minimise_measured(budget).solution.indices)
    for text in arguments.recipe or ["{}"]:
        recipe = Recipe(**{"epochs": arguments.epochs, **yaml.safe_load(text)})
        changed = {key: value for key, value in asdict(recipe).items() if value != asdict(Recipe())[key]}
        for seed in arguments.seeds:
            task = Task(model, space, budget, data, recipe, seed)
            training = task.training(plan)
            print(f"{changed} seed {seed}: refitted {accuracy(task, training.model):.2f}", flush=True)
            started = time.process_time()
            while training.epochs < recipe.epochs:
                training.run(1)
                if training.epochs % 3 == 0 or training.epochs == recipe.epochs:
                    spent = time.process_time() - started
                    images = training.epochs * len(data.train) / spent
                    print(
                        f"  epoch {training.epochs}: {accuracy(task, training.model):.2f} % "
                        f"({images:.0f} images a CPU second)",
                        flush=True,
                    )


def accuracy(task: Task, network: torch.nn.Module) -> float:
    return 100 * task.validate(network).measures["accuracy"]


if __name__ == "__main__":
    main()
