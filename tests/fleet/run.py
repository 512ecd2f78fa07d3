"""Run the long forms: ``python tests/fleet/run.py [--only NAME ...] [--markdown FILE]``.

Prints each figure as it is measured, and writes the page. Fails if a claim is broken. It takes
about half an hour on a quiet machine.
"""

import argparse
import json
import sys
import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
FIGURES = HERE / "figures.json"
ENGINES = ("sqlite", "valkey", "redis", "postgresql")


def scenarios():
    """Return the long forms by name: each is called with nothing and returns figures."""
    from kit.fleets.engines import running_engine

    from fleet import clocks, kills, outages, rotation, scenarios

    found = {}

    def add(name, scenario, engine, **sizes):
        found[f"{name} {engine}"] = partial(_on, engine, partial(scenario, **sizes))

    for engine in ("none", "file lock", *ENGINES):
        add("one-token", scenarios.one_token, engine, seconds=60.0)
    add("one-token-64", scenarios.one_token, "sqlite", processes=64, seconds=60.0)
    for engine in ENGINES:
        add("cold", scenarios.cold, engine)
        add("woken", scenarios.woken, engine)
        add("rejected", scenarios.rejected, engine)
    for engine in ("none", "sqlite", "valkey", "postgresql"):
        most = 12 if engine != "none" else 10_000
        add("server-down", scenarios.server_down, engine, most=most)
    for engine in ("sqlite", "valkey", "postgresql"):
        add("killed-holders", outages.killed_holders, engine, kills=20, slack=1.0)
    add("locked", partial(outages.outage, how=outages.Locked), "sqlite", seconds=8.0)
    for engine in ("valkey", "postgresql"):
        add("hung", partial(outages.outage, how=outages.Hung), engine, seconds=8.0)
        add("killed", partial(outages.outage, how=outages.Killed), engine, seconds=10.0)
        sizes = {"hang_seconds": 14.0, "processes": 16, "most_ms": 100.0}
        add("hanging", outages.hanging_store, engine, **sizes)
    found["key-rotation valkey"] = partial(
        scenarios.key_rotation, "valkey", running_engine, seconds=40.0
    )
    found["store-steps valkey"] = partial(_in_a_folder, clocks.store_that_steps, pause=8.0)
    found["hosts-apart valkey"] = partial(
        _on,
        "valkey",
        lambda engine: _in_a_folder(partial(clocks.hosts_apart, engine), seconds=40.0),
    )
    for engine in ("sqlite", "valkey", "postgresql"):
        found[f"rotating {engine}"] = partial(
            rotation.rotating, engine, seconds=60.0, hang_seconds=8.0
        )
        found[f"paused-holder {engine}"] = partial(rotation.paused_holder, engine)
    found["detached-kills"] = kills.detached
    found["mid-write-kills"] = kills.in_mid_write
    return found


def _on(name, scenario):
    from kit.fleets.engines import running_engine

    with running_engine(name) as engine:
        return scenario(engine)


def _in_a_folder(scenario, **sizes):
    with _folder() as folder:
        return scenario(folder, **sizes)


@contextmanager
def _folder():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def main():
    sys.path[0] = str(HERE.parent)
    from fleet.page import as_markdown

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="scenarios that begin so")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the page to FILE")
    arguments = parser.parse_args()

    broken = []
    for name, run in scenarios().items():
        if arguments.only and not name.startswith(tuple(arguments.only)):
            continue
        figures = run()
        broken += figures.broken
        say(f"{name}: {figures.values} {'BROKEN' if figures.broken else ''}")
        keep(name, figures)
    if arguments.markdown:
        arguments.markdown.write_text(as_markdown(known_figures()), encoding="utf-8")
    say("\n".join(broken) or "no claim is broken")
    return 1 if broken else 0


def known_figures():
    """Return the figures of all scenarios so far, in their order."""
    known = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    return {name: known[name] for name in scenarios() if name in known}


def keep(name, figures):
    """Replace the figures of one scenario, and leave the others."""
    entry = {
        "scenario": figures.scenario,
        "engine": figures.engine,
        "values": figures.values,
        "broken": figures.broken,
    }
    FIGURES.write_text(json.dumps({**known_figures(), name: entry}, indent=1) + "\n")


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
