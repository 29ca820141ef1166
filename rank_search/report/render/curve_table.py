"""Several answers of one search as a table: what is kept against what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rank_search.records.schema import shown
from rank_search.records.shares import interval_text
from rank_search.report.render.stage_lines import counted
from rank_search.report.tables.table import Column, Table


def curve_table(rows: Sequence[Mapping[str, Any]], measured: bool, samples: int | None = None) -> Table:
    """A row for every budget, in the order given, the dense network first.

    Args:
        rows: finished ones of one task.
        measured: whether the measure says anything.
        samples: how many it is of, if that is known.
    """
    first = rows[0]
    title = f"time: of {first['timed']}"
    measure, unit = first["measure"], first["unit"]
    columns = [
        Column("budget", ("dense", *(str(row["budget"]) for row in rows)), numeric=False),
        *(
            Column(f"kept\n{said}", ("100.0", *(f"{100 * row[f'kept_{name}']:.1f}" for row in rows)))
            for name, said in (("macs", "MACs"), ("params", "params"))
        ),
        Column("kept\ntime", ("100", *(f"{100 * row['latency_ms'] / row['dense_latency_ms']:.0f}" for row in rows))),
    ]
    if measured:
        values = [first[f"dense_val_{measure}"], *(row[f"val_{measure}"] for row in rows)]
        columns.append(Column(f"{measure}\nvalidation", tuple(shown(value, unit) for value in values)))
        if samples is not None:
            title += f"; {measure}: on {counted(samples, 'image')}"
            intervals = ["", *(interval_text(measure, row[f"val_{measure}"], samples) for row in rows)]
            if any(intervals):
                title += ", with its 95 % interval"
                columns.append(Column("95 %\ninterval", tuple(intervals)))
    return Table(title, tuple(columns), ("dense", *("compressed" for _ in rows)))
