"""How much the order of plans before the fine-tune says about the order after it, on the recorded tasks.

    python benchmarks/before_and_after_finetune.py

Kendall's tau between the validation loss before any training and the mean one after the common fine-tune: over all
plans that were fine-tuned, over the better half and the best quarter of them, and what the fine-tune's noise allows:
tau between the means of one seed and of the other two.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import kendalltau

from rank_search.recorded import read_recording, recordings


def main() -> None:
    print(f"{'task':20} {'plans':>6} {'all':>6} {'better half':>12} {'best quarter':>13} {'seed against seeds':>19}")
    for name in recordings():
        recording = read_recording(name)
        table = recording.finetuned.pivot(index="plan", columns="seed", values="val_loss")
        before = recording.column("val_loss")[table.index.to_numpy()]
        after = table.mean(axis=1).to_numpy()
        found = []
        for share in (1.0, 0.5, 0.25):
            kept = np.argsort(before)[: int(share * len(before))]
            found.append(float(kendalltau(before[kept], after[kept]).statistic))
        noise = float(kendalltau(table[0], table[[1, 2]].mean(axis=1)).statistic)
        print(f"{name:20} {len(table):6} {found[0]:6.2f} {found[1]:12.2f} {found[2]:13.2f} {noise:19.2f}")


if __name__ == "__main__":
    main()
