"""The first reads of children that are forked in the middle of a flight."""

import json
import os
import threading
import time

from kit import internals
from played import PlayedServer, is_dead
from report import Section, Table, short

from tokenkeeper import TokenKeeper
from tokenkeeper.clock import SYSTEM_CLOCK

CHILDREN = 8
LIFETIME = 3.0
TAKES = 0.3
GUARD_SECONDS = 20.0


def run(quick):
    held = PlayedServer("held", lifetime=LIFETIME)
    cold = PlayedServer("cold", takes=TAKES)
    with TokenKeeper() as keeper:
        keeper.add_provider(held)
        keeper.add_provider(cold)
        keeper.get_token("held")
        held.takes = TAKES
        asking = [
            threading.Thread(target=keeper.get_token, args=("held", True)),
            threading.Thread(target=keeper.get_token, args=("cold",)),
        ]
        for thread in asking:
            thread.start()
        while len(held.requests) < 2 or not cold.requests:
            time.sleep(0.001)  # until both requests are under way
        pipes = [_fork(keeper, held) for _ in range(CHILDREN)]
        in_flight = len(internals.flights(keeper)) == 2
        for thread in asking:
            thread.join()
        reports = [_result(pipe) for pipe in pipes]

    alive = [report for report in reports if report]
    table = Table(("in each of 8 children", "best", "worst"))
    for name, key in (
        ("first `get_token` of the inherited token", "first"),
        ("first `get_token` of the token that was being requested", "cold"),
        ("longest read until its own background had renewed", "longest"),
    ):
        figures = [report[key] for report in alive] or [float("nan")]
        table.add(name, short(min(figures)), short(max(figures)))
    says = (
        f"The parent forks while two token requests of {short(TAKES)} are in flight: the renewal "
        "of a token that it has, and the first request for another. A child has the inherited "
        "token immediately. It requests the other token itself, which takes as long as that "
        "request, and renews the inherited token on threads of its own before it expires: "
        f"{sum(report['renewed'] for report in alive)} of {CHILDREN} did."
    )
    section = Section("Forks in the middle of a flight", says, [table])
    section.claim(len(alive) == CHILDREN, f"{CHILDREN - len(alive)} children hung or crashed")
    section.claim(all(report["renewed"] for report in alive), "a child did not renew its token")
    section.claim(not any(report["dead"] for report in alive), "a child read an expired token")
    section.claim(in_flight or quick, "the fork came too late to be in the middle of a flight")
    return section


def _fork(keeper, held):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, json.dumps(_live(keeper, held)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    return child, reader


def _live(keeper, held):
    """Act as the child: read both tokens until the background has renewed the first."""
    first = _timed(keeper, "held")
    cold = _timed(keeper, "cold")
    longest = 0.0
    ends = time.perf_counter() + GUARD_SECONDS
    while not (renewals := _background_renewals(held)) and time.perf_counter() < ends:
        longest = max(longest, _timed(keeper, "held"))
        time.sleep(0.001)
    time.sleep(TAKES)
    longest = max(longest, _timed(keeper, "held"))
    return {
        "first": first,
        "cold": cold,
        "longest": longest,
        "renewed": bool(renewals),
        "dead": len(_dead),
    }


def _background_renewals(held):
    """Return the requests that this process made on other threads than the reading one."""
    me, reads_here = os.getpid(), threading.current_thread().name
    return [
        thread for process, thread, _ in held.requests if process == me and thread != reads_here
    ]


_dead = []  # tokens that a child got after their expiry


def _timed(keeper, name):
    began = time.perf_counter()
    token = keeper.get_token(name)
    took = time.perf_counter() - began
    if is_dead(token, SYSTEM_CLOCK.monotonic()):
        _dead.append(token)
    return took


def _result(pipe):
    child, reader = pipe
    with os.fdopen(reader, "rb") as stream:
        report = stream.read()
    os.waitpid(child, 0)
    return json.loads(report) if report else None
