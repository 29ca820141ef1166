from __future__ import annotations

from pathlib import Path

from run_folder import Write, done, done_regression, failed
from seeded_runs import rows_of, write_evaluated

from rank_search.report import report_of
from rank_search.report.render.html.headline import headline


def summary(write_run: Write, rows: list) -> tuple[str, ...]:
    return report_of(write_run(rows)).summary


def test_a_clear_leader_is_told_and_what_it_keeps_is_said(write_run: Write) -> None:
    accuracies = {"a": [0.90, 0.901, 0.902, 0.90], "b": [0.80, 0.803, 0.80, 0.80]}
    said = summary(write_run, rows_of(accuracies))
    assert said[0] == (
        "digits at macs=0.5: a leads with a test accuracy of 90.1 % after fine-tuning, the mean of 4 seeds. a keeps "
        "49.0 % of the MACs, 75 % of the measured time and 93.8 % of the dense network's test accuracy (96.0 %)."
    )
    assert said[1].startswith("a less b, the next: +10.0 points over 4 common seeds, 95 % interval +9.7 to +10.3; ")
    assert "wins/ties/losses 4/0/0; p < 0.001 after Holm." in said[1]
    assert said[2] == "a differs from all others (paired t tests over seeds, Holm over the 2 pairs of the task, 5 %)."


def test_a_lead_within_the_noise_is_no_difference(write_run: Write) -> None:
    said = summary(write_run, [done("t", "macs=0.5", n, s, 0.9 + x) for n, xs in NOISE.items() for s, x in xs.items()])
    assert said[0].startswith("t at macs=0.5: a leads")
    assert said[-1].startswith("a is not shown to differ from any other (")
    assert said[-1].endswith("the order is not to be read as a difference.")


NOISE = {"a": {0: 0.03, 1: -0.01, 2: 0.0}, "b": {0: 0.0, 1: 0.0, 2: 0.01}}


def test_without_two_seeds_nothing_is_claimed(write_run: Write) -> None:
    said = summary(write_run, [done("t", "macs=0.5", "a", 0, 0.9), done("t", "macs=0.5", "b", 0, 0.8)])
    assert said[1:] == ("No two searchers share two seeds with a: whether its lead is more than chance is not known.",)


def test_equal_leaders_share_it_and_one_alone_leads_nobody(write_run: Write) -> None:
    said = summary(write_run, [done("t", "macs=0.5", n, s, 0.9) for n in "abc" for s in (0, 1)])
    assert "a, b and c share the lead" in said[0]
    assert "a is not shown to differ from any other" in said[-1]


def test_one_searcher_alone_leads_nobody_and_without_a_finished_cell_that_is_said(write_run: Write) -> None:
    said = summary(write_run, [done("t", "macs=0.5", "a", 0, 0.9), failed("u", "macs=0.5", "a", 0, "no")])
    assert said[0].startswith("t at macs=0.5: a, alone, has a test accuracy of 90.0 %")
    assert said[1] == "u at macs=0.5: no cell has finished."


def test_where_lower_is_better_no_share_of_the_dense_network_is_given(write_run: Write) -> None:
    said = summary(write_run, [done_regression("p", "macs=0.5", n, s, 2.0 + s) for n in "ab" for s in (0, 1)])
    assert "a test rmse of 2.500 after" in said[0]
    assert said[0].endswith("75 % of the measured time; the dense network has 1.500.")


def test_the_gist_of_a_task_is_what_its_tightest_budget_leaves(write_run: Write) -> None:
    rows = [
        done("t", budget, name, seed, place, kept_macs=kept)
        for budget, kept, off in (("macs=0.5", 0.5, 0.0), ("macs=0.3", 0.3, 0.1))
        for name, place in (("a", 0.9 - off), ("b", 0.8 - off))
        for seed in (0, 1)
    ]
    report = report_of(write_run(rows))
    assert report.sections[0].gist == (
        "With 30.0 % of the MACs and 75 % of the time, a has a test accuracy of 80.0 % (dense 96.0 %)."
    )
    assert headline(report).first == report.sections[0].gist
    assert headline(report).others == report.summary


def test_equal_seeds_need_no_interval(write_run: Write) -> None:
    said = summary(write_run, [done("t", "macs=0.5", n, s, 0.9) for n in "ab" for s in (0, 1)])
    assert said[1] == "b, the next, is as good in each of the 2 common seeds."


def test_too_few_blocks_rank_nobody_and_what_pairs_say_stands_first(write_run: Write) -> None:
    rows = rows_of({"a": [0.90, 0.901, 0.902], "b": [0.80, 0.803, 0.80], "c": [0.7, 0.701, 0.70]})
    report = report_of(write_run(rows))
    assert report.summary[2].startswith("a differs from all others (paired t tests over seeds, Holm over the 6 pairs")
    assert report.summary[-1].startswith("2 blocks (tasks x budgets) are too few to rank 3 searchers: ")
    assert report.summary[-1].endswith("At least 3 blocks are needed.")
    assert not any("No searcher is shown" in line for line in report.summary)
    assert headline(report).others == report.summary


def test_over_blocks_a_test_that_does_not_reject_names_no_first_and_comes_last(tmp_path: Path) -> None:
    """Mean ranks 1.8, 1.8, 2.4 over five blocks: chi2 = 12 N / (k (k + 1)) x sum of (R - 2)^2 = 5 x .24 = 1.2."""
    orders = ("abc", "abc", "bac", "bca", "cab")
    rows = [
        done(f"t{task}", "macs=0.5", name, seed, 0.9 - 0.1 * place + 0.001 * seed * (place + 1))
        for task, order in enumerate(orders)
        for place, name in enumerate(order)
        for seed in (0, 1, 2)
    ]
    report = report_of(write_evaluated(tmp_path / "run", rows))
    assert report.summary[-1] == (  # exp(-1.2 / 2) = .549
        "Over 5 tasks x budgets the mean ranks of 3 searchers are not told apart at 5 % (Friedman's p = 0.55): none is "
        "shown to be first over all of them."
    )
    assert report.summary[0].startswith("t0 at macs=0.5: a leads")
    words = headline(report)
    assert words.shortened
    assert words.first == report.summary[0]
    assert words.others[-1] == report.summary[-1]
    assert len(words.others) == 5


def test_those_who_lack_a_block_are_named_also_where_nobody_is_ranked(write_run: Write) -> None:
    rows = rows_of({"a": [0.9], "b": [0.8]})
    lacking = [row for row in rows if (row["searcher"], row["budget"]) not in (("a", "macs=0.25"), ("b", "macs=0.5"))]
    assert summary(write_run, lacking)[-1] == (
        "No two searchers are ranked over all tasks and budgets. Not ranked, for want of a number in every block: a, b."
    )
    assert summary(write_run, rows[:-1])[-1].endswith("for want of a number in every block: b.")
    three = [*rows, done("digits", "macs=0.5", "late", 0, 0.7)]
    assert summary(write_run, three)[-1] == "Not ranked, for want of a number in every block: late."
    assert not any("anked" in line for line in summary(write_run, rows))


def test_over_many_blocks_the_first_is_named_with_those_not_told_from_it(tmp_path: Path) -> None:
    rows = [
        done(f"t{task}", "macs=0.5", name, 0, 0.9 - 0.1 * place)
        for task in range(10)
        for place, name in enumerate("abc")
    ]
    rows.append(failed("t0", "macs=0.5", "broken", 0, "no"))
    said = report_of(write_evaluated(tmp_path / "run", rows)).summary
    assert said[0] == (
        "Over 10 tasks x budgets, Friedman's p < 0.001. First by mean rank: a (1.00); Nemenyi's critical difference at "
        "5 % is 1.05; not told from it: b."
    )
    assert said[1] == "Not ranked, for want of a number in every block: broken."
