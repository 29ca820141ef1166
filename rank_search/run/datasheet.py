"""The datasheet of a recording, from what was recorded (Gebru et al., Datasheets for Datasets, CACM 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill
from typing import Any

import pandas as pd
import yaml

from rank_search.recorded.recording import OPTION

COLUMNS = {
    "option_N": "which option of layer N (in the order of recording.json) the plan takes; 0 is dense",
    "raw_val_*, raw_test_*": "measures of the compressed network as it is, on the validation and the test set",
    "val_*": "the same after batch norm was recalibrated on unlabelled training samples: what a searcher is told",
    "test_*": "the same on the test set: no searcher sees it",
    "weight_error": "sum over layers of ||W - What||^2 / ||W||^2",
    "params, macs, ...": "cost of the whole network for one sample",
    "latency_ms": "CPU time per sample of the recording machine, one thread, the least of the validations' means",
    "seconds": "CPU time of one evaluation there: build, recalibrate, validate",
}


def datasheet(
    manifest: Mapping[str, Any], plans: pd.DataFrame, tuned: pd.DataFrame, refitted: pd.DataFrame | None = None
) -> str:
    """Markdown.

    Args:
        manifest: of the recording.
        plans, tuned, refitted: its tables; the last one is optional.
    """
    made, dense = manifest["made"], manifest["dense"]
    layers = "\n".join(
        f"| {layer['name']} | {len(layer['options'])} | {'; '.join(_text(option) for option in layer['options'])} |"
        for layer in manifest["layers"]
    )
    measured = [column for column in plans.columns if not column.startswith(OPTION)]
    ranges = _ranges(plans[measured])
    columns = "\n".join(f"- `{name}`: {text}" for name, text in COLUMNS.items())
    whole = "every plan of the space" if made["plans"] == int(made["of"]) else f"of {made['of']} plans in the space"
    task = yaml.safe_dump({manifest["name"]: manifest["task"]}, sort_keys=False)
    return f"""# Datasheet: the recorded task `{manifest["name"]}`

**Why it exists.** To compare methods that choose ranks by their exact regret, without running a network. It is small:
what wins here wins on small networks under this evaluation, no more.

**What it holds.** {made["plans"]:,} plans ({whole}), each built from the trained network and validated before and after
the repair; {count(tuned, "plan")} plans spread over cost and loss, fine-tuned with {count(tuned, "seed")} seeds each
({len(tuned):,} fine-tunes); and the dense network's weights (`dense.safetensors`), so that all can be run again.

**How it was made.** By `rank-search record`, from the section below: {made["date"]}, {made["machine"]},
{made["workers"]} workers of {made["threads"]} thread(s), {_versions(made["versions"])}. One evaluation a plan, no
repetition, nothing patched: evaluations draw nothing, and look at the same samples for every plan. All evaluations
together took {made["cpu_seconds_of_evaluations"]:,.0f} CPU seconds. `latency_ms` and `seconds` are CPU times of a
machine that did other work, too, and noisy.
{"" if refitted is None else _refitted(manifest["refitted"], refitted)}
**The dense network.** Validation: {_measures(dense["validation"])}. Test: {_measures(dense["test"])}. Cost:
{", ".join(f"{metric} {cost:,}" for metric, cost in dense["cost"].items())}.

**Uses.** `rank_search.load_recorded({manifest["name"]!r})`, or `{{recorded: {manifest["name"]}}}` as a config's task.
The validation columns are for searching, and methods have been tuned on them; the test columns are for reporting only.

**Licence.** Tables and weights: Apache-2.0, as rank-search. The data is not in here: scikit-learn's digits are CC BY
4.0 (UCI), the package mnist1d is Apache-2.0.

## Columns

{columns}

| column | least | median | most | not finite |
|---|---|---|---|---|
{ranges}

## Layers

| layer | options | in order |
|---|---|---|
{layers}

## Task

```yaml
{task}```
"""


def _refitted(made: Mapping[str, Any], table: pd.DataFrame) -> str:
    """The paragraph of the optional table, between empty lines."""
    asked = "; ".join(
        f"{of['near']} each of least recalibrated validation loss within {', '.join(of['budgets'])}"
        + (f", {of['answers']} that searches answered with" if of["answers"] else "")
        for of in made["asked"]
    )
    text = f"""**Refitted.** `refitted.parquet` holds {len(table):,} plans after `repair: {made["repair"]}` on
{made["inputs"]} training inputs, without any training: those that are fine-tuned; {asked}. **They are no sample of the
space**: good plans are far more frequent among them. {made["date"]}, {made["machine"]}, {made["threads"]} thread(s) a
plan, {_versions(made["versions"])}; {made["cpu_seconds"]:,.0f} CPU seconds. Each network was cut anew from
`dense.safetensors` by that version, whose fits of CP may differ from those of the other tables. `seconds`:
build, refit, validate."""
    return f"""
{fill(text, 120, break_on_hyphens=False)}

| column | least | median | most | not finite |
|---|---|---|---|---|
{_ranges(table.drop(columns="plan"))}
"""


def _ranges(table: pd.DataFrame) -> str:
    return "\n".join(
        f"| {column} | {_number(table[column].min())} | {_number(table[column].median())} | "
        f"{_number(table[column].max())} | {int(table[column].isna().sum())} |"
        for column in table.columns
    )


def count(table: pd.DataFrame, column: str) -> int:
    """How many different values a column has; 0 for an empty table."""
    return int(table[column].nunique()) if len(table) else 0


def _text(option: Any) -> str:
    return option if isinstance(option, str) else f"{option['form']} {','.join(map(str, option['ranks']))}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) >= 1 else f"{value:.4g}"


def _measures(found: Mapping[str, float] | None) -> str:
    return "none" if found is None else ", ".join(f"{name} {value:.4f}" for name, value in found.items())


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version.partition('+')[0]}" for name, version in versions.items())
