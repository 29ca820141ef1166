"""The site builds strictly and fetches nothing from elsewhere; its links and those of the repository lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("[CS]*.md")), *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\((?![a-z]+:)([^)\s]*)\)")
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
ELSEWHERE = ("http:", "https:", "//")
FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


class Page(HTMLParser):
    """What a page links to, what it has the browser fetch, where it can be linked to, and its paragraphs."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.anchors: set[str] = set()
        self.paragraphs: list[str] = []
        self._open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("id"):
            self.anchors.add(str(given["id"]))
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        if tag in FETCHED and given.get(FETCHED[tag]) and given.get("rel") not in ("canonical", "next", "prev"):
            self.fetched.append(str(given[FETCHED[tag]]))
        if tag == "p":
            self.paragraphs.append("")
        self._open = tag == "p" or (self._open and tag not in ("ul", "ol", "table", "pre", "div"))

    def handle_endtag(self, tag: str) -> None:
        self._open = self._open and tag != "p"

    def handle_data(self, data: str) -> None:
        if self._open:
            self.paragraphs[-1] += data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install 'rank-search[docs]'")
    pytest.importorskip("material", reason="mkdocs-material is not installed: pip install 'rank-search[docs]'")
    folder = tmp_path_factory.mktemp("site")
    told = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_every_page_of_the_docs_and_every_example_is_in_the_site(site: Path) -> None:
    for path in (ROOT / "docs").glob("*.md"):
        assert (site / f"{path.stem}.html").is_file(), path.name
    for path in (ROOT / "examples").glob("*.py"):
        assert (site / "examples" / path.name).read_bytes() == path.read_bytes()
    assert "rank-search" in (site / "index.html").read_text()


def test_the_site_fetches_nothing_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        assert not [url for url in page.fetched if url.startswith(ELSEWHERE)], path.name
    for path in site.rglob("*.css"):
        found = re.findall(r"(?:@import\s*|url\(\s*)[\"']?([^\"')\s;]+)", path.read_text(encoding="utf-8"))
        assert not [url for url in found if url.startswith(ELSEWHERE)], path.name


def test_every_link_of_the_site_leads_to_a_page_and_a_place_in_it(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        if path.name == "404.html":  # links from the root of wherever the site stands
            continue
        for link in page.links:
            if re.match(r"[a-z]+:", link):
                continue
            target, _, anchor = link.partition("#")
            there = (path.parent / unquote(target)).resolve() if target else path
            there = there / "index.html" if there.is_dir() else there
            assert there.is_file(), f"{path.relative_to(site)}: {link}"
            if anchor and there.suffix == ".html":
                assert unquote(anchor) in pages[there].anchors, f"{path.relative_to(site)}: {link}"


def test_lists_and_tables_are_not_run_into_the_paragraph_before_them(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        for paragraph in page.paragraphs:
            assert not re.search(r"^(- |\d+\. |\|)", paragraph, re.MULTILINE), f"{path.relative_to(site)}: {paragraph}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_link_of_a_page_leads_to_a_file_of_the_repository_and_a_heading_in_it(page: Path) -> None:
    for link in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        target, _, anchor = link.partition("#")
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), f"{page.name}: {link}"
        assert there.is_relative_to(ROOT), f"{page.name}: {link}"
        if anchor:
            assert anchor in headings(there), f"{page.name}: {link}"


def headings(page: Path) -> set[str]:
    """Anchors of a page as Git hosts make them."""
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.replace("`", "").lower()).strip().replace(" ", "-") for title in titles}
