from __future__ import annotations

import math

import pandas as pd
from run_folder import steps

from rank_search.report.figures.incumbents import Answer, incumbent_curve, incumbents
from rank_search.searching import Trial


def frames(*runs: list[Trial]) -> list[pd.DataFrame]:
    return [
        pd.DataFrame(
            {
                "incumbent_score": [math.nan if trial.incumbent is None else trial.incumbent for trial in run],
                "evaluations": [float(trial.meter["evaluations"]) for trial in run],
            }
        )
        for run in runs
    ]


def test_a_curve_is_the_mean_of_step_functions() -> None:
    # Seed 0 scores at 1, 2 and 5 evaluations; seed 1 fails at first, scores at 2 and ends at 3.
    first = steps([8.0, 4.0, 2.0], [1, 2, 5])
    second = steps([None, 6.0, 7.0], [1, 2, 3])
    curve = incumbent_curve(frames(first, second))
    assert curve is not None
    assert curve.seeds == 2
    assert curve.evaluations.tolist() == [2, 3, 5]
    assert curve.mean.tolist() == [5.0, 5.0, 4.0]
    assert curve.low.tolist() == [4.0, 4.0, 2.0]
    assert curve.high.tolist() == [6.0, 6.0, 6.0]


def test_proposals_that_cost_no_evaluation_count_for_the_evaluation_before() -> None:
    curve = incumbent_curve(frames(steps([9.0, 5.0, 3.0, 4.0], [0, 1, 1, 2])))
    assert curve is not None
    assert curve.evaluations.tolist() == [1, 2]
    assert curve.mean.tolist() == [3.0, 3.0]


def test_searchers_without_a_score_are_named_and_others_end_where_they_end() -> None:
    runs = {
        "knapsack": frames(steps([0.1], [0])),
        "random": frames(steps([3.0, 2.0, 1.0], [1, 2, 3]), steps([None, None, None], [1, 2, 3])),
        "tpe": frames(steps([3.0, 1.0], [1, 2]), steps([2.0, 1.0], [1, 2])),
    }
    figure = incumbents("digits", "macs=0.5", runs)
    assert [*figure.labels.values()] == ["random (1 of 2 seeds)", "tpe"]
    assert [curve.evaluations[-1] for curve in figure.curves.values()] == [3, 2]
    assert figure.notes[-1].endswith("no evaluation gave a score: knapsack.")
    assert figure.title == "digits at macs=0.5: progress of the search"
    assert figure.x_label == "Evaluations spent (count)"
    assert figure.y_label == "Incumbent score (lower is better)"
    assert figure.message == ""
    assert not figure.logarithmic


def test_scores_of_many_sizes_are_logarithmic_unless_one_is_not_positive() -> None:
    assert incumbents("t", "macs=0.5", {"tpe": frames(steps([300.0, 2.0], [1, 2]))}).logarithmic
    assert not incumbents("t", "macs=0.5", {"tpe": frames(steps([300.0, -2.0], [1, 2]))}).logarithmic


def test_without_any_score_the_figure_says_so() -> None:
    figure = incumbents("t", "macs=0.5", {"knapsack": frames(steps([0.1], [0]))})
    assert figure.curves == {}
    assert figure.message == "No evaluation gave a score."
    assert not figure.logarithmic


def evaluated(scores: list[float], accuracy: list[float]) -> pd.DataFrame:
    return frames(steps(scores, list(range(1, len(scores) + 1))))[0].assign(score=scores, accuracy=accuracy)


def test_where_methods_have_scores_of_their_own_only_losses_are_drawn() -> None:
    own = evaluated([30.0, 20.0], [math.nan, math.nan])
    loss = evaluated([3.0, 2.0], [0.5, 0.6])
    figure = incumbents("digits", "macs=0.5", {"rule": [own], "tpe": [loss, loss]}, "accuracy")
    assert list(figure.curves) == ["tpe"]
    assert figure.y_label == "Incumbent loss (lower is better)"
    assert "No curve, because the score is the method's own and no loss: rule." in figure.notes


def test_scores_without_any_loss_are_called_the_methods_own() -> None:
    own = evaluated([30.0, 20.0], [math.nan, math.nan])
    figure = incumbents("digits", "macs=0.5", {"one": [own], "other": [own]}, "accuracy")
    assert list(figure.curves) == ["one", "other"]
    assert figure.y_label == "Incumbent score (lower is better)"
    assert "Scores are the methods' own, and need not have one unit." in figure.notes


def test_the_loss_of_every_answer_is_drawn_in_one_unit_also_of_methods_without_a_curve() -> None:
    loss = evaluated([3.0, 2.0], [0.5, 0.6])
    rule = frames(steps([0.1], [0]))[0].assign(score=[0.1], accuracy=[math.nan])
    of_seeds = {"rule": [2.5, math.nan, 3.5], "tpe": [1.5]}
    figure = incumbents("t", "macs=0.5", {"rule": [rule] * 3, "tpe": [loss]}, "accuracy", of_seeds)
    assert list(figure.curves) == ["tpe"]
    assert figure.answers == {"rule": Answer(0.0, 3.0, 2.5, 3.5), "tpe": Answer(2.0, 1.5, 1.5, 1.5)}
    assert figure.labels == {"tpe": "tpe", "rule": "rule (answer)"}
    assert figure.y_label == "Incumbent loss (lower is better)"
    assert any(note.startswith("Hollow marker: loss of the answer") for note in figure.notes)


def test_answers_alone_are_a_figure_of_losses_and_have_no_place_among_scores() -> None:
    rule = frames(steps([0.1], [0]))
    alone = incumbents("t", "macs=0.5", {"rule": rule}, "accuracy", {"rule": [2.5]})
    assert (alone.message, alone.y_label) == ("", "Loss (lower is better)")
    assert alone.answers["rule"].mean == 2.5
    own = evaluated([30.0, 20.0], [math.nan, math.nan])
    scores = incumbents("t", "macs=0.5", {"own": [own]}, "accuracy", {"own": [2.5]})
    assert scores.answers == {}
    unknown = incumbents("t", "macs=0.5", {"rule": rule}, "accuracy", {"rule": [math.nan]})
    assert unknown.message == "No evaluation gave a score."
