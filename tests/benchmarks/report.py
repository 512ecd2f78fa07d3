"""The result of a benchmark, and how it is displayed on a terminal and in Markdown."""

import textwrap
from dataclasses import dataclass, field


@dataclass
class Table:
    """Rows of text below a header; all columns but the first are figures."""

    head: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, *cells):
        self.rows.append(tuple(str(cell) for cell in cells))

    def as_text(self):
        lines = [self.head, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        lines.insert(1, tuple("-" * width for width in widths))
        return "\n".join(
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
            for row in lines
        )

    def as_markdown(self):
        rule = ("---", *["---:"] * (len(self.head) - 1))
        return "\n".join(f"| {' | '.join(row)} |" for row in (self.head, rule, *self.rows))


@dataclass
class Bars:
    """One panel of a chart: a figure for each name. Less is better."""

    chart: str
    title: str
    unit: str
    figures: dict[str, float]
    ours: tuple[str, ...] = ()


@dataclass
class Section:
    """The result of one benchmark.

    ``broken`` lists the hard claims that did not hold. They don't depend on the machine's speed.
    """

    title: str
    says: str
    tables: list[Table]
    broken: list[str] = field(default_factory=list)
    bars: list[Bars] = field(default_factory=list)

    def claim(self, holds, otherwise):
        if not holds:
            self.broken.append(otherwise)

    def as_text(self):
        parts = [self.title, "=" * len(self.title)]
        parts += [table.as_text() + "\n" for table in self.tables]
        parts.append(textwrap.fill(self.says.replace("`", ""), 98))
        parts += [f"BROKEN: {claim}" for claim in self.broken]
        return "\n".join(parts) + "\n"

    def as_markdown(self, charts):
        parts = [f"## {self.title}"]
        parts += [table.as_markdown() for table in self.tables]
        for name in dict.fromkeys(panel.chart for panel in self.bars):
            if name in charts:
                parts.append(f"![{self.title}, as bars]({charts[name].name})")
        parts.append(textwrap.fill(self.says, 98))
        parts += [f"**Broken in this run:** {claim}" for claim in self.broken]
        return "\n\n".join(parts) + "\n"


def short(seconds):
    """Return *seconds* in a readable unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


LEVEL = 0.97
"""A figure above this part of ours counts as level with it: two runs of one program differ more."""


def ahead(what, figures, ours, reason):
    """Return the sentences about peers that need less than *ours*, from the figures of this run.

    :param reason: the reason, or a function that returns the reason for a peer's name.
    """
    own = figures[ours]
    better = {}
    for name, value in sorted(figures.items(), key=lambda item: item[1]):
        if value < own and not name.startswith(ours):  # ours in another setting is not a peer
            why = reason(name) if callable(reason) else reason
            better.setdefault(why, {})[name] = value / own
    if not better:
        return f" By {what}, {ours} is first in this run."
    said = ""
    for why, ratios in better.items():
        names = ", ".join(
            f"{name} ({ratio:.2f} times our figure)" for name, ratio in ratios.items()
        )
        level = min(ratios.values()) > LEVEL
        verb = "level with us or a little ahead" if level else "ahead of us"
        said += f" By {what}, {verb} in this run: {names}. The reason: {why}."
    return said
