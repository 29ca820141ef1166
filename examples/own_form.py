"""A form of your own: the OUTPUT channels in blocks, each block of rows with a truncated SVD of one rank R.

    python examples/own_form.py

A few seconds on one core. The first factor maps the input to ``blocks x R`` channels, the second one has a group per
block, so each block has a row space of its own. (The built-in ``svd_grouped`` splits the input channels.) In a config
its name is ``own_form:OutputBlocks``, with this folder on the Python path.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

import rank_search as rs
from rank_search.arrays import IntArray

BLOCKS = 2


@rs.register_decomposition("output_blocks")
class OutputBlocks(rs.MatrixForm):
    """``BLOCKS`` blocks of output channels per group, each ``[Co / blocks, Ci kh kw]`` cut to one rank R."""

    name: ClassVar[str] = "output_blocks"
    unfolding: ClassVar[str] = f"output-blocks-{BLOCKS}"  # of the cache: another unfolding, another name

    def why_not(self, layer: rs.Layer) -> str | None:
        if layer.kind == "linear":
            return "output_blocks needs a factor with groups, which a linear layer does not have"
        if layer.group_channels[0] % BLOCKS:
            return f"{layer.group_channels[0]} output channels per group do not split into {BLOCKS} blocks"
        return None

    def sides(self, layer: rs.Layer) -> tuple[int, int]:
        out, into = layer.group_channels
        return out // BLOCKS, into * layer.taps

    def unfold(self, layer: rs.Layer, tensor: Tensor) -> Tensor:
        return tensor.reshape(layer.groups * BLOCKS, *self.sides(layer))

    def refold(self, layer: rs.Layer, matrix: Tensor) -> Tensor:
        out, into = layer.group_channels
        return matrix.reshape(layer.groups, out, into, layer.taps)

    def fold(self, layer: rs.Layer, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        first = right.reshape(layer.groups, -1, layer.group_channels[1], layer.taps)
        return first, left.unsqueeze(3)  # [groups, blocks R, Ci / groups, taps], [groups blocks, rows, R, 1]

    def factor_shapes(self, layer: rs.Layer, ranks: IntArray) -> tuple[rs.FactorShape, ...]:
        groups = layer.groups * BLOCKS
        inner = groups * ranks[:, 0]
        return (
            rs.FactorShape(layer.in_channels, inner, layer.groups, rs.all_axes(layer)),
            rs.FactorShape(inner, layer.out_channels, groups),
        )


def main() -> None:
    torch.manual_seed(0)
    data = rs.load_data("digits")
    model = rs.train(rs.load_model("digits_net"), data, rs.Recipe(epochs=6, lr=0.1))
    print("forms: weight error and accuracy at half of the MACs")
    for forms in (["svd_channel", "svd"], ["output_blocks"], ["svd_channel", "svd", "output_blocks"]):
        space = rs.RankSpace.from_model(model, data.example(), forms)
        task = rs.Task(model, space, rs.Budget(macs=0.5), data)
        result = rs.search(task, "knapsack")
        accuracy = task.evaluate(result.plan).measures["accuracy"]
        used = sum(choice.form == "output_blocks" for choice in result.plan.values())
        print(f"{', '.join(forms)}: {result.score:.3f}, {accuracy:.1%}, output_blocks in {used} layers")


if __name__ == "__main__":
    main()
