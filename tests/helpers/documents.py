"""The pages of the documentation and the code in them."""

import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]

WRITTEN = ("docs/digits", "docs/fashion_mnist", "docs/slurm-scenarios.md")
"""Pages that commands generate."""

_FILES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
PAGES = sorted(name for name in (page.relative_to(ROOT).as_posix() for page in _FILES) if not name.startswith(WRITTEN))


@dataclass(frozen=True)
class Block:
    """A block of code: its language ("" where it is indented), and the file that the text before it names."""

    language: str
    text: str
    file: str | None

    @property
    def commands(self) -> list[str]:
        """Its lines as commands, without comments; a line that ends in a backslash is joined with the next."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [said for line in lines if (said := re.split(r"(?:^|\s)# ", line)[0].strip())]


def blocks(page: str) -> list[Block]:
    """The blocks of a page, in order."""
    found, before = [], ""
    for token in MarkdownIt("commonmark").parse((ROOT / page).read_text(encoding="utf-8")):
        if token.type == "inline":
            before = token.content
        if token.type in ("fence", "code_block"):
            named = re.search(r"`([\w./-]+\.\w+)`[^`]*:$", before)
            found.append(Block(token.info, token.content, named and named[1]))
            before = ""
    return found


def inline(page: str) -> list[str]:
    """The complete commands of the harness within the text of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [found for found in re.findall(r"`(python -m harness [^`…]+)`", text) if "OVERRIDE" not in found]
