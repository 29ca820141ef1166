"""The registry: entry points, names of this process, ``module:Class``, and every way that a plug-in can be broken."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rank_search.errors import PluginError, UnknownNameError
from rank_search.plugins import Registry, nearest

GROUP = "rank_search.test_shapes"

PLUGIN = """
from test_plugins import Shape

class Circle(Shape): ...
class Square(Shape): ...
class Outer:
    class Inner(Shape): ...
class NotAShape: ...
circle = Circle()
"""


class Shape:
    """What this test's plug-ins must derive from."""


Declare = Callable[..., Registry[Shape]]


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Declare:
    """Makes a registry that finds these entry points, in modules that exist for this test only."""
    (tmp_path / "shapes_plugin.py").write_text(PLUGIN)
    (tmp_path / "shapes_raises.py").write_text("raise RuntimeError('no licence')\n")
    (tmp_path / "shapes_syntax.py").write_text("def broken(:\n")
    (tmp_path / "shapes_needs.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)

    def make(*points: tuple[str, str] | tuple[str, str, str]) -> Registry[Shape]:
        entries = []
        for name, value, *distribution in points:
            entry = EntryPoint(name, value, GROUP)
            if distribution:
                vars(entry)["dist"] = SimpleNamespace(name=distribution[0])
            entries.append(entry)
        monkeypatch.setattr("rank_search.plugins.entry_points", lambda group: entries if group == GROUP else [])
        return Registry(GROUP, "shape", lambda: Shape)

    return make


# -- entry points ------------------------------------------------------------------------------------------------------


def test_entry_points_are_found_by_name(declare: Declare) -> None:
    shapes = declare(("square", "shapes_plugin:Square"), ("circle", "shapes_plugin:Circle"))
    assert shapes.names() == ["circle", "square"]
    assert shapes.get("circle").__name__ == "Circle"
    assert shapes.get("circle") is shapes.get("circle")
    assert {name: cls.__name__ for name, cls in shapes.listing().items()} == {"circle": "Circle", "square": "Square"}


def test_listing_names_imports_nothing(declare: Declare) -> None:
    assert declare(("broken", "shapes_raises:Circle")).names() == ["broken"]


def test_two_plug_ins_with_one_name_are_an_error_that_names_both(declare: Declare) -> None:
    shapes = declare(
        ("circle", "shapes_plugin:Circle", "round-things"),
        ("circle", "shapes_plugin:Square", "angular-things"),
        ("square", "shapes_plugin:Square"),
    )
    with pytest.raises(PluginError) as caught:
        shapes.get("circle")
    for word in ("'circle' is claimed by", "round-things", "angular-things", "shapes_plugin:Square", "rename one"):
        assert word in str(caught.value)
    assert shapes.names() == ["circle", "square"]
    assert isinstance(shapes.listing()["circle"], PluginError)
    assert shapes.get("square").__name__ == "Square"


def test_one_package_listed_twice_is_no_clash(declare: Declare) -> None:
    shapes = declare(("circle", "shapes_plugin:Circle"), ("circle", "shapes_plugin:Circle"))
    assert shapes.get("circle").__name__ == "Circle"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("shapes_raises:Circle", "RuntimeError: no licence"),
        ("shapes_syntax:Circle", "SyntaxError"),
        ("shapes_needs:Circle", "a_package_that_is_not_there"),
        ("shapes_missing:Circle", "No module named 'shapes_missing'"),
        ("shapes_plugin:Triangle", "Triangle"),
        ("shapes_plugin:NotAShape", "not a subclass of Shape"),
        ("shapes_plugin:circle", "not a subclass of Shape"),
    ],
)
def test_a_broken_plug_in_is_listed_with_its_error_and_hurts_no_other(declare: Declare, value: str, words: str) -> None:
    shapes = declare(("broken", value), ("circle", "shapes_plugin:Circle"))
    with pytest.raises(PluginError) as caught:
        shapes.get("broken")
    assert words in str(caught.value)
    assert "'broken'" in str(caught.value)
    listing = shapes.listing()
    assert isinstance(listing["broken"], PluginError)
    assert words in str(listing["broken"])
    assert getattr(listing["circle"], "__name__", None) == "Circle"


# -- names of this process ---------------------------------------------------------------------------------------------


def test_a_class_registered_here_is_found_and_can_be_taken_back(declare: Declare) -> None:
    shapes = declare(("circle", "shapes_plugin:Circle"))

    class Mine(Shape): ...

    shapes.register("mine", Mine)
    assert shapes.names() == ["circle", "mine"]
    assert shapes.get("mine") is shapes.listing()["mine"] is Mine
    shapes.unregister("mine")
    shapes.unregister("mine")
    assert shapes.names() == ["circle"]


def test_a_taken_name_is_refused_whoever_has_it(declare: Declare) -> None:
    shapes = declare(("circle", "shapes_plugin:Circle"))
    shapes.register("mine", Shape)

    class Other(Shape): ...

    for name in ("circle", "mine"):
        with pytest.raises(PluginError, match=f"the shape name '{name}' is taken"):
            shapes.register(name, Other)
    assert shapes.get("circle").__name__ == "Circle"
    assert shapes.get("mine") is Shape


def test_a_class_takes_the_place_of_its_own_earlier_self(declare: Declare) -> None:
    shapes = declare()
    made = [type("Mine", (Shape,), {"__module__": "notebook"}) for _ in range(2)]
    for mine in made:
        shapes.register("mine", mine)
    assert shapes.get("mine") is made[1]


@pytest.mark.parametrize("wrong", [int, Shape(), "Shape", None, lambda: Shape()])
def test_something_else_than_a_subclass_is_refused(declare: Declare, wrong: Any) -> None:
    shapes = declare()
    with pytest.raises(PluginError, match=r"the shape 'wrong' is .* which is not a subclass of Shape"):
        shapes.register("wrong", wrong)
    assert shapes.names() == []


# -- module:Class ------------------------------------------------------------------------------------------------------


def test_a_class_is_found_by_its_module_and_name(declare: Declare) -> None:
    shapes = declare()
    assert shapes.get("shapes_plugin:Circle").__name__ == "Circle"
    assert shapes.get("shapes_plugin:Outer.Inner").__name__ == "Inner"
    assert shapes.names() == []
    with pytest.raises(PluginError, match="not a subclass of Shape"):
        shapes.get("shapes_plugin:NotAShape")


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("shapes_plugin:Cirkle", UnknownNameError, "shapes_plugin has no 'Cirkle' (did you mean 'Circle'?)"),
        ("shapes_plugin:Outer.Iner", UnknownNameError, "has no 'Outer.Iner' (did you mean 'Inner'?)"),
        ("shapes_plugin:", UnknownNameError, "not of the form 'module:name'"),
        (":Circle", UnknownNameError, "not of the form 'module:name'"),
        ("shapes_missing:Circle", UnknownNameError, "No module named 'shapes_missing'; is it installed"),
        ("shapes_needs:Circle", UnknownNameError, "No module named 'a_package_that_is_not_there'"),
        ("shapes_raises:Circle", PluginError, "importing shapes_raises raised RuntimeError: no licence"),
        ("shapes_syntax:Circle", PluginError, "importing shapes_syntax raised SyntaxError"),
        (".:Circle", PluginError, "importing . raised"),
    ],
)
def test_a_path_that_leads_nowhere_is_a_readable_error(
    declare: Declare, path: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        declare().get(path)
    assert words in str(caught.value)
    assert f"shape {path!r}" in str(caught.value)
    assert "\n" not in str(caught.value)


# -- unknown names -----------------------------------------------------------------------------------------------------


def test_an_unknown_name_gets_the_nearest_and_all_the_known_ones(declare: Declare) -> None:
    shapes = declare(("square", "shapes_plugin:Square"), ("circle", "shapes_plugin:Circle"))
    with pytest.raises(UnknownNameError) as caught:
        shapes.get("cirkel")
    assert str(caught.value) == (
        "unknown shape 'cirkel' (did you mean 'circle'?); known: circle, square, or give 'module:Class'"
    )
    assert isinstance(caught.value, ValueError)
    with pytest.raises(UnknownNameError) as caught:
        shapes.get("xyz")
    assert "did you mean" not in str(caught.value)


def test_the_nearest_name_is_only_suggested_when_it_is_near() -> None:
    assert nearest("tuker2", ["svd", "tucker2"]) == " (did you mean 'tucker2'?)"
    assert nearest("zzz", ["svd", "tucker2"]) == ""
    assert nearest("svd", []) == ""
