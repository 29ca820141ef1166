"""A small transformer that predicts the next character of this repository's papers: the aim is ``language_modelling``.

    python examples/text_transformer.py

About fifteen seconds on one core. Batches are mappings, ``{"input_ids": [N, T]}``: the network is called by name. There
are no targets: the next character is the target.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import rank_search as rs

LENGTH, WIDTH, HEADS = 64, 64, 4
MOST = 60_000  # characters that are read


class Block(nn.Module):
    """Causal attention, then two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv(self.norm1(x)).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)  # [3, N, heads, T, ...]
        mixed = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        after: Tensor = x + self.down(F.gelu(self.up(self.norm2(x))))
        return after


class Transformer(nn.Module):
    """Two blocks; ``[N, T]`` characters to the logits ``[N, T, V]`` of each one's next."""

    def __init__(self, characters: int) -> None:
        super().__init__()
        self.embedding, self.places = nn.Embedding(characters, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks, self.norm = nn.Sequential(Block(), Block()), nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, characters)

    def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
        places = self.places(torch.arange(input_ids.shape[1], device=input_ids.device))
        return {"logits": self.head(self.norm(self.blocks(self.embedding(input_ids) + places)))}


def papers() -> tuple[rs.TensorData, int]:
    """Windows of ``LENGTH`` characters, the last tenth for validation, and the number of different characters."""
    root = Path(__file__).parent.parent
    files = [*sorted((root / "docs").glob("*.md")), root / "LICENSE"]
    text = "".join(file.read_text(encoding="utf-8") for file in files)[:MOST].encode("ascii", "replace").decode()
    number = {character: i for i, character in enumerate(sorted(set(text)))}
    ids = torch.tensor([number[character] for character in text])
    windows = ids[: len(ids) // LENGTH * LENGTH].view(-1, LENGTH)
    last = len(windows) // 10
    return rs.TensorData(({"input_ids": windows[:-last]}, None), ({"input_ids": windows[-last:]}, None)), len(number)


def main() -> None:
    torch.manual_seed(0)
    data, characters = papers()
    aim = "language_modelling"
    recipe = rs.Recipe(epochs=5, lr=0.8, batch_size=32)
    model = rs.train(Transformer(characters), data, recipe, objective=aim)
    space = rs.RankSpace.from_model(model, data.example(), forms=["svd"])
    task = rs.Task(model, space, rs.Budget(macs=0.6), data, rs.Recipe(epochs=1, lr=0.1, batch_size=32), objective=aim)
    result = rs.search(task, "knapsack")
    before, after = task.evaluate(result.plan), task.validate(task.finetune(result.plan))
    kept = result.cost["macs"] / space.dense_cost["macs"]
    print(f"dense: perplexity {task.validate(model).measures['perplexity']:.2f} of {characters} characters")
    print(f"knapsack: {kept:.1%} of the MACs, perplexity {before.measures['perplexity']:.2f} before")
    print(f"fine-tuned: perplexity {after.measures['perplexity']:.2f}")


if __name__ == "__main__":
    main()
