"""Whether the order of plans depends on the repair, on the recorded tasks.

    python benchmarks/recorded_repairs.py [--finetune] [--answers runs/rankbench]

Over the plans that were measured recalibrated, refitted and fine-tuned (mean of the seeds): Kendall's tau between the
three validation losses, over all of them, over the third that is best fine-tuned, and over those without CP (whose
fits the two tables may have from different versions). In brackets the 95 % percentile bootstrap over plans of the
difference that the refit makes to tau with the fine-tuned loss. Then the plans of least recalibrated loss within each
budget: tau of both losses, at which place the first one is by the refitted loss, and its refitted loss over the least.
Last, how far the recalibrated loss of this version is from the recorded one, and what a refitted plan costs.

The recorded fine-tunes began recalibrated. With ``--finetune`` the best third is fine-tuned once more, from the
refitted network with one seed, and tau is with that loss (some five minutes).

With ``--answers`` the folder of a benchmark of regret: mean ranks of its searchers' answers at 64 by four losses, of
the validation and of the test set, recalibrated and refitted; only searchers whose answers were all refitted. What two
sets disagree by under one repair is noise of the sets; beside it stands what two repairs disagree by. Excess: geometric
mean over blocks of the refitted validation loss over the least of all refitted plans within the budget, less one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import friedmanchisquare, kendalltau, rankdata
from timing import parser, print_table, use_threads

from rank_search.recorded import Recording, load_recorded, read_recording, recordings
from rank_search.recorded.recording import plans_of
from rank_search.report.regret import read_regret
from rank_search.run.measure_plan import measure_plan
from rank_search.space import Budget
from rank_search.task import Recipe, Task

RESAMPLES = 2000
EVERYTHING = Budget(macs=2**62)
PAIRS = (("recalibrated", "tuned"), ("refitted", "tuned"), ("recalibrated", "refitted"))


def main() -> None:
    command = parser(__doc__)
    command.add_argument("--answers", type=Path, default=None)
    command.add_argument("--finetune", action="store_true")
    arguments = command.parse_args()
    use_threads(arguments.threads)
    if arguments.answers is not None:
        methods(arguments.answers)
        return
    if arguments.finetune:
        print_table(["task", "n", "recalibrated", "refitted", "recorded tuned"], map(from_refit, recordings()))
        return
    orders, firsts, costs = [], [], []
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
        firsts += near(recording)
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
    print_table(["task", "budget", "plans", "tau", "place of the first", "its loss over the least"], firsts)
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


def near(recording: Recording) -> list[list[str]]:
    """Per budget the plans of least recalibrated loss, by refitted loss."""
    assert recording.refitted is not None
    asked = recording.manifest["refitted"]["asked"][-1]
    refitted = recording.refitted.set_index("plan")["val_loss"]
    found = []
    for budget in asked["budgets"]:
        inside = recording.within(Budget(macs=float(budget.removeprefix("macs="))))
        before = recording.column("val_loss")[inside]
        best = inside[np.argsort(before, kind="stable")][: asked["near"]]
        after = refitted.loc[best].to_numpy()
        order = float(kendalltau(recording.column("val_loss")[best], after).statistic)
        place = 1 + int((after < after[0]).sum())
        found.append(
            [recording.name, budget, str(len(best)), f"{order:.2f}", str(place), f"{after[0] / after.min():.2f}"]
        )
    return found


def from_refit(name: str) -> list[str]:
    """Tau with the loss after a fine-tune from the refitted network, over the third that is best as recorded."""
    recording = read_recording(name)
    losses = measured_in_all_ways(recording)
    best = losses.nsmallest(len(losses) // 3, "tuned")
    recorded, section = load_recorded(name, EVERYTHING), recording.manifest["task"]
    task = Task(
        recorded.model,
        recorded.space,
        EVERYTHING,
        recorded.data,
        Recipe(**section["finetune"]),
        objective=section["objective"],
        repair="refit",
    )
    best["anew"] = [task.score(task.finetune(task.space.plan(recording.rows[place]))).score for place in best.index]
    return [name, str(len(best)), *(f"{tau(best, kind, 'anew'):.2f}" for kind in ("recalibrated", "refitted", "tuned"))]


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
    task = load_recorded(recording.folder, EVERYTHING)
    places = losses.index[losses["cp"]]
    if not len(places):
        return 0.0, 0.0
    now = np.array([measure_plan(task, None, recording.rows[place])["val_loss"] for place in places])
    off = np.abs(now / losses.loc[places, "recalibrated"].to_numpy() - 1)
    return float(np.median(off)), float(off.max())


LOSSES = ("val_loss", "test_loss")


def methods(run: Path) -> None:
    """The searchers of a benchmark of regret by four losses of their answers."""
    frame = read_regret(run)
    frame = frame.loc[(frame["status"] == "done") & frame["plan_64"].notna()].copy()
    names = [f"{kind} {loss}" for kind in ("recalibrated", "refitted") for loss in LOSSES]
    least = {}
    for task, rows in frame.groupby("task"):
        recording = read_recording(str(task))
        assert recording.refitted is not None
        refitted = recording.refitted.set_index("plan")
        places = rows["plan_64"].astype(int)
        for loss in LOSSES:
            frame.loc[rows.index, f"recalibrated {loss}"] = recording.column(loss)[places]
            frame.loc[rows.index, f"refitted {loss}"] = places.map(refitted[loss])
        for budget in rows["budget"].unique():
            inside = recording.within(Budget(macs=float(budget.removeprefix("macs="))))
            least[task, budget] = refitted.loc[refitted.index.isin(inside), "val_loss"].min()
    whole = frame.groupby("searcher")[names[-1]].apply(lambda values: values.notna().all())
    frame = frame.loc[frame["searcher"].map(whole)]
    tables = {name: frame.pivot_table(index="searcher", columns=["task", "budget"], values=name) for name in names}
    tables = {name: table.dropna() for name, table in tables.items()}
    ranks = {name: rankdata(table.round(12), axis=0).mean(1) for name, table in tables.items()}
    refit = tables["refitted val_loss"]
    excess = np.exp(np.log(refit / pd.Series(least)[refit.columns]).mean(axis=1)) - 1
    order = np.argsort(ranks["refitted val_loss"], kind="stable")
    print_table(
        ["searcher", *names, "excess"],
        [[refit.index[i], *(f"{ranks[name][i]:.1f}" for name in names), f"{excess.iloc[i]:.0%}"] for i in order],
    )
    for name in names:
        p = friedmanchisquare(*tables[name].to_numpy()).pvalue
        taus = ", ".join(f"{other} {kendalltau(ranks[name], ranks[other]).statistic:.2f}" for other in names)
        print(f"{name}: Friedman p = {p:.1g}; tau with {taus}")


if __name__ == "__main__":
    main()
