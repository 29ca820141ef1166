"""MkDocs hook: pages of the site that lie outside of docs/, and links that work on a Git host and in the site."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from posixpath import dirname, normpath, relpath
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
PLACES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarks.md",
    "LICENSE": "licence.txt",
    **{
        path.relative_to(ROOT).as_posix(): f"datasheets/{path.parent.name}.md"
        for path in sorted((ROOT / "rank_search" / "recorded" / "data").glob("*/DATASHEET.md"))
    },
}
"""Files of the repository, by where they stand in the site."""
LISTED = ("examples",)
"""Folders whose files are in the site, each folder with a page that lists them."""
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)\s#]+)(#[^)\s]*)?(?=\))")


def on_files(files: Any, config: Any) -> Any:
    """Adds the files from outside of docs/."""
    for source, place in PLACES.items():
        files.append(File.generated(config, place, content=(ROOT / source).read_text(encoding="utf-8")))
    for folder in LISTED:
        for path in [ROOT / folder, *sorted((ROOT / folder).rglob("*"))]:
            here = path.relative_to(ROOT).as_posix()
            if path.is_dir() and path.name != "__pycache__":
                files.append(File.generated(config, f"{here}/index.md", content=listing(path)))
            elif path.is_file() and path.suffix != ".pyc" and not path.name.startswith("."):
                files.append(File.generated(config, here, content=path.read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links of the repository become links of the site."""
    place = page.file.src_uri
    source = next((name for name, there in PLACES.items() if there == place), None)
    if source is None:
        source = place if place.startswith(LISTED) else f"docs/{place}"

    def moved(link: re.Match[str]) -> str:
        target = normpath(f"{dirname(source)}/{link[1]}".lstrip("/"))
        if target in PLACES:
            there = PLACES[target]
        elif target == "docs":
            there = "index.md"
        elif (ROOT / target).is_dir():
            there = f"{target}/index.md"
        else:
            there = target.removeprefix("docs/")
        return relpath(there, dirname(place) or ".") + (link[2] or "")

    return LINK.sub(moved, markdown)


def listing(folder: Path) -> str:
    """A page that names a folder's files, each with the first line of what it says of itself."""
    lines = [f"# {folder.relative_to(ROOT).as_posix()}", ""]
    for path in sorted(folder.iterdir()):
        if path.name in ("__pycache__", "index.md") or path.suffix == ".pyc":
            continue
        hidden = path.name.startswith(".")  # MkDocs leaves such files out
        name = f"`{path.name}`" if hidden else f"[{path.name}]({path.name}{'/' * path.is_dir()})"
        lines.append(f"- {name}{said(path)}")
    return "\n".join(lines) + "\n"


def said(path: Path) -> str:
    """The first line of a docstring or of the comments at the top; nothing of other files."""
    if path.suffix == ".py":
        return f": {(ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or '').splitlines()[0]}"
    if path.is_file():
        first = next((line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#!")), "")
        return f": {first.lstrip('# ')}" if first.startswith("# ") else ""
    return ""
