"""What fleets live through. Each scenario has a short form, for tests, and a long one.

A scenario runs real processes and returns :class:`~kit.fleets.claims.Figures`. Its claims hold on a
busy machine as well; the figures that need a quiet one are only noted.
"""

import signal

from kit.fleets.claims import Figures, needs
from kit.fleets.fleet import Fleet, median, nap
from kit.fleets.tokens import TokenServer, now
from kit.guards import until


def one_token(engine, *, processes=16, seconds=8.0, lifetime=3.0):
    """Processes that ask all the time make one request for each need."""
    figures = Figures("one token", engine.name)
    with TokenServer(lifetime) as server, Fleet(engine.store, server, seconds=seconds) as fleet:
        fleet.start(processes)
        fleet.go()
        fleet.wait(limit=seconds + 60)
        delays = fleet.adoption_seconds()
        figures.note(
            processes=processes,
            requests=len(server.requests),
            tokens=last_generation(fleet),
            adoption_p50_ms=round(1000 * median(delays), 1),
            adoption_max_ms=round(1000 * max(delays, default=0.0), 1),
        )
        figures.claim_service(fleet)
        if engine.store is None:
            figures.claim(len(server.requests) >= 10 * seconds, "too few requests without a store")
            return figures
        if engine.name == "file lock":
            return figures
        figures.claim(
            len(server.requests) <= last_generation(fleet) + 1, "more requests than tokens and one"
        )
        whole = seconds + 2.0  # the processes begin and end over some time
        figures.claim(len(server.requests) <= needs(whole, lifetime), "more requests than needs")
    return figures


def last_generation(fleet):
    """Return the number of the last token in the store."""
    return max(
        (each["generation"] or 0 for each in fleet.all_events("TokenRenewed")),
        default=len(fleet.all_events("TokenAcquired")),
    )


def cold(engine, *, processes=48):
    """Processes that start together, without a token, make one request."""
    figures = Figures("cold at once", engine.name)
    with TokenServer(60.0) as server, Fleet(engine.store, server, seconds=3.0) as fleet:
        fleet.start(processes)
        fleet.go()
        fleet.wait()
        figures.note(processes=processes, requests=len(server.requests))
        figures.claim_service(fleet)
        figures.claim(len(server.requests) == 1, "more than one request")
    return figures


def woken(engine, *, processes=16, lifetime=3.0):
    """Processes that were stopped until their token had expired make one request when they wake."""
    figures = Figures("woken together", engine.name)
    with TokenServer(lifetime) as server, Fleet(engine.store, server, seconds=30.0) as fleet:
        fleet.start(processes)
        fleet.go()
        until(lambda: len(server.granted) >= 2, "two tokens")
        fleet.signal(signal.SIGSTOP)
        nap(lifetime + 1.0)
        before, server.lifetime = len(server.requests), 600.0  # no second need afterwards
        woken_at = now()
        fleet.signal(signal.SIGCONT)
        until(
            lambda: len(_served_since(fleet, woken_at)) == processes,
            "a token for each",
            pause=0.05,
        )
        fleet.flag("stop")
        fleet.wait()
        asked = len(server.requests) - before
        figures.note(processes=processes, requests=asked)
        figures.claim_service(fleet)
        figures.claim(asked == 1, "not one request")
    return figures


def _served_since(fleet, moment):
    """Return the processes that were served a token granted after *moment*."""
    return {
        pid
        for pid in fleet.pids
        for each in fleet.events(pid)
        if each["event"] == "token" and each["granted_at"] >= moment
    }


def rejected(engine, *, processes=16):
    """Processes whose token an API rejects at once make one request."""
    figures = Figures("a 401 for all", engine.name)
    with TokenServer(60.0) as server, Fleet(engine.store, server, seconds=30.0) as fleet:
        fleet.start(processes)
        fleet.go()
        until(lambda: len(fleet.all_events("token")) >= processes, "a token for each", pause=0.05)
        fleet.flag("reject")
        until(lambda: len(fleet.all_events("token")) >= 2 * processes, "another one", pause=0.05)
        fleet.flag("stop")
        fleet.wait()
        figures.note(processes=processes, requests=len(server.requests) - 1)
        figures.claim_service(fleet)
        figures.claim(len(server.requests) == 2, "more than one request for the rejected token")
    return figures


def server_down(engine, *, processes=16, down_seconds=10.0, most=12):
    """While the server is down, the fleet asks it rarely; afterwards it recovers."""
    figures = Figures("server down", engine.name)
    with TokenServer(3.0) as server, Fleet(engine.store, server, seconds=60.0) as fleet:
        fleet.start(processes)
        fleet.go()
        until(lambda: len(server.granted) >= 2, "two tokens")
        server.is_down, before, fell_at = True, len(server.requests), now()
        nap(down_seconds)
        asked = len([each for each in server.requests[before:] if each < fell_at + down_seconds])
        granted, server.is_down, back_at = len(server.granted), False, now()
        until(lambda: len(server.granted) > granted, "a token after the outage")
        recovery = now() - back_at
        until(lambda: len(server.granted) > granted + 1, "another one")
        fleet.flag("stop")
        fleet.wait()
        figures.note(processes=processes, requests=asked, recovery_s=round(recovery, 1))
        figures.claim_service(fleet)
        figures.claim(asked <= most, f"more than {most} requests during the outage")
    return figures


def key_rotation(engine_name, running_engine, *, processes=8, seconds=12.0):
    """Keys are rotated in the right order while the fleet runs, without one more request."""
    from pathlib import Path

    from tokenkeeper.stores.key_rotation import rotate_key_file

    figures = Figures("key rotation", engine_name)
    with (
        running_engine(engine_name) as engine,
        TokenServer(3.0) as server,
        Fleet(engine.store, server, seconds=seconds) as fleet,
    ):
        fleet.start(processes)
        fleet.go()
        path = Path(engine.store["key_file"])
        for _ in range(3):
            nap(seconds / 4)
            rotate_key_file(path)
        fleet.wait(limit=seconds + 60)
        replaced = len(fleet.all_events("RecordReplaced"))
        figures.note(requests=len(server.requests), tokens=last_generation(fleet))
        figures.claim_service(fleet)
        figures.claim(replaced == 0, "a record was replaced")
        figures.claim(len(server.requests) <= needs(seconds, 3.0), "more requests than needs")
    return figures
