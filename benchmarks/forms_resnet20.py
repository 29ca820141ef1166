"""What the data-free optimum is worth before any fine-tuning: forms x errors x budgets, on a pretrained ResNet-20."""

from __future__ import annotations

from collections.abc import Iterator

from cifar import add_data, add_weights, load, resnet20
from timing import parser, print_table, seconds, use_threads
from torch import Tensor

from rank_search.space import Budget, RankSpace, input_covariances
from rank_search.task import ImageData, Task

MIXED = ("tucker2", "svd_grouped", "svd_spatial")
FORMS = {
    "tucker2": ("tucker2",),
    "svd_grouped": ("svd_grouped",),
    "svd_spatial": ("svd_spatial",),
    "those three": MIXED,
    "with cp": (*MIXED, "cp"),
}
BUDGETS = (0.7, 0.5, 0.3)
CALIBRATION, RECALIBRATION = 512, 256


def batches(data: ImageData, images: int) -> Iterator[Tensor]:
    return (inputs for inputs, _ in data.batches(data.train.subset(images, seed=0), 128))


def main() -> None:
    command = parser(__doc__)
    add_weights(command)
    add_data(command)
    command.add_argument("--cache", default=None, help="folder that keeps the decompositions for another run")
    arguments = command.parse_args()
    use_threads(arguments.threads)
    model, example = resnet20(arguments.weights)
    data = load(arguments)
    metrics = {
        "weight": None,
        "activation": input_covariances(model, batches(data, CALIBRATION)),
        "activation, centred": input_covariances(model, batches(data, CALIBRATION), centred=True),
    }
    rows = []
    for title, forms in FORMS.items():
        for metric, covariances in metrics.items():
            space = RankSpace.from_model(
                model, example, forms, exclude=["conv1", "linear"], cache=arguments.cache, covariances=covariances
            )
            spent = seconds(space.relative_errors)
            relative = space.relative_errors()
            absolute = [one * options.energy for one, options in zip(relative, space.layers, strict=True)]
            for weights, values in (("relative", relative), ("none", absolute)):
                row = [title, metric, weights, f"{spent:.1f}"]
                for bound in BUDGETS:
                    budget = Budget(macs=bound)
                    solution = space.minimise(values, budget)
                    plan = space.plan(solution.indices)
                    stored, mended = (
                        task.validate(task.compress(plan)).measures["accuracy"]
                        for task in (
                            Task(model, space, budget, data, recalibration_samples=images)
                            for images in (0, RECALIBRATION)
                        )
                    )
                    gap = 100 * (solution.value / solution.lower_bound - 1)
                    row.append(f"{100 * mended:.1f} ({100 * stored:.1f}) {gap:.3f} %")
                    if weights == "relative" and metric == "weight":
                        row[-1] += f" {solution.value:.3f}"
                rows.append(row)
                print("  ".join(row), flush=True)
    print()
    print_table(["forms", "errors", "weights", "tables s", *(f"macs {bound}" for bound in BUDGETS)], rows)
    print(
        "Accuracy in % on the whole validation set, recalibrated (and with the dense network's statistics), then how "
        "far the knapsack's value is above its bound, and the value itself for relative weight errors. No fine-tuning. "
        f"{CALIBRATION} unlabelled images for the covariances, {RECALIBRATION} for recalibration."
    )


if __name__ == "__main__":
    main()
