"""The costs of a population of ResNet-50 plans as one array against one plan at a time."""

from __future__ import annotations

import numpy as np
import torch
from timing import Spread, alternate, parser, print_table, print_verdict, seconds, use_threads

from rank_search.space import RankSpace
from rank_search.task.networks.models import load_model

TARGET = 100
POPULATION, SAMPLE = 100_000, 300
OURS, LOOP = "space.costs(population)", "space.cost(plan) in a loop"


def main() -> None:
    arguments = parser(__doc__).parse_args()
    use_threads(arguments.threads)
    torch.manual_seed(0)
    space = RankSpace.from_model(load_model("torchvision:resnet50"), torch.randn(1, 3, 224, 224))
    rng = np.random.default_rng(0)
    population = np.stack([rng.integers(len(options), size=POPULATION) for options in space.layers], axis=1)
    plans = [space.plan(rows) for rows in population[:SAMPLE]]
    one_by_one = np.array([[space.cost(plan)[metric] for metric in space.metric_names] for plan in plans])
    agree = bool((space.costs(population)[:SAMPLE] == one_by_one).all())
    print(
        f"ResNet-50, {len(space.layers)} layers, {sum(map(len, space.layers)):,} options, {POPULATION:,} random plans"
    )
    works = [
        lambda: {OURS: seconds(lambda: space.costs(population))},
        lambda: {LOOP: seconds(lambda: [space.cost(plan) for plan in plans]) * POPULATION / SAMPLE},
    ]
    found = alternate(works, arguments.repetitions or 40, limit_s=60)
    ratio = Spread.of([loop / ours for ours, loop in zip(found[OURS], found[LOOP], strict=True)])
    rows = [
        [OURS, *Spread.of(found[OURS]).cells(), "1", ""],
        [LOOP, *Spread.of(found[LOOP]).cells(), *ratio.cells()],
    ]
    print_table(["what", "seconds", "range", "to ours", "range"], rows)
    print(
        f"{len(found[OURS])} alternating rounds. The loop is timed over {SAMPLE} plan objects made beforehand and "
        f"scaled to {POPULATION:,}; its look-up tables are warm. The costs of these {SAMPLE} plans "
        f"{'agree exactly' if agree else 'DIFFER'}."
    )
    print_verdict(
        f"at least {TARGET} times faster, equal results",
        f"{ratio.median:.0f} times ({ratio.low:.0f}..{ratio.high:.0f}), {'equal' if agree else 'NOT equal'}",
        ratio.median >= TARGET and agree,
    )


if __name__ == "__main__":
    main()
