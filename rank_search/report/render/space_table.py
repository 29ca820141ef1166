"""The rank space as a table: what ``rank-search inspect`` prints."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rank_search.space import RankSpace


def print_space(space: RankSpace, title: str, console: Console) -> None:
    """Prints every layer with its forms and options, every skipped layer with its reason, and the space's size.

    Args:
        space: any space.
        title: its name.
        console: where to print.
    """
    table = Table(
        title=f"{escape(title)}: {len(space.layers)} layers in the space, {len(space.skipped)} left as they are"
    )
    for heading in ("layer", "shape", "form: largest ranks"):
        table.add_column(heading, no_wrap=True)
    for heading in ("options", *space.metric_names):
        table.add_column(heading, justify="right", no_wrap=True)
    for options in space.layers:
        largest = [
            f"{form.name}: {','.join(map(str, options.ranks_of(i).max(0)))}" for i, form in enumerate(options.forms)
        ]
        costs = [f"{cost:,}" for cost in options.costs[0].tolist()]
        shape = "x".join(map(str, options.layer.shape))
        table.add_row(escape(options.layer.name), shape, "  ".join(largest), f"{len(options):,}", *costs)
    console.print(table)
    if space.skipped:
        skipped = Table(title="left as they are")
        skipped.add_column("layer", no_wrap=True)
        skipped.add_column("reason")
        for name, reason in space.skipped.items():
            skipped.add_row(escape(name), escape(reason))
        console.print(skipped)
    dense, least = space.dense_cost, space.smallest_cost
    console.print(
        f"plans in the space: about 10^{len(str(space.size)) - 1}\n"
        + "\n".join(
            f"{metric}: dense {dense[metric]:,}, smallest reachable {least[metric]:,} "
            f"({least[metric] / dense[metric]:.4f})"
            for metric in space.metric_names
        ),
        highlight=False,
    )
    if space.not_counted:
        console.print(
            f"not counted: {', '.join(space.not_counted)} (operators that compute, whose multiply-adds are not known: "
            "they are in no cost above)",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
