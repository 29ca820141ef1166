"""Whether the order of plans depends on the repair, on the recorded tasks.

    python benchmarks/recorded_repairs.py

Over the plans that were measured recalibrated, refitted and fine-tuned (mean of the seeds): Kendall's tau between the
three validation losses, over all of them, over the third that is best fine-tuned, and over those without CP (whose
fits the two tables may have from different versions). In brackets the 95 % percentile bootstrap over plans of the
difference that the refit makes to tau with the fine-tuned loss. Last, how far the recalibrated loss of this version is
from the recorded one, and what a refitted plan costs.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import kendalltau
from timing import print_table, use_threads

from rank_search.recorded import Recording, load_recorded, read_recording, recordings
from rank_search.recorded.recording import plans_of
from rank_search.run.measure_plan import measure_plan
from rank_search.space import Budget

RESAMPLES = 2000
PAIRS = (("recalibrated", "tuned"), ("refitted", "tuned"), ("recalibrated", "refitted"))


def main() -> None:
    use_threads(1)
    orders, costs = [], []
    for name in recordings():
        recording = read_recording(name)
        if recording.refitted is None:
            continue
        losses = measured_in_all_ways(recording)
        best = losses.nsmallest(len(losses) // 3, "tuned")
        for kind, part in (("all", losses), ("best third", best), ("without cp", losses.loc[~losses["cp"]])):
            if kind == "without cp" and not losses["cp"].any():
                continue
            low, high = difference(part)
            orders.append(
                [name, kind, str(len(part)), *(f"{tau(part, *pair):.2f}" for pair in PAIRS), f"[{low:.2f} {high:.2f}]"]
            )
        seconds = recording.refitted["seconds"]
        median, most = drift(recording, losses)
        costs.append(
            [
                name,
                str(len(seconds)),
                f"{seconds.mean():.2f}",
                f"{seconds.median():.2f}",
                f"{recording.column('seconds').mean():.3f}",
                f"{median:.1%}",
                f"{most:.1%}",
            ]
        )
    header = ["task", "plans", "n", *(f"{one}, {other}" for one, other in PAIRS), "refit - recalibration"]
    print_table(header, orders)
    print_table(
        ["task", "refitted", "CPU s, mean", "CPU s, median", "recalibrated, mean", "cp: drift, median", "most"], costs
    )


def measured_in_all_ways(recording: Recording) -> pd.DataFrame:
    """A row per plan: ``recalibrated``, ``refitted`` and ``tuned`` loss, and whether a layer of it is ``cp``."""
    assert recording.refitted is not None
    tuned = recording.finetuned.groupby("plan")["val_loss"].mean()
    refitted = recording.refitted.set_index("plan")["val_loss"]
    places = tuned.index.intersection(refitted.index)
    plans = list(plans_of(recording))
    return pd.DataFrame(
        {
            "recalibrated": recording.column("val_loss")[places],
            "refitted": refitted.loc[places],
            "tuned": tuned.loc[places],
            "cp": [any(choice.form == "cp" for choice in plans[place].values()) for place in places],
        },
        index=places,
    ).dropna()


def tau(losses: pd.DataFrame, one: str, other: str) -> float:
    return float(kendalltau(losses[one], losses[other]).statistic)


def difference(losses: pd.DataFrame) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(RESAMPLES):
        drawn = losses.iloc[rng.integers(len(losses), size=len(losses))]
        found.append(tau(drawn, "refitted", "tuned") - tau(drawn, "recalibrated", "tuned"))
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def drift(recording: Recording, losses: pd.DataFrame) -> tuple[float, float]:
    """By how much the recalibrated loss of plans with CP differs from the recorded one: median and most."""
    task = load_recorded(recording.folder, Budget(macs=2**62))
    places = losses.index[losses["cp"]]
    if not len(places):
        return 0.0, 0.0
    now = np.array([measure_plan(task, None, recording.rows[place])["val_loss"] for place in places])
    off = np.abs(now / losses.loc[places, "recalibrated"].to_numpy() - 1)
    return float(np.median(off)), float(off.max())


if __name__ == "__main__":
    main()
