"""What a cell needs and whether the cluster has it: by hand, for nodes of all kinds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from small_bench import SMALL

from rank_search.errors import RunError
from rank_search.run import resources
from rank_search.run.config import Config, RunConfig, SearcherConfig
from rank_search.run.resources import at_once, check_room, cpus_of_this_machine, of_actor, of_process


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "cores", lambda: 8)


# -- of a process ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"CPU": 1.0}),
        ({"threads": 3}, {"CPU": 3.0}),
        ({"threads": 3, "cpus": 0.5}, {"CPU": 0.5}),
        ({"cpus": 0}, {}),
        ({"device": "cuda"}, {"CPU": 1.0, "GPU": 1.0}),
        ({"device": "cuda", "gpus": 0.25}, {"CPU": 1.0, "GPU": 0.25}),
        ({"device": "cuda", "gpus": 0}, {"CPU": 1.0}),
        ({"gpus": 2}, {"CPU": 1.0, "GPU": 2.0}),
        ({"resources": {"large": 0.5, "none": 0}}, {"CPU": 1.0, "large": 0.5}),
        ({"cpus": 0, "gpus": 0, "resources": {"large": 1}}, {"large": 1.0}),
    ],
)
def test_what_a_process_needs(settings: dict[str, Any], expected: dict[str, float]) -> None:
    run = RunConfig(**settings)
    assert of_process(run) == expected
    own = {name: amount for name, amount in expected.items() if name not in ("CPU", "GPU")}
    assert of_actor(run) == {"num_cpus": expected.get("CPU", 0), "num_gpus": expected.get("GPU", 0), "resources": own}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 2),
        ({"workers": 5}, 5),
        ({"workers": "auto"}, 8),
        ({"workers": "auto", "threads": 3}, 2),
        ({"workers": "auto", "threads": 8}, 1),
        ({"workers": "auto", "threads": 9}, 1),
        ({"workers": "auto", "cpus": 0.5}, 16),
    ],
)
def test_processes_at_once(settings: dict[str, Any], expected: int) -> None:
    assert at_once(RunConfig(**settings)) == expected


def test_processes_without_a_cpu_are_not_as_many_as_there_are_numbers() -> None:
    assert at_once(RunConfig(workers="auto", cpus=0)) <= 8


@pytest.mark.parametrize(
    ("settings", "workers", "expected"),
    [
        ({"workers": 1}, [], 1),
        ({"workers": 3}, [1, 1], 3),
        ({"workers": 3, "threads": 2}, [1], 6),
        ({"workers": 3, "threads": 2}, [1, 5], 10),
        ({"workers": "auto", "threads": 2}, [1], 8),
        ({"workers": "auto", "threads": 2}, [6], 12),
        ({"workers": 1, "cpus": 0.25}, [2], 1),
        ({"workers": 1, "cpus": 0.5}, [7], 3.5),
        ({"workers": 4, "cpus": 0}, [7], 1),
    ],
)
def test_what_a_ray_of_our_own_must_have(settings: dict[str, Any], workers: list[int], expected: float) -> None:
    arms = [SearcherConfig(name="random", workers=count) for count in workers]
    assert cpus_of_this_machine(RunConfig(**settings), arms) == expected


# -- room on a cluster -------------------------------------------------------------------------------------------------


def node(alive: bool = True, **amounts: float) -> Mapping[str, Any]:
    return {"Alive": alive, "Resources": {"memory": 1e9, "node:10.0.0.1": 1.0, **amounts}}


def config(workers: int = 1, **run: Any) -> Config:
    searchers = ["uniform", {"name": "random", "workers": workers}]
    return Config.model_validate({**SMALL, "searchers": searchers, "run": run})


SMALL_NODES = [node(CPU=2), node(CPU=2), node(CPU=1)]
GPUS = [node(CPU=8, GPU=2), node(CPU=8, GPU=1), node(CPU=64)]


@pytest.mark.parametrize(
    ("cell", "nodes"),
    [
        (config(), [node(CPU=1)]),
        (config(threads=2), SMALL_NODES),
        (config(workers=5), SMALL_NODES),
        (config(workers=2, threads=2), SMALL_NODES),
        (config(workers=10, cpus=0.5), SMALL_NODES),
        (config(workers=3, device="cuda"), GPUS),
        (config(workers=12, device="cuda", gpus=0.25), GPUS),
        (config(workers=10, device="cuda", gpus=0.1), [node(CPU=10, GPU=1)]),
        (config(workers=3, gpus=1 / 3), [node(CPU=10, GPU=1)]),
        (config(workers=2, cpus=0.1 + 0.2), [node(CPU=0.6)]),
        (config(workers=2, resources={"large": 1}), [node(CPU=9), node(CPU=4, large=2)]),
        (config(workers=3, resources={"large": 0.5}), [node(CPU=2, large=1), node(CPU=1, large=5)]),
        (config(cpus=0), [node()]),
        (config(cpus=0, resources={"large": 1}), [node(large=1)]),
        (config(), [node(alive=False, CPU=0), node(CPU=1)]),
    ],
)
def test_there_is_room(cell: Config, nodes: list[Mapping[str, Any]]) -> None:
    check_room(cell, nodes)


@pytest.mark.parametrize(
    ("cell", "nodes", "needs", "has"),
    [
        (config(threads=2), [node(CPU=1)], "2 CPU", "1 CPU, 0 GPU on 1 node, at most 1 CPU, 0 GPU on one, room for 0"),
        (
            config(threads=3),
            SMALL_NODES,
            "3 CPU",
            "5 CPU, 0 GPU on 3 nodes, at most 2 CPU, 0 GPU on one, room for 0 such processes",
        ),
        (
            config(workers=3, threads=2),
            SMALL_NODES,
            "2 CPU 3 times",
            "5 CPU, 0 GPU on 3 nodes, at most 2 CPU, 0 GPU on one, room for 2 such processes",
        ),
        (
            config(workers=4, device="cuda"),
            GPUS,
            "1 CPU, 1 GPU 4 times",
            "80 CPU, 3 GPU on 3 nodes, at most 64 CPU, 2 GPU on one, room for 3 such processes",
        ),
        (
            config(workers=2, resources={"large": 1}),
            [node(CPU=8), node(CPU=1, large=4)],
            "1 CPU, 1 large 2 times",
            "9 CPU, 0 GPU, 4 large on 2 nodes, at most 8 CPU, 0 GPU, 4 large on one, room for 1 such process:",
        ),
        (
            config(resources={"large": 1}),
            [node(CPU=8)],
            "1 CPU, 1 large",
            "8 CPU, 0 GPU, 0 large on 1 node, at most 8 CPU, 0 GPU, 0 large on one, room for 0",
        ),
        (
            config(),
            [node(alive=False, CPU=8)],
            "1 CPU",
            "0 CPU, 0 GPU on 0 nodes, at most 0 CPU, 0 GPU on one, room for 0",
        ),
        (
            config(workers=3),
            [node(alive=False, CPU=8), node(CPU=2)],
            "1 CPU 3 times",
            "2 CPU, 0 GPU on 1 node, at most 2 CPU, 0 GPU on one, room for 2 such processes",
        ),
        (config(), [], "1 CPU", "0 CPU, 0 GPU on 0 nodes, at most 0 CPU, 0 GPU on one, room for 0"),
    ],
)
def test_without_room_the_error_says_what_is_needed_and_what_there_is(
    cell: Config, nodes: list[Mapping[str, Any]], needs: str, has: str
) -> None:
    with pytest.raises(RunError) as caught:
        check_room(cell, nodes)
    said = str(caught.value)
    assert said.startswith(f"a cell needs {needs}; the cluster has {has}")
    assert "run.cpus" in said
    assert "\n" not in said


def test_a_fraction_of_a_gpu_is_of_one_gpu() -> None:
    """Two thirds of a GPU find room on two GPUs twice, not three times: Ray never splits them."""
    with pytest.raises(RunError, match=r"0\.666667 GPU 3 times; .* room for 2 such processes"):
        check_room(config(workers=3, gpus=2 / 3), [node(CPU=8, GPU=2)])


def test_several_processes_that_need_nothing_find_room_on_one_node() -> None:
    check_room(config(workers=3, cpus=0), [node(CPU=1)])
