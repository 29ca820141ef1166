"""Cells of two tasks, one of them without a test set, two of them failed."""

from __future__ import annotations

from run_folder import Row, done, failed


def run_of_two_tasks() -> list[Row]:
    rows = [
        failed("digits", "macs=0.5", "tpe", 2, "the loss is\nnot finite"),
        failed("digits", "macs=0.3", "cp", 0, ""),
    ]
    rows += [done("digits", "macs=0.3", "random", seed, 0.80) for seed in range(3)]
    rows += [done("digits", "macs=0.5", "random", seed, 0.90 + 0.01 * seed, kept_macs=0.48) for seed in range(3)]
    rows += [done("digits", "macs=0.5", "tpe", seed, 0.93, evaluations=10 + seed) for seed in range(2)]
    # Validation and test disagree: without a test set, "late" must win by validation accuracy.
    without_test = {"test_accuracy": "", "dense_test_accuracy": ""}
    rows += [done("bare", "params=0.4", "early", 0, 0.5, **without_test)]
    rows += [done("bare", "params=0.4", "late", 0, 0.6, **without_test)]
    return rows
