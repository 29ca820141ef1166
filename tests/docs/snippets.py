"""The code blocks and the commands of README.md and docs/, as they stand there."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FILES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = {path.name: path for path in FILES}
MARK = re.compile(r"<!-- not run: (?P<reason>.+) -->")
FENCE = re.compile(r"```(?P<language>\w*)(?P<rest>.*)")
TITLE = re.compile(r'title="(?P<title>[^"]+)"')
SPAN = re.compile(r"(?<!`)`(rank-search [^`]+)`(?!`)")
SHELLS = ("sh", "bash")


@dataclass(frozen=True)
class Snippet:
    """A fenced block: its line, its language, the file that it is (``title="FILE"``), why it is not run, or None."""

    page: str
    line: int
    language: str
    title: str | None
    reason: str | None
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def snippets(page: str) -> list[Snippet]:
    """The fenced blocks of a page, in order."""
    found: list[Snippet] = []
    lines = PAGES[page].read_text(encoding="utf-8").splitlines()
    reason: str | None = None
    number = 0
    while number < len(lines):
        line = lines[number].strip()
        fence = FENCE.fullmatch(line)
        if fence:
            end = next(at for at in range(number + 1, len(lines)) if lines[at].strip() == "```")
            title = TITLE.search(fence["rest"])
            code = "\n".join(lines[number + 1 : end]) + "\n"
            found.append(Snippet(page, number + 1, fence["language"], title and title["title"], reason, code))
            number, reason = end, None
        elif line:
            mark = MARK.fullmatch(line)
            reason = mark["reason"] if mark else None
        number += 1
    return found


def words_of(code: str) -> list[list[str]]:
    """The commands of a shell block, each as its words, without comments."""
    lines = code.replace("\\\n", " ").splitlines()
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


def commands(page: str) -> list[tuple[int, list[str]]]:
    """Every ``rank-search`` command of a page, in a block or in a line, by its line."""
    found = [
        (snippet.line, words)
        for snippet in snippets(page)
        if snippet.language in SHELLS
        for words in words_of(snippet.code)
        if words[0] == "rank-search"
    ]
    text = re.sub(r"^```.*?^```", lambda block: "\n" * block[0].count("\n"), PAGES[page].read_text(), flags=re.M | re.S)
    for span in SPAN.finditer(text):
        found.append((text.count("\n", 0, span.start()) + 1, shlex.split(span[1])))
    return found
