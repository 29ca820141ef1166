"""What ``rank-search latency`` prints: where a run's time goes, and how well the table foretells whole networks."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rank_search.deploy.latency import Check, Latency
from rank_search.space import RankSpace


def print_latencies(space: RankSpace, metric: Latency, title: str, console: Console) -> None:
    """Prints the engine, every layer with its dense time and the times that its forms reach, and what no plan changes.

    Args:
        space: that counts the metric.
        metric: of the space.
        title: of the task.
        console: where to print.
    """
    facts = metric.fingerprint()
    column = space.metric_names.index(metric.name)
    dense = space.dense_cost[metric.name]
    where = f"a run of {metric.batch} in {metric.engine.name}"
    table = Table(title=f"{escape(title)}: microseconds of {where}, scaled to whole networks")
    table.add_column("layer", no_wrap=True)
    table.add_column("form", no_wrap=True)
    for heading in ("share", "least", "most", "faster than dense"):
        table.add_column(heading, justify="right", no_wrap=True)
    for options in space.layers:
        own = int(options.costs[0, column])
        table.add_row(escape(options.layer.name), "dense", f"{own / dense:.1%}", f"{own / 1000:.0f}", "", "")
        for position, form in enumerate(options.forms):
            times = options.costs[options.form == position, column]
            faster = f"{int((times < own).sum())} of {len(times)}"
            table.add_row("", form.name, "", f"{times.min() / 1000:.0f}", f"{times.max() / 1000:.0f}", faster)
    console.print(table)
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    fit = metric.table.fit or {"scale": 1.0, "rest": space.fixed_cost[metric.name]}
    lines = (
        f"{metric.engine!r}; {versions}; {facts['device']}",
        f"dense: {dense / metric.per_unit:.3f} ms; what no plan over these layers changes: "
        f"{fit['rest'] / metric.per_unit:.3f} ms; whole networks take {fit['scale']:.3f} of the sum of their layers",
        f"smallest reachable: {space.smallest_cost[metric.name] / dense:.3f} of the dense time; "
        f"{len(metric.table):,} times in the table",
    )
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def print_check(found: Check, console: Console) -> None:
    """Prints how predictions of whole networks came true."""
    console.print(
        f"{len(found.plans)} random plans, whole: mean error {found.error:.1%}, within 5 % {found.within(0.05):.0%}, "
        f"within 10 % {found.within(0.1):.0%}, Kendall's tau {found.tau:.3f}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
