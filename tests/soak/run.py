"""Run the soak: ``python tests/soak/run.py [--minutes N] [--seed N] [--markdown FILE]``.

Prints what happened. Fails if a hard claim is broken: an expired token, an error while a valid
token existed, a needless request, a failed child, growth. Timings never make it fail.
"""

import argparse
import dataclasses
import json
import logging
import sys
import warnings
from pathlib import Path


def main():
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from soak.pages import as_markdown, as_text
    from soak.play import Play, Sizes
    from soak.report import Report

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0, metavar="N")
    parser.add_argument("--short", action="store_true", help="the short form, which the tests run")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the page to FILE")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures to FILE")
    arguments = parser.parse_args()

    logging.getLogger("tokenkeeper").setLevel(logging.CRITICAL)  # outages are intended
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    sizes = Sizes.short(arguments.seed) if arguments.short else Sizes()
    if not arguments.short:
        moods = dataclasses.replace(sizes.moods, seed=arguments.seed)
        sizes = dataclasses.replace(sizes, seconds=60.0 * arguments.minutes, moods=moods)

    report = Report(Play(sizes, say).run())
    say(as_text(report))
    if arguments.json:
        arguments.json.write_text(json.dumps(report.as_dict(), indent=1), encoding="utf-8")
    if arguments.markdown:
        command = "python tests/soak/run.py --markdown docs/soak.md"
        if sizes.seconds != Sizes().seconds:
            command += f" --minutes {sizes.seconds / 60:g}"
        arguments.markdown.write_text(as_markdown(report, sizes, command), encoding="utf-8")
    say("broken" if report.broken else "no hard claim is broken")
    return 1 if report.broken else 0


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
