"""What fleets live through while a holder is killed, or the store fails."""

import os
import random
import signal
import sqlite3
import threading
from contextlib import suppress

from kit.fleets.claims import Figures, needs
from kit.fleets.fleet import Fleet, nap
from kit.fleets.tokens import TokenServer, now
from kit.guards import PROGRAM_SECONDS, until

from tokenkeeper.schedule import deadlines

TAKEOVER_SECONDS = 5.0
"""After this time a claim is taken over by a caller without a valid token."""


class KillingServer(TokenServer):
    """Kills the process that sends a request, while it waits for the answer.

    :ivar kills: how many are still to be killed.
    """

    def __init__(self, lifetime, kills, seed=1):
        self.kills = kills
        self.killed = []
        self._random = random.Random(seed)
        super().__init__(lifetime, delay=0.1)

    def answer(self, request):
        pid = int(request.headers["x-process"])
        if self.kills > 0 and len(self.granted) % 2:
            self.kills -= 1
            threading.Timer(self._random.uniform(0.0, 0.1), self._kill, [pid]).start()
        return super().answer(request)

    def _kill(self, pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.killed.append(pid)


def killed_holders(engine, *, processes=8, kills=2, slack=6.0):
    """A holder that is killed costs one request more, and a wait of the takeover at most."""
    figures = Figures("killed holders", engine.name)
    with (
        KillingServer(3.0, kills) as server,
        Fleet(engine.store, server, seconds=600.0) as fleet,
    ):
        fleet.start(processes)
        fleet.go()
        for number in range(kills):
            _replace_killed(fleet, server, number)
        nap(1.0)
        fleet.flag("stop")
        fleet.wait()
        waits = [
            each["slowest"] for pid in fleet.pids for each in fleet.events(pid) if "slowest" in each
        ]
        figures.note(kills=kills, longest_wait_s=round(max(waits), 2))
        figures.note(requests=len(server.requests), tokens=len(server.granted))
        figures.claim_service(fleet)
        figures.claim(max(waits) <= TAKEOVER_SECONDS + slack, "a longer wait than for a takeover")
        lost = len(fleet.all_events("ClaimTakenOver"))
        figures.claim(lost <= kills, "more takeovers than kills")
    return figures


def _replace_killed(fleet, server, number):
    """Wait for the kill after *number* others, start another process, and wait for a token."""
    until(lambda: len(server.killed) > number, "a kill", pause=0.02)
    granted = len(server.granted)
    fleet.start(1)
    until(lambda: len(server.granted) > granted, "a token after a kill")


def hanging_store(engine, *, hang_seconds=5.0, processes=8, most_ms=1000.0):
    """A store that hangs while a token is due costs no request, and no caller waits.

    Tokens of 60 seconds outlast the hang, and the longest pause of the breaker after it.

    :param most_ms: by default, less than a caller would wait that waited for the store.
    """
    figures = Figures("hanging store", engine.name)
    lifetime = 60.0
    due = deadlines(0.0, lifetime, 300.0, 1.0)
    with (
        TokenServer(lifetime) as server,
        Fleet(engine.store, server, seconds=600.0) as fleet,
    ):
        fleet.start(processes)
        fleet.go()
        until(lambda: server.granted, "a token")
        nap(due.renew_at - 1.0)
        engine.hang()
        try:
            nap(hang_seconds)
            during = len(server.requests)
        finally:
            engine.go_on()
        until(
            lambda: len(fleet.all_events("token")) >= 2 * processes,
            "the next token for each",
            limit=PROGRAM_SECONDS,
            pause=0.1,
        )
        fleet.flag("stop")
        fleet.wait()
        figures.note(requests=len(server.requests), requests_during=during, hang_s=hang_seconds)
        figures.claim_service(fleet)
        figures.claim(during == 1, "a request while the store hung")
        figures.claim(len(server.requests) == 2, "not one request for each need")
        figures.claim(figures.values["slowest_ms"] <= most_ms, "a caller waited for the store")
    return figures


def outage(engine, how, *, processes=8, seconds=4.0):
    """Whatever the store does, no token expires in a caller's hands, and the fleet recovers.

    :param how: a context manager in whose block the store is gone.
    """
    figures = Figures(f"store {how.__name__.lower()}", engine.name)
    with TokenServer(3.0) as server, Fleet(engine.store, server, seconds=120.0) as fleet:
        fleet.start(processes)
        fleet.go()
        until(lambda: len(server.granted) >= 2, "two tokens")
        before = len(server.requests)
        with how(engine):
            nap(seconds)
        during, back_at = len(server.requests) - before, now()
        nap(6.0)  # the longest pause of the breaker, and some
        settled = [each for each in server.requests if each >= back_at + 6.0]
        nap(4.0)
        settled = len([each for each in server.requests if each >= back_at + 6.0])
        fleet.flag("stop")
        fleet.wait()
        figures.note(requests_during=during, requests_in_4s_after=settled)
        met = figures.claim_service(fleet)
        figures.claim(met["errors"] == 0, "an error, though tokens can be requested alone")
        figures.claim(settled <= needs(4.0, 3.0) + 1, "the fleet did not agree again")
    return figures


class Locked:
    """Holds SQLite's lock."""

    def __init__(self, engine):
        self.path = engine.store.removeprefix("sqlite:///")

    def __enter__(self):
        self.connection = sqlite3.connect(self.path, isolation_level=None)
        self.connection.execute("BEGIN EXCLUSIVE")

    def __exit__(self, *exc_info):
        self.connection.execute("ROLLBACK")
        self.connection.close()


class Hung:
    """Stops the engine's processes."""

    def __init__(self, engine):
        self.engine = engine

    def __enter__(self):
        self.engine.hang()

    def __exit__(self, *exc_info):
        self.engine.go_on()


class Killed:
    """Kills the engine, and starts an empty one in the same place."""

    def __init__(self, engine):
        self.engine = engine

    def __enter__(self):
        self.engine.kill()

    def __exit__(self, *exc_info):
        self.engine.restart()
