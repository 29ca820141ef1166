"""A plan that gives every layer of ``every_form.py`` another form."""

from __future__ import annotations

from rank_search.space import Choice, RankPlan

PLAN = RankPlan(
    {
        "first": Choice("tucker2", (5, 3)),
        "strided": Choice("cp", (6,)),
        "dilated": Choice("svd_spatial", (5,)),
        "grouped": Choice("svd_channel", (3,)),
        "split": Choice("svd_grouped", (2, 3)),
        "rise": Choice("tensor_train", (4, 5)),
        "point": Choice("svd", (4,)),
        "series": Choice("tucker2", (4, 5)),
        "token": Choice("svd", (3,)),
    }
)
