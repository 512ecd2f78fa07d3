"""The code blocks of the README and of the documentation."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
GENERATED = {"benchmarks.md", "soak.md"}
PAGES = {
    page: page.read_text(encoding="utf-8")
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if page.name not in GENERATED
}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DIRECTIVE = re.compile(r"^```\{[\w-]+\}\n.*?^```$", re.MULTILINE | re.DOTALL)
LINK_TO_EXAMPLE = re.compile(r"\]\((\.\./examples/[\w./-]+|\w+_example\.py)\)[^\n]*\n\n\Z")


@dataclass
class Block:
    """A block of code, its place, and the file of an example that it shows, if any."""

    place: str
    language: str
    code: str
    file: Path | None = None

    def __str__(self):
        return self.place


def line_of(text, position):
    """Return the number of the line at *position*."""
    return text.count("\n", 0, position) + 1


def blocks_of(page, text):
    """Yield the blocks of a page."""
    for match in BLOCK.finditer(text):
        link = LINK_TO_EXAMPLE.search(text, max(0, match.start() - 300), match.start())
        place = f"{page.relative_to(ROOT)}:{line_of(text, match.start())}"
        yield Block(place, *match.groups(), file=link and (page.parent / link[1]).resolve())


ALL_BLOCKS = [block for page, text in PAGES.items() for block in blocks_of(page, text)]
EXAMPLES = [block for block in ALL_BLOCKS if block.file]
BLOCKS = [block for block in ALL_BLOCKS if not block.file]
