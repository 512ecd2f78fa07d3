"""Draw the pictures of the README: a run of ``tokenkeeper demo``, for dark and light pages.

Run ``python docs/pictures/make.py`` on an idle machine. It runs the demo once, which takes about
15 seconds, and writes ``demo-dark.svg`` and ``demo-light.svg`` beside this file. The numbers in
them are those of that run.
"""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from tokenkeeper.cli.demo.report import Plan, Report, Snapshot
from tokenkeeper.cli.demo.scenario import run
from tokenkeeper.cli.demo.screen import table
from tokenkeeper.cli.demo.summary import introduction, summary_text

COLUMNS = 80
TITLE = "tokenkeeper demo"

# Black, red, green, yellow, blue, magenta, cyan and white, each readable on its background.
THEMES = {
    "dark": TerminalTheme(
        (13, 17, 23),
        (230, 237, 243),
        [
            (72, 79, 88),
            (255, 123, 114),
            (63, 185, 80),
            (210, 153, 34),
            (88, 166, 255),
            (188, 140, 255),
            (57, 197, 207),
            (177, 186, 196),
        ],
    ),
    "light": TerminalTheme(
        (255, 255, 255),
        (31, 35, 40),
        [
            (36, 41, 47),
            (207, 34, 46),
            (26, 127, 55),
            (154, 103, 0),
            (9, 105, 218),
            (130, 80, 223),
            (27, 124, 131),
            (110, 119, 129),
        ],
    ),
}

# Only fonts that the reader's machine has: a forge does not load others into a picture.
FORMAT = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<title>One keeper beside naive clients, through an outage of the token endpoint</title>
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px;
  line-height: {line_height}px;
}}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""


def draw(report: Report, name: str, theme: TerminalTheme) -> str:
    """Return an SVG of what a terminal shows after the run of *report*."""
    with io.StringIO() as nowhere:
        screen = Console(record=True, width=COLUMNS, file=nowhere, highlight=False)
        screen.print(Text.assemble(("$ ", "bold green"), ("tokenkeeper demo", "bold")))
        screen.print(introduction(report.plan) + "\n")
        screen.print(table(report.end))
        screen.print(summary_text(report, compare=False))
        svg = screen.export_svg(
            title=TITLE, theme=theme, code_format=FORMAT, unique_id=f"demo-{name}"
        )
    svg = svg.replace("rgba(255,255,255,0.35)", "rgba(128,128,128,0.5)")  # seen on white as well
    return "".join(f"{line.rstrip()}\n" for line in svg.splitlines())


def _show_nothing(_: Snapshot) -> None:
    """Draw the end of the run only."""


def main() -> None:
    """Run the demo and write the pictures."""
    logging.getLogger("tokenkeeper").addHandler(logging.NullHandler())  # the outage is expected
    report = run(Plan(), _show_nothing)
    if report.problems:
        sys.exit("not drawn: " + "; ".join(report.problems))
    for name, theme in THEMES.items():
        picture = Path(__file__).with_name(f"demo-{name}.svg")
        picture.write_text(draw(report, name, theme), encoding="utf-8")


if __name__ == "__main__":
    main()
