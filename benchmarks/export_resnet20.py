"""Dense, int8, compressed and both in ONNX Runtime, from exported files; and what folding batch norm is worth."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cifar import add_data, add_weights, load, moments_of, resnet20
from timing import parser, print_table, use_threads
from torch import nn

from rank_search import Budget, RankSpace, Task, export
from rank_search.deploy.engines import make_engine, time_in_turn
from rank_search.deploy.export import fold_batch_norm
from rank_search.deploy.export.parity import Predict
from rank_search.task import ImageData
from rank_search.task.objectives.choose import make_objective

FORMS = ("tucker2", "svd_grouped", "svd_spatial")
CALIBRATION = 256


def accuracy(predict: Predict, data: ImageData) -> dict[str, float]:
    """Of the whole validation set, run by the engine."""
    objective = make_objective(None)
    right = seen = 0.0
    for batch in data.batches(data.validation, 250):
        measures = objective.measures(objective.totals(predict(batch.inputs), batch))
        right, seen = right + measures["accuracy"] * batch.samples, seen + batch.samples
    return {"accuracy": right / seen}


def folding_rows(title: str, network: nn.Module, image: object) -> list[list[str]]:
    """The time of a network with its batch norms and without, in turn."""
    folded, found = fold_batch_norm(network, image)
    rows = []
    for spec in ("eager", "onnxruntime"):
        engine = make_engine(spec)
        before, after = time_in_turn([engine.prepare(model, image) for model in (network, folded)], rounds=25)
        milliseconds = [f"{1000 * timing.least:.3f}" for timing in (before, after)]
        rows.append([title, spec, str(len(found.folded)), *milliseconds, f"{after.least / before.least:.3f}"])
    return rows


def main() -> None:
    command = parser(__doc__)
    add_weights(command)
    add_data(command)
    command.add_argument("--budgets", type=float, nargs="+", default=[0.5, 0.3], help="kept fractions of the MACs")
    command.add_argument("--multiple-of", type=int, default=1, help="of every rank")
    command.add_argument("--engine", default="onnxruntime")
    arguments = command.parse_args()
    use_threads(arguments.threads)
    model, example = resnet20(arguments.weights)
    data = load(arguments)
    inputs = next(iter(data.batches(data.train.subset(CALIBRATION, seed=0), CALIBRATION))).inputs
    image = inputs[:1]
    space = RankSpace.from_model(
        model,
        example,
        FORMS,
        exclude=["conv1", "linear"],
        moments=moments_of(model, data),
        multiple_of=arguments.multiple_of,
    )
    rows, folding = [], folding_rows("dense", model, image)
    for bound in arguments.budgets:
        budget = Budget(macs=bound)
        plan = space.plan(space.minimise(space.relative_errors(), budget).indices)
        network = Task(model, space, budget, data).compress(plan)
        with tempfile.TemporaryDirectory() as folder:
            exported = export(
                network,
                image,
                Path(folder) / "out",
                dense=model,
                calibration=inputs,
                int8=arguments.engine == "onnxruntime",
                engine=arguments.engine,
                judge=lambda predict: accuracy(predict, data),
            )
        for variant in exported.variants:
            kept = [f"{variant.milliseconds:.3f}", f"{variant.kept_time:.3f}", f"{variant.relative:.1e}"]
            rows.append(
                [
                    f"{variant.name}, macs {bound}",
                    f"{variant.bytes / 1000:.0f}",
                    *kept,
                    f"{100 * variant.measures['accuracy']:.2f}",
                ]
            )
        folding += folding_rows(f"macs {bound}", network, image)
    print_table(["network", "file KB", "ms", "kept time", "differs", "accuracy %"], rows)
    print()
    print_table(["network", "engine", "folded", "ms before", "ms after", "after / before"], folding)
    print(
        f"One image, {exported.engine['engine']}, {exported.engine['device']}; process CPU time, the networks of a "
        f"budget in turn: compare ratios. Refitted, not fine-tuned. Accuracy on {len(data.validation)} validation "
        "images, run by the engine from the exported file. `differs`: of the largest logit."
    )


if __name__ == "__main__":
    main()
