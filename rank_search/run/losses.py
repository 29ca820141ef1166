"""What is said of workers and nodes that were lost: a line each, however many cells they had."""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import Any

LOG = logging.getLogger("rank_search")
NODE_SECONDS = 15.0  # until a lost worker's node is known to be lost, too, or not
LOOK_SECONDS = 1.0


class Losses:
    """Cells that have lost their worker, until it is known whether its node is lost."""

    def __init__(self) -> None:
        self._unsaid: dict[str, tuple[str | None, float]] = {}
        self._times: Counter[str] = Counter()
        self._nodes_said: set[str] = set()
        self._looked = 0.0

    def add(self, cell: str, node: str | None) -> None:
        """A cell's worker on this node was lost; the cell goes on elsewhere."""
        self._times[cell] += 1
        self._unsaid[cell] = (node, time.monotonic())

    def say(self, at_last: bool = False) -> None:
        """Says what is known by now.

        Args:
            at_last: whether it is the last time.
        """
        now = time.monotonic()
        if not self._unsaid or (now - self._looked < LOOK_SECONDS and not at_last):
            return
        self._looked = now
        lost = _lost_nodes()
        for cell, (node, since) in list(self._unsaid.items()):
            if node in lost:
                del self._unsaid[cell]
                if node not in self._nodes_said:
                    self._nodes_said.add(str(node))
                    LOG.warning("The node %s was lost: its cells go on elsewhere.", lost[str(node)])
            elif at_last or now - since > NODE_SECONDS:
                del self._unsaid[cell]
                LOG.warning("A worker was lost: %s goes on elsewhere (loss %d).", cell, self._times[cell])


def _lost_nodes() -> dict[str, Any]:
    """The addresses of nodes that are gone, by their id."""
    import ray

    return {str(node["NodeID"]): node["NodeManagerAddress"] for node in ray.nodes() if not node["Alive"]}
