"""A user's modules: which files are found, how they get to another process, and that another version is noticed."""

from __future__ import annotations

import hashlib
import importlib
import json
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from small_bench import SMALL

from rank_search.errors import RunError
from rank_search.run import user_code as room
from rank_search.run.config import Config, SearcherConfig
from rank_search.run.user_code import UserCode, install, user_code

DEADLINE = 300.0

SINGLE = {
    "mine_single.py": "import mine_sibling\n\nclass Net:\n    value = mine_sibling.VALUE\n",
    "mine_sibling.py": "VALUE = 7\n",
    "mine_unused.py": "raise RuntimeError\n",
}
PACKAGE = {
    "mine_pack/__init__.py": "",
    "mine_pack/nets.py": "from .parts import part\nfrom .deep.most import VALUE\n\ndef net(): return part, VALUE\n",
    "mine_pack/parts.py": "part = 'p'\n",
    "mine_pack/deep/__init__.py": "from .most import VALUE as again\n",
    "mine_pack/deep/most.py": "VALUE = 3\n",
    "mine_pack/unused.py": "",
}


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Writes modules into a folder on ``sys.path``; they are forgotten afterwards."""
    before = set(sys.modules)

    def write(files: Mapping[str, str], folder: str = "own") -> Path:
        root = tmp_path / folder
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        monkeypatch.syspath_prepend(str(root))
        return root

    yield write
    for name in {*sys.modules} - before:
        if name.startswith("mine_"):
            del sys.modules[name]


def config(model: str = "digits_net", **changes: Any) -> Config:
    """One that names a model, and whatever is changed."""
    task = SMALL["tasks"]["digits"]
    task = {**task, "model": {**task["model"], "name": model}, **changes}
    return Config.model_validate({**SMALL, "tasks": {"digits": task}})


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def encoded(files: Mapping[str, str]) -> dict[str, bytes]:
    return {name: text.encode() for name, text in files.items()}


# -- what is found -----------------------------------------------------------------------------------------------------


def test_a_config_without_own_modules_has_no_code() -> None:
    assert user_code(config()) == UserCode({}, {})


def test_a_file_and_the_sibling_that_it_imports(written: Callable[..., Path]) -> None:
    written(SINGLE)
    importlib.import_module("mine_single")
    found = user_code(config("mine_single:Net"))
    assert found.modules == {"mine_single": hash_of(SINGLE["mine_single.py"])}
    assert found.files == encoded({name: SINGLE[name] for name in ("mine_single.py", "mine_sibling.py")})


def test_a_package_with_relative_imports(written: Callable[..., Path]) -> None:
    written(PACKAGE)
    importlib.import_module("mine_pack.nets")
    found = user_code(config("mine_pack.nets:net"))
    assert found.modules == {"mine_pack.nets": hash_of(PACKAGE["mine_pack/nets.py"])}
    assert found.files == encoded({name: text for name, text in PACKAGE.items() if name != "mine_pack/unused.py"})


def test_a_package_that_is_named_itself(written: Callable[..., Path]) -> None:
    text = {"mine_pack/__init__.py": "from .parts import part\n", "mine_pack/parts.py": "part = 1\n"}
    written(text)
    importlib.import_module("mine_pack")
    found = user_code(config("mine_pack:part"))
    assert found.modules == {"mine_pack": hash_of(text["mine_pack/__init__.py"])}
    assert found.files == encoded(text)


def test_modules_are_found_wherever_a_config_names_them(written: Callable[..., Path]) -> None:
    written({"mine_one.py": "A = 1\n"}, "one")
    written({"mine_two.py": "B = 1\n"}, "two")
    written({"mine_three.py": "C = 1\n"}, "three")
    for name in ("mine_one", "mine_two", "mine_three"):
        importlib.import_module(name)
    named = config("mine_one:A", objective={"mine_two:B": {}})
    named = named.model_copy(update={"searchers": [SearcherConfig(name="mine_three:C")]})
    found = user_code(named)
    assert [*found.modules] == ["mine_one", "mine_three", "mine_two"]
    assert {*found.files} == {"mine_one.py", "mine_two.py", "mine_three.py"}


def test_a_module_is_sent_whether_or_not_it_was_imported_here(written: Callable[..., Path]) -> None:
    written({"mine_late.py": "A = 1\n"})
    assert user_code(config("mine_late:A")).files == {"mine_late.py": b"A = 1\n"}


def test_installed_modules_are_left_out(written: Callable[..., Path]) -> None:
    written({"mine_installed.py": "A = 1\n"}, "venv/lib/python3/site-packages")
    importlib.import_module("mine_installed")
    assert user_code(config("mine_installed:A")) == UserCode({}, {})
    assert user_code(config("torch.nn:Linear")) == UserCode({}, {})
    assert user_code(config("rank_search.testing:SmallTask")) == UserCode({}, {})


def test_a_module_that_is_not_there_is_left_to_the_one_who_looks_for_it() -> None:
    assert user_code(config("mine_nowhere:A")) == UserCode({}, {})
    assert user_code(config("mine_nowhere.deeper:A")) == UserCode({}, {})


def test_too_much_is_refused_in_a_line(written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_BYTES", 30)
    written({"mine_large.py": "A = 1  # twenty-nine bytes....\n"})
    importlib.import_module("mine_large")
    with pytest.raises(RunError, match=r"have 31 bytes: install them on the nodes$") as caught:
        user_code(config("mine_large:A"))
    assert "\n" not in str(caught.value)


# -- in another process ------------------------------------------------------------------------------------------------

WORKER = """
    import importlib, json, os, sys
    from pathlib import Path
    from rank_search.errors import RunError
    from rank_search.run.user_code import UserCode, install

    def answer(sent):
        sys.path[:0] = sent["path"]
        code = UserCode({name: text.encode() for name, text in sent["files"].items()}, sent["modules"])
        try:
            for _ in range(2):
                install(code, Path(sent["folder"]))
        except RunError as error:
            return {"refused": str(error)}
        module, name = sent["asked"].split(":")
        found = getattr(importlib.import_module(module), name)
        return {"file": sys.modules[module].__file__, "value": found() if callable(found) else found}

    for line in sys.stdin:
        child = os.fork()
        if not child:
            print(json.dumps(answer(json.loads(line))), flush=True)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            print(json.dumps({"broke": True}), flush=True)
"""
Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def in_worker() -> Iterator[Ask]:
    """What another process says, which lacks the folders of this one and has imported nothing from them."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    out, into = process.stdout, process.stdin
    assert out is not None
    assert into is not None

    def ask(code: UserCode, folder: Path, asked: str, path: tuple[Path, ...] = ()) -> dict[str, Any]:
        files = {name: content.decode() for name, content in code.files.items()}
        sent = {"files": files, "modules": dict(code.modules), "folder": str(folder), "asked": asked}
        into.write(json.dumps({**sent, "path": [*map(str, path)]}) + "\n")
        into.flush()
        found: dict[str, Any] = json.loads(out.readline())
        return found

    watch = threading.Timer(DEADLINE, process.kill)
    watch.start()
    yield ask
    watch.cancel()
    process.kill()
    process.communicate()


def test_a_package_becomes_importable_there(written: Callable[..., Path], in_worker: Ask, tmp_path: Path) -> None:
    written(PACKAGE)
    importlib.import_module("mine_pack.nets")
    there = tmp_path / "there"
    found = in_worker(user_code(config("mine_pack.nets:net")), there, "mine_pack.nets:net")
    assert found == {"file": str(there / "mine_pack" / "nets.py"), "value": ["p", 3]}


def test_a_file_and_its_sibling_become_importable_there(
    written: Callable[..., Path], in_worker: Ask, tmp_path: Path
) -> None:
    written(SINGLE)
    importlib.import_module("mine_single")
    there = tmp_path / "there"
    found = in_worker(user_code(config("mine_single:Net")), there, "mine_sibling:VALUE")
    assert found == {"file": str(there / "mine_sibling.py"), "value": 7}


def test_the_same_modules_there_are_taken_and_nothing_is_written(
    written: Callable[..., Path], in_worker: Ask, tmp_path: Path
) -> None:
    root, there = written(SINGLE), tmp_path / "there"
    importlib.import_module("mine_single")
    found = in_worker(user_code(config("mine_single:Net")), there, "mine_sibling:VALUE", (root,))
    assert found["file"] == str(root / "mine_sibling.py")
    assert not there.exists()


def test_another_version_there_is_an_error_that_names_the_file(
    written: Callable[..., Path], in_worker: Ask, tmp_path: Path
) -> None:
    written(SINGLE)
    importlib.import_module("mine_single")
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine_single.py").write_text("class Net:\n    value = 8\n")
    found = in_worker(user_code(config("mine_single:Net")), tmp_path / "there", "mine_sibling:VALUE", (other,))
    assert found["refused"].startswith(f"the module 'mine_single' is another one there ({other / 'mine_single.py'})")
    assert "\n" not in found["refused"]


def test_another_version_of_what_a_module_imports_is_an_error_too(
    written: Callable[..., Path], in_worker: Ask, tmp_path: Path
) -> None:
    written(SINGLE)
    importlib.import_module("mine_single")
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine_single.py").write_text(SINGLE["mine_single.py"])
    (other / "mine_sibling.py").write_text("VALUE = 8\n")
    found = in_worker(user_code(config("mine_single:Net")), tmp_path / "there", "mine_sibling:VALUE", (other,))
    assert "mine_sibling" in found.get("refused", "")


def test_nothing_to_install_writes_nothing(tmp_path: Path) -> None:
    path = [*sys.path]
    install(UserCode(), tmp_path / "there")
    assert not (tmp_path / "there").exists()
    assert sys.path == path
