"""The report of a benchmark of regret as values: tables, and what follows from them in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import pandas as pd

from rank_search.recorded import Recording
from rank_search.records.schema import RANKED_AT
from rank_search.report.measure import ABSENT
from rank_search.report.ranking_words import not_told_words, too_few_words
from rank_search.report.regret.proxies import proxies
from rank_search.report.regret.ranking import LEVEL, ranking
from rank_search.report.regret.read import PREFIX, TEST_PREFIX, counts
from rank_search.report.regret.refitted_ranks import RefittedRanks, refitted_ranks
from rank_search.report.regret.summary import Regret, first, summaries
from rank_search.report.tables.table import Column, Table

LEGEND = (
    "Regret: validation loss above the best recorded plan within the budget, as a share of what the median plan is "
    "above it; mean over tasks and budgets, in brackets the 95 % bootstrap interval over seeds. Work: samples run "
    "forward, and three times those trained, over those of one evaluation. Test: the same of test losses, below 0 "
    "where the test set likes the plan better than the one of least validation loss."
)


@dataclass(frozen=True)
class RegretReport:
    """Attributes:
    tables: regrets; where a recording has refitted plans, ranks by both losses; the proxies of every recording.
    words: lines that say who is first and how sure that is.
    failures: a line per searcher that failed anywhere.
    legend: lines that say what the tables mean.
    """

    tables: tuple[Table, ...]
    words: tuple[str, ...]
    failures: tuple[str, ...]
    legend: tuple[str, ...] = ()


def regret_report(frame: pd.DataFrame, recordings: Mapping[str, Recording] | None = None) -> RegretReport:
    """Sums a benchmark up.

    Args:
        frame: as ``read_regret`` gives it.
        recordings: those that it ran on, by task: for the proxies and the refitted plans.
    """
    taken = counts(frame)
    by_count = {count: summaries(frame, f"{PREFIX}{count}") for count in taken}
    at = max((count for count in taken if count <= RANKED_AT), default=taken[0])
    recordings = recordings or {}
    refitted = refitted_ranks(frame, recordings, at)
    tables = [
        _regrets(frame, by_count, at),
        *([] if refitted is None else [_refitted(refitted, at)]),
        *(_proxies(recording) for recording in recordings.values()),
    ]
    words = [*_words(frame, by_count[at], at), *([] if refitted is None else [_refitted_words(refitted)])]
    return RegretReport(tuple(tables), tuple(words), tuple(_failures(frame)), (LEGEND,))


def _regrets(frame: pd.DataFrame, by_count: dict[int, dict[str, Regret]], at: int) -> Table:
    ranks = ranking(frame, f"{PREFIX}{at}")
    test = summaries(frame, f"{TEST_PREFIX}{at}")
    names = list(dict.fromkeys(map(str, frame["searcher"])))
    last = max(by_count)

    def order(name: str) -> tuple[float, float, str]:
        mean = by_count[at][name].mean if name in by_count[at] else math.inf
        later = by_count[last][name].mean if name in by_count[last] else math.inf
        return mean, later, name

    names.sort(key=order)
    seeds = frame.groupby("searcher")["seed"].nunique()
    seconds = frame.groupby("searcher")["cpu_seconds"].mean() if "cpu_seconds" in frame else pd.Series(dtype=float)
    columns = (
        Column("searcher\n", tuple(names), numeric=False),
        *(
            Column(f"regret\nat {count}", tuple(_interval(found.get(name)) for name in names))
            for count, found in by_count.items()
        ),
        Column(f"test\nat {at}", tuple(_number(test[name].mean if name in test else math.nan) for name in names)),
        Column("mean\nrank", tuple(_rank(None if ranks is None else ranks.ranks.get(name)) for name in names)),
        Column("seeds\n", tuple(str(int(seeds[name])) for name in names)),
        Column("CPU\ns", tuple(_number(float(seconds.get(name, math.nan))) for name in names)),
    )
    tasks = ", ".join(dict.fromkeys(map(str, frame["task"])))
    numbers = pd.DataFrame({"searcher": names})
    for count, found in by_count.items():
        for field in ("mean", "low", "high"):
            numbers[f"regret_{count}_{field}"] = [getattr(found.get(name), field, math.nan) for name in names]
    numbers[f"test_regret_{at}_mean"] = [test[name].mean if name in test else math.nan for name in names]
    numbers["mean_rank"] = [math.nan if ranks is None else ranks.ranks.get(name, math.nan) for name in names]
    numbers["seeds"] = [int(seeds[name]) for name in names]
    numbers["cpu_seconds"] = [float(seconds.get(name, math.nan)) for name in names]
    return Table(f"normalised regret: {tasks}", columns, tuple("" for _ in names), "regret", numbers)


def _refitted(found: RefittedRanks, at: int) -> Table:
    names = [*found.refitted, *(name for name in found.answers if name not in found.refitted)]
    columns = (
        Column("searcher\n", tuple(names), numeric=False),
        Column("mean rank,\nrecalibrated", tuple(_rank(found.recalibrated.get(name)) for name in names)),
        Column("mean rank,\nrefitted", tuple(_rank(found.refitted.get(name)) for name in names)),
        Column("answers\nrefitted", tuple("{} of {}".format(*found.answers[name]) for name in names)),
    )
    title = f"ranks by the validation loss of the same answers at {at}: {found.blocks} tasks x budgets"
    numbers = pd.DataFrame(
        {
            "searcher": names,
            "mean_rank_recalibrated": [found.recalibrated.get(name, math.nan) for name in names],
            "mean_rank_refitted": [found.refitted.get(name, math.nan) for name in names],
            "answers_refitted": [found.answers[name][0] for name in names],
            "answers": [found.answers[name][1] for name in names],
        }
    )
    return Table(title, columns, tuple("" for _ in names), "refitted_ranks", numbers)


def _refitted_words(found: RefittedRanks) -> str:
    known, given = map(sum, zip(*found.answers.values(), strict=True))
    return (
        f"Kendall's tau between the mean ranks by recalibrated and by refitted loss: {_correlation(found.tau)} over "
        f"{len(found.refitted)} searchers; {known} of {given} answers were refitted, the others are in neither rank. A "
        "searcher without a refitted answer in every block is not ranked."
    )


def _proxies(recording: Recording) -> Table:
    found = proxies(recording)
    columns = (
        Column("proxy\n", tuple(proxy.name for proxy in found), numeric=False),
        Column("Spearman,\nuntrained", tuple(_correlation(proxy.before) for proxy in found)),
        Column("Spearman,\nfine-tuned", tuple(_correlation(proxy.after) for proxy in found)),
        Column("Kendall,\nfine-tuned", tuple(_correlation(proxy.tau) for proxy in found)),
    )
    counted = f"{found[0].plans:,} plans, {found[0].tuned} of them fine-tuned" if found else ""
    title = f"{recording.name}: rank correlation with the loss ({counted})"
    numbers = pd.DataFrame([asdict(proxy) for proxy in found])
    return Table(title, columns, tuple("" for _ in found), f"proxies_{recording.name}", numbers)


def _words(frame: pd.DataFrame, found: dict[str, Regret], at: int) -> Iterable[str]:
    ranks = ranking(frame, f"{PREFIX}{at}")
    if found:
        best, share = first(found)
        yield (
            f"First by mean regret after the work of {at} evaluations: {best}, in {100 * share:.0f} % of the bootstrap "
            "resamples."
        )
    if ranks is not None and not ranks.can_tell:
        yield too_few_words(ranks)
    elif ranks is not None and ranks.p > LEVEL:
        yield not_told_words(ranks)
    elif ranks is not None:
        leader = next(iter(ranks.ranks))
        alike = [name for name in ranks.not_worse if name != leader]
        told = "it is told from all others" if not alike else f"not told from it: {', '.join(alike)}"
        p = ABSENT if math.isnan(ranks.p) else f"{ranks.p:.2g}"
        yield (
            f"First by mean rank over {ranks.blocks} tasks x budgets: {leader} ({ranks.ranks[leader]:.1f}). Friedman "
            f"p = {p}; Nemenyi's critical difference at {100 * LEVEL:.0f} %: {ranks.critical_difference:.1f} ranks; "
            f"{told}."
        )
    if ranks is not None:
        out = [name for name in dict.fromkeys(map(str, frame["searcher"])) if name not in ranks.ranks]
        if out:
            yield f"Without a regret at {at} in every block, and so not ranked: {', '.join(out)}."


def _failures(frame: pd.DataFrame) -> Iterable[str]:
    failed = frame.loc[frame["status"] != "done"]
    for searcher, rows in failed.groupby("searcher", sort=False):
        tried = int((frame["searcher"] == searcher).sum())
        yield f"{searcher}: {len(rows)} of {tried} failed: {rows['reason'].iloc[0]}"


def _interval(regret: Regret | None) -> str:
    if regret is None:
        return ABSENT
    if regret.high - regret.low < 5e-4:
        return _number(regret.mean)
    return f"{_number(regret.mean)} [{_short(regret.low)} {_short(regret.high)}]"


def _number(value: float) -> str:
    return ABSENT if math.isnan(value) else f"{value:.3f}"


def _short(value: float) -> str:
    """Without the zero before the point."""
    return f"{value:.3f}".removeprefix("0")


def _rank(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.1f}"


def _correlation(value: float) -> str:
    return ABSENT if math.isnan(value) else f"{value:.2f}"
