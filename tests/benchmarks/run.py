"""Run the benchmarks: ``python tests/benchmarks/run.py [--quick] [--markdown FILE] [NAME ...]``.

With ``--fleet`` these are what a store costs and a simulated fleet, for the page on sizing.

Prints ratios that were measured side by side in one run. With names, only their sections of FILE
are replaced. Fails if a hard claim is broken (more than one request, an expired token, an error
that reached a caller). Timings never make it fail.
"""

import argparse
import importlib
import logging
import multiprocessing
import re
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))  # for the kit

NAMES = (
    "peers_warm",
    "peers_stampede",
    "peers_renewal",
    "peers_size",
    "peers_import",
    "cold",
    "warm",
    "threads",
    "flight",
    "short_tokens",
    "fork",
    "outage",
    "many",
    "assertion",
    "import",
)
"""Each has a module ``bench_NAME.py`` with a function ``run(quick)``."""

FLEET = ("store", "fleet_simulation")
"""What ``--fleet`` runs. The simulation takes the costs that were measured just before."""

HEAD = """\
# Benchmarks

Compare ratios, not times: the rows of a table were measured side by side in one run. This page is
written by the following command. With the name of a benchmark, it replaces that section only.

    {command}

{machine}
"""


def run_one(name, quick, costs=None):
    logging.getLogger("tokenkeeper").setLevel(logging.ERROR)  # outages are intended
    if name == "fleet_simulation":
        return importlib.import_module(name).run(quick, costs)
    return importlib.import_module(f"bench_{name}").run(quick)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, shorter waits")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="also write the tables to FILE"
    )
    parser.add_argument(
        "--fleet", action="store_true", help="measure stores, and simulate a fleet that uses them"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"unknown benchmark: {', '.join(sorted(unknown))}")

    if arguments.fleet and arguments.names:
        parser.error("--fleet takes no names")
    names = list(FLEET) if arguments.fleet else arguments.names

    sections, costs = [], None
    # A fresh process for each, so that threads, heap and imports don't affect the next one.
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh, max_tasks_per_child=1) as pool:
        for name in names or NAMES:
            began = time.perf_counter()
            section = pool.submit(run_one, name, arguments.quick, costs).result()
            costs = getattr(section, "costs", costs)
            sections.append(section)
            say(section.as_text())
            say(f"({time.perf_counter() - began:.1f} s)\n")

    if arguments.markdown:
        charts = draw_charts(sections, arguments.markdown)
        if names:
            page = arguments.markdown.read_text(encoding="utf-8")
            for section in sections:
                page = with_section(page, section.as_markdown(charts))
            if arguments.fleet:
                page = with_section(page, measured_on(arguments.quick))
        else:
            page = as_markdown(sections, arguments.quick, charts)
        arguments.markdown.write_text(page, encoding="utf-8")
    broken = [claim for section in sections for claim in section.broken]
    say("broken: " + "; ".join(broken) if broken else "no hard claim is broken")
    return 1 if broken else 0


def draw_charts(sections, markdown):
    from chart import draw

    bars = [panel for section in sections for panel in section.bars]
    return draw(bars, markdown.parent, markdown.stem)


def as_markdown(sections, quick, charts):
    from machine import description

    command = "python tests/benchmarks/run.py --markdown docs/benchmarks.md"
    head = HEAD.format(
        command=command + (" --quick" if quick else ""),
        machine="\n".join(f"- {line}" for line in description()),
    )
    return "\n".join([head, how_called(), *(section.as_markdown(charts) for section in sections)])


def measured_on(quick):
    """Return the section of the page on sizing that says where it was measured."""
    from machine import description

    command = f"python tests/benchmarks/run.py --fleet{' --quick' if quick else ''}"
    lines = [f"By `{command} --markdown docs/explanation/sizing.md`:", ""]
    return "\n".join(
        [
            "## How it was measured",
            "",
            *lines,
            *(f"- {x}" for x in description() if not x.startswith("peers:")),
        ]
    )


def with_section(page, section):
    """Return *page* with *section* in place of the one that has the same title."""
    title = section.partition("\n")[0]
    pattern = re.compile(rf"^{re.escape(title)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    page, count = pattern.subn(lambda _: section.rstrip("\n") + "\n\n", page)
    assert count == 1, title
    return page.rstrip("\n") + "\n"


def how_called():
    from peers import BLOCKING, IN_BACKGROUND, INLINE

    lines = ["## How the peers were called", ""]
    lines += [
        "Each is used as its documentation recommends for a service, with one shared object.",
        "",
    ]
    lines += [
        f"- {peer.name} {peer.version or '(absent)'}: {peer.called}"
        for peer in (*BLOCKING, *IN_BACKGROUND, INLINE)
    ]
    return "\n".join(lines) + "\n"


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
