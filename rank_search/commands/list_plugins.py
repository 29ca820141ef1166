"""``rank-search list``."""

from __future__ import annotations

from typing import Any

from rank_search.commands.console import make_console


def list_plugins() -> None:
    """List searchers with what they need and come from, forms, metrics, engines, objectives, configs, recordings."""
    from rank_search.deploy.engines import engines
    from rank_search.errors import PluginError
    from rank_search.plugins import Registry
    from rank_search.recorded.recording import recordings
    from rank_search.report.render.searcher_lines import searcher_lines
    from rank_search.run.config_file import installed_configs
    from rank_search.searching import searchers
    from rank_search.space.forms.decomposition import decompositions
    from rank_search.space.metrics.metric import metrics
    from rank_search.task.objectives.choose import objectives

    console = make_console()
    console.print("[bold]searchers[/bold]")
    for line in searcher_lines(searchers.listing()):
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    kinds: dict[str, Registry[Any]] = {
        "forms": decompositions,
        "metrics": metrics,
        "engines": engines,
        "objectives": objectives,
    }
    for title, registry in kinds.items():
        console.print(f"[bold]{title}[/bold]")
        width = max(map(len, registry.names()))
        for name, found in registry.listing().items():
            if isinstance(found, PluginError):
                console.print(f"  {name:{width}} broken: {found}", highlight=False, markup=False, soft_wrap=True)
            else:
                summary = (found.__doc__ or "").strip().splitlines()[0] if found.__doc__ else ""
                console.print(f"  {name:{width}} {summary}", highlight=False, markup=False, soft_wrap=True)
    for title, names in (("configs", installed_configs()), ("recorded tasks", recordings())):
        console.print(f"[bold]{title}[/bold]")
        for name in names:
            console.print(f"  {name}", highlight=False)
