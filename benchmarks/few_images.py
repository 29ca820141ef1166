"""What a label-free fine-tune on few images is worth after the refit, norms on the statistics of batches or fixed."""

from __future__ import annotations

from dataclasses import replace

from cifar import add_data, add_network, load
from timing import parser, use_threads

from rank_search.run.compression.defaults import REPAIR_INPUTS, forms_for, recipe
from rank_search.searching import search
from rank_search.space import Budget, RankSpace
from rank_search.task import ImageData, Recipe, Task, load_model
from rank_search.task.evaluation import validate
from rank_search.task.objectives.choose import make_objective
from rank_search.task.training import train


def main() -> None:
    command = parser(__doc__)
    add_data(command)
    add_network(command)
    command.add_argument("--images", type=int, nargs="*", default=[64, 512], help="a fifth of them is held out")
    command.add_argument("--macs", type=float, nargs="*", default=[0.4, 0.2])
    command.add_argument("--lr", type=float, nargs="*", default=[0.005])
    command.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    arguments = command.parse_args()
    use_threads(arguments.threads)
    everything = load(arguments)
    model = load_model(arguments.model, arguments.weights)
    space = RankSpace.from_model(
        model, everything.example(), forms_for(model, everything.example()), cache=arguments.cache
    )
    accuracy = make_objective("classification")

    def judged(network: object) -> float:
        """On all unseen images, in per cent."""
        return 100 * validate(network, everything, everything.validation, accuracy).measures["accuracy"]  # type: ignore[arg-type]

    for macs in arguments.macs:
        for count in arguments.images:
            for seed in arguments.seeds:
                data = few(everything, count, seed)
                task = Task(
                    model, space, Budget(macs=macs), data, Recipe(epochs=0), seed, None, REPAIR_INPUTS, "agreement",
                    "refit", REPAIR_INPUTS,
                )  # fmt: skip
                plan = search(task, "knapsack", seed=seed).plan
                said = [f"refitted {judged(task.compress(plan)):.2f}"]
                for lr in arguments.lr:
                    for fixed in (False, True):
                        network = train(
                            task.compress(plan), data, recipe(5, count, lr=lr, fix_norms=fixed), seed, model,
                            objective="agreement",
                        )  # fmt: skip
                        said.append(f"lr {lr} {'fixed' if fixed else 'batches'} {judged(network):.2f}")
                print(f"macs {macs}, {count} images, seed {seed}: {', '.join(said)}", flush=True)


def few(everything: ImageData, count: int, seed: int) -> ImageData:
    """So many of the training images, without their labels; a fifth of them is the validation set."""
    chosen = everything.train.subset(count, seed)
    train_set, held_out = chosen.hold_out(count // 5, seed)
    return replace(everything, train=train_set, validation=held_out, crop=4, flip=True, labelled=False)


if __name__ == "__main__":
    main()
