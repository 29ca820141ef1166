"""Configs: the installed ones are valid, every key can be set, mistakes name the nearest key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from rank_search.errors import ConfigError
from rank_search.run.cells import expand
from rank_search.run.config import Config, load_config
from rank_search.run.config_file import installed_configs
from rank_search.run.regret.config import is_regret, load_regret_config


@pytest.mark.parametrize("name", installed_configs())
def test_installed_configs_are_valid_by_name(name: str) -> None:
    assert (load_regret_config(name) if is_regret(name) else load_config(name)).name == name


def test_the_quickstart_is_three_budgets_six_searchers_three_seeds() -> None:
    config = load_config("quickstart")
    cells = expand(config)
    assert len(cells) == len({cell.id for cell in cells}) == 54
    assert {str(cell.budget) for cell in cells} == {"macs=0.1", "macs=0.07", "macs=0.05"}
    assert {cell.searcher.title for cell in cells} == {"uniform", "random", "knapsack", "tpe", "batude", "relaxation"}
    assert config.tasks["digits"].space.forms == ["tucker2", "svd_spatial", "svd_grouped"]


def test_spelled_out_defaults_read_back_as_the_same_config(tmp_path: Path) -> None:
    config = load_config("quickstart")
    (tmp_path / "again.yaml").write_text(config.to_yaml())
    assert load_config(tmp_path / "again.yaml") == config


def test_any_key_can_be_set() -> None:
    config = load_config(
        "quickstart",
        [
            "seeds=[7]",
            "budgets.0.macs=0.4",
            "tasks.digits.finetune.form_lr.cp=0.5",
            "tasks.digits.data.validation=200",
            "limits.wall_seconds=9",
            "searchers.1={name: tpe, label: warm, options: {warm_start: knapsack}}",
            "searchers=[knapsack, {name: tpe, label: warm}]",
            "run.tracking=none",
        ],
    )
    assert config.seeds == [7]
    assert config.budgets[0] == {"macs": 0.4}
    assert config.tasks["digits"].finetune.form_lr == {"cp": 0.5}
    assert config.tasks["digits"].data.options == {"size": 16, "validation": 200}
    assert config.limits.wall_seconds == 9
    assert [searcher.title for searcher in config.searchers] == ["knapsack", "warm"]
    assert config.run.tracking == "none"


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("seeds", "not of the form key=value"),
        ("budgets.7.macs=0.3", "not a position of a list of 3 entries"),
        ("name.first=x", "single value 'quickstart'"),
        ("seeds=[1", "not valid YAML"),
        ("tasks.digits.model.nam=x", "did you mean 'name'"),
        ("tasks.digits.space.form=[svd]", "did you mean 'forms'"),
        ("run.worker=3", "did you mean 'workers'"),
        ("tasks.digits.model.train.epoch=3", "did you mean 'epochs'"),
        ("searchers=[{name: tpe, option: {}}]", "did you mean 'options'"),
        ("searchers=[tpe, tpe]", "'tpe' stands twice"),
        ("searchers=[]", "searchers"),
        ("name=a/b", "name"),
        ("limits={}", "at least one limit"),
        ("run.workers=0", "whole number from 1"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(setting: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("quickstart", [setting])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_config_that_is_not_there_names_the_installed_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'quickstart'.*cifar10_resnet20"):
        load_config("quikstart")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="not a YAML mapping"):
        load_config(tmp_path / "list.yaml")


def test_a_task_name_becomes_a_folder_name(small_config: Callable[..., Path]) -> None:
    tasks = yaml.safe_load(small_config().read_text())["tasks"]
    with pytest.raises(ConfigError, match="folder name"):
        load_config(small_config(tasks={"../up": tasks["digits"]}))


def test_the_documented_config_is_valid() -> None:
    text = (Path(__file__).parents[2] / "docs" / "configs.md").read_text().split("```yaml\n")[1].split("```")[0]
    config = Config.model_validate(yaml.safe_load(text))
    assert [searcher.title for searcher in config.searchers] == [
        "knapsack",
        "tpe-warm",
        "tpe-2",
        "tpe-4",
        "asha",
        "cmaes",
        "relaxation_outputs",
        "ortos",
    ]
