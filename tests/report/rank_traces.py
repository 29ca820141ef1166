"""Lines of a trace that tell ranks while training."""

from __future__ import annotations

from typing import Any

Line = dict[str, Any]


def layer(*ranks: int, full: tuple[int, ...] = (16, 8), form: str = "tucker2", modes: tuple[str, ...] = ()) -> Line:
    names = modes or ("out", "in")[: len(full)]
    kept = full if form == "dense" else ranks
    return {
        "form": form,
        "modes": list(names),
        "ranks": list(kept),
        "full": list(full),
        "thresholds": [0.5] * len(kept),
    }


def dense(*full: int) -> Line:
    return layer(full=full, form="dense")


def trace(*layers: Line, epochs: tuple[float, ...]) -> list[Line]:
    return [
        {"step": step, "epoch": epoch, "ranks": entry}
        for step, (epoch, entry) in enumerate(zip(epochs, layers, strict=True))
    ]


TWO_LAYERS = trace(
    {"a": layer(16, 8), "b": dense(32, 16)},
    {"a": layer(12, 7), "b": dense(32, 16)},
    {"a": dense(16, 8), "b": layer(20, 9, full=(32, 16))},
    {"a": layer(10, 5), "b": dense(32, 16)},
    epochs=(0.0, 1.5, 3.0, 4.5),
)
