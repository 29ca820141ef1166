"""An export's table: dense and compressed, as they are and in int8."""

from __future__ import annotations

from rich.console import Console

from rank_search.deploy.export import Exported
from rank_search.records.schema import shown
from rank_search.report.render.terminal_table import print_table
from rank_search.report.tables.table import Column, Table


def export_table(exported: Exported, unit: str) -> Table:
    """The table as a value.

    Args:
        exported: what was exported.
        unit: ``%`` if its measures are fractions that are read in percent, else empty.
    """
    rows, engine = exported.variants, exported.engine
    measures = list(dict.fromkeys(name for row in rows for name in row.measures))
    columns = [
        Column("network", tuple(row.name for row in rows), numeric=False),
        Column("file KB", tuple(f"{row.bytes / 1000:.1f}" for row in rows)),
        Column("ms", tuple(f"{row.milliseconds:.4g}" for row in rows)),
        Column("kept time", tuple("" if row.kept_time is None else f"{row.kept_time:.3f}" for row in rows)),
        Column("differs", tuple(f"{row.relative:.1e}" for row in rows)),
        *(Column(name, tuple(shown(row.measures.get(name), unit) for row in rows)) for name in measures),
    ]
    threads = f"{engine['threads']} thread{'s' * (engine['threads'] > 1)}"
    title = f"{exported.format} in {engine['engine']}, batch {exported.batch}, {threads}"
    return Table(title, tuple(columns), ("",) * len(rows))


def print_export(exported: Exported, unit: str, console: Console) -> None:
    """Prints the table, how far the file is from the network, and what was folded."""
    print_table(export_table(exported, unit), console)
    parity, folding = exported.parity, exported.folding
    lines = [
        f"parity: {parity.relative:.1e} of the largest output at batches of "
        f"{', '.join(map(str, parity.batches))}; allowed {parity.tolerance:.0e}"
    ]
    if folding.folded or folding.left:
        lines.append(f"batch norms folded: {len(folding.folded)}; left: {len(folding.left)}")
        lines += [f"  {name}: {reason}" for name, reason in folding.left.items()]
    lines.append(f"exported to {exported.folder} ({', '.join(exported.files)}, with their model card and checksums)")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
