"""The model card of an export, for people; ``export.json`` holds the same for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rank_search.deploy.export.exported import Exported, Variant

ABOVE = ("name", "held_out_samples", "interval_95")
"""Facts that do not stand under origin."""


def card(exported: Exported, loading: str) -> str:
    """Markdown.

    Args:
        exported: what it is about.
        loading: Python that loads the file.
    """
    engine = exported.engine
    versions = ", ".join(f"{name} {version}" for name, version in engine["versions"].items())
    parts = [
        f"# {exported.facts.get('name', 'Compressed network')}",
        f"A neural network with layers in low rank, as {exported.format}. It runs without rank-search.",
        _table(exported),
        *_held_out(exported.facts),
        f"Times are of one call with a batch of {exported.batch} in {engine['engine']} with {engine['threads']} "
        f"thread{'s' * (engine['threads'] > 1)} on {engine['device']} ({versions}), all rows in turn: compare them "
        "with one another. "
        "`differs` is the largest difference from the same network in torch, of its largest output.",
        "## Parity",
        f"Largest difference from the network in torch: {exported.parity.absolute:.3g}, {exported.parity.relative:.3g} "
        f"of the largest output; allowed: {exported.parity.tolerance:.3g}. Batches of "
        f"{', '.join(map(str, exported.parity.batches))}.",
        *_folding(exported),
        "## Loading",
        f"```python\n{loading.strip()}\n```",
        "## Cost",
        _costs(exported),
        "## Plan",
        _plan(exported.plan),
        *_facts(exported.facts),
        "## Files",
        "\n".join(f"- `{name}`: SHA-256 `{digest}`" for name, digest in exported.files.items()),
        "`SHA256SUMS` holds them for `sha256sum -c`, `export.json` all numbers of this card.",
    ]
    return "\n\n".join(parts) + "\n"


def _table(exported: Exported) -> str:
    measures = list(dict.fromkeys(name for variant in exported.variants for name in variant.measures))
    header = ["network", "bytes", "ms", "kept time", "differs", *measures]

    def row(variant: Variant) -> list[str]:
        kept = "" if variant.kept_time is None else f"{variant.kept_time:.3f}"
        return [
            variant.name,
            str(variant.bytes),
            f"{variant.milliseconds:.4g}",
            kept,
            f"{variant.relative:.2g}",
            *(f"{variant.measures[name]:.4f}" if name in variant.measures else "" for name in measures),
        ]

    rows = [header, ["---", *["---:"] * (len(header) - 1)], *map(row, exported.variants)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _held_out(facts: Mapping[str, Any]) -> list[str]:
    """What the measures in the table are of."""
    count, interval = facts.get("held_out_samples"), facts.get("interval_95")
    if count is None:
        return []
    said = f"`val_` measures are of {count:,} held-out sample{'s' * (count != 1)}"
    if interval is not None:
        said += f"; the 95 % interval of the compressed network's is {interval[0]:.4f} to {interval[1]:.4f}"
    return [f"{said}."]


def _folding(exported: Exported) -> list[str]:
    folding, sections = exported.folding, []
    if folding.folded or folding.left:
        lines = [f"{len(folding.folded)} batch norms are folded into the layers before them."]
        lines += [f"- `{name}` is left: {reason}" for name, reason in folding.left.items()]
        sections += ["## Batch norm", "\n".join(lines)]
    if folding.merged:
        lines = ["Factors without a nonlinearity between them are one:"]
        lines += [f"- `{first}` is part of `{second}`" for first, second in folding.merged.items()]
        sections += ["## Merged factors", "\n".join(lines)]
    return sections


def _costs(exported: Exported) -> str:
    rows = ["| metric | compressed | dense | kept |", "| --- | ---: | ---: | ---: |"]
    for metric, cost in exported.costs.items():
        dense = cost.get("dense")
        kept = "" if not dense else f"{cost['compressed'] / dense:.4f}"
        rows.append(f"| {metric} | {cost['compressed']} | {'' if dense is None else dense} | {kept} |")
    return "\n".join(rows) + "\n\nOf one sample, before batch norms are folded."


def _plan(plan: Mapping[str, Any]) -> str:
    if not plan:
        return "Every layer is dense."
    rows = ["| layer | form | ranks |", "| --- | --- | --- |"]
    for name, choice in plan.items():
        form, ranks = (
            (choice, "") if isinstance(choice, str) else (choice["form"], ", ".join(map(str, choice["ranks"])))
        )
        rows.append(f"| `{name}` | {form} | {ranks} |")
    return "\n".join(rows) + "\n\nLayers that are not named are dense."


def _facts(facts: Mapping[str, Any]) -> list[str]:
    known = {key: value for key, value in facts.items() if key not in ABOVE}
    if not known:
        return []
    return ["## Origin", "\n".join(f"- {key.replace('_', ' ')}: {_shown(value)}" for key, value in known.items())]


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items())
    return f"{value:.6g}" if isinstance(value, float) else str(value)
