"""Lines of a trace that tell probabilities of ranks."""

from __future__ import annotations

from typing import Any

Line = dict[str, Any]


def form(full: dict[str, int], *shares: dict[int, float]) -> Line:
    """A form whose modes have these full ranks, and per mode the probability of some ranks."""
    return {
        "modes": list(full),
        "ranks": [list(of_mode) for of_mode in shares],
        "p": [list(of_mode.values()) for of_mode in shares],
        "full": list(full.values()),
    }


def tucker2(*shares: dict[int, float], full: tuple[int, int] = (6, 4)) -> Line:
    return form({"out": full[0], "in": full[1]}, *shares)


def cp(shares: dict[int, float]) -> Line:
    return form({"rank": 9}, shares)


def layer(dense: float = 0.0, entropy: float = 0.5, **forms: Line) -> Line:
    return {"entropy": entropy, "dense": dense, "forms": forms}


def trace(*layers: Line, rounds: tuple[int, ...] = ()) -> list[Line]:
    numbers = rounds or tuple(range(1, len(layers) + 1))
    return [
        {"step": 3 * n, "round": number, "probabilities": entry}
        for n, (number, entry) in enumerate(zip(numbers, layers, strict=True))
    ]


TWO_ROUNDS = trace(
    {"a": layer(0.1, tucker2=tucker2({4: 0.2, 5: 0.4, 6: 0.3}, {1: 0.5, 3: 0.4}))},
    {"a": layer(0.0, 0.31, tucker2=tucker2({5: 0.3, 2: 0.7}, {1: 0.05, 2: 0.95}))},
)
GOOD = layer(0.1, cp=cp({7: 0.9}))
