"""A metric of your own: the energy of one sample, of multiply-adds and of weights read from memory.

    python examples/own_metric.py

A few seconds on one core. In a config it is counted by ``space: {metrics: ["own_metric:Energy"]}``, with this folder
on the Python path.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

import rank_search as rs
from rank_search.arrays import IntArray
from rank_search.space.metrics.bytes import Bytes
from rank_search.space.metrics.macs import Macs

# Horowitz, "Computing's energy problem", ISSCC 2014, 45 nm: a multiply and an add of 32-bit floats take 3.7 and 0.9 pJ,
# 32 bits from DRAM 640 pJ. In femtojoules they are whole, so that budgets are exact.
PER_MAC, PER_BYTE = 4_600, 160_000
MACS, BYTES = Macs(), Bytes()


@rs.register_metric
class Energy(rs.Metric):
    """Energy of one sample if every weight is read from DRAM once; activations are left out."""

    name: ClassVar[str] = "energy"
    unit: ClassVar[str] = "femtojoules"

    def of_options(self, layer: rs.Layer, form: rs.Decomposition, ranks: IntArray) -> IntArray:
        return PER_MAC * MACS.of_options(layer, form, ranks) + PER_BYTE * BYTES.of_options(layer, form, ranks)

    def dense(self, layer: rs.Layer) -> int:
        return PER_MAC * MACS.dense(layer) + PER_BYTE * BYTES.dense(layer)

    def measure(self, model: nn.Module, example: rs.Nest) -> int:
        return PER_MAC * MACS.measure(model, example) + PER_BYTE * BYTES.measure(model, example)


def main() -> None:
    torch.manual_seed(0)
    data = rs.load_data("digits")
    model = rs.train(rs.load_model("digits_net"), data, rs.Recipe(epochs=6, lr=0.1))
    space = rs.RankSpace.from_model(model, data.example(), ["tucker2", "svd_grouped"], metrics=["energy"])
    for budget in (rs.Budget(macs=0.4), rs.Budget(energy=0.4)):
        task = rs.Task(model, space, budget, data)
        result = rs.search(task, "knapsack")
        kept = {name: cost / space.dense_cost[name] for name, cost in result.cost.items()}
        accuracy = task.evaluate(result.plan).measures["accuracy"]
        print(f"budget {budget}: energy {kept['energy']:.1%}, MACs {kept['macs']:.1%}, accuracy {accuracy:.1%}")
        counted = Energy().measure(task.compress(result.plan), data.example())
        print(f"  counted: {counted / 1e9:.3f} uJ, as the table says: {counted == result.cost['energy']}")


if __name__ == "__main__":
    main()
