"""What a store costs: each operation, a renewal's CPU, and how soon others have a new token."""

import contextlib
import secrets
import statistics
import time

import pytest
from kit.fleets.engines import running_engine
from kit.fleets.fleet import Fleet, median, nap
from kit.fleets.tokens import TokenServer
from played import PlayedServer
from report import Section, Table, short

from tokenkeeper import TokenKeeper
from tokenkeeper.stores.settings import opened

ENGINES = ("sqlite", "redis", "valkey", "postgresql")
NAMES = {"sqlite": "SQLite", "redis": "Redis", "valkey": "Valkey", "postgresql": "PostgreSQL"}
SEALED = b"x" * 1500
"""About as long as a sealed JWT."""

AIM_CPU, AIM_ADOPTION = 1.5e-3, 0.1
LIFETIME = 3.0


def run(quick):
    """Return the section, with the costs of the operations as ``costs``."""
    operations = Table(("engine", "read", "claim", "publish", "bytes for a record"))
    renewals = Table(
        ("engine", "CPU of a renewal more than without", "adopted after publish, p50", "slowest")
    )
    section = Section("What a store costs", "", [operations, renewals])
    costs, missing = {}, []
    for engine in ENGINES:
        try:
            with running_engine(engine) as running:
                name = NAMES[engine]
                took = _operations(running.store, 40 if quick else 1000)
                costs[name] = {kind: seconds * 1e6 for kind, seconds in took.items()}
                operations.add(name, *map(short, took.values()), f"{len(SEALED):,} and keys")
                cpu = _cpu_of_renewal(running.store, rounds=3 if quick else 15)
                delays, requests, tokens = _adoptions(running.store, quick)
                slowest = short(max(delays)) if delays else "none"
                renewals.add(name, short(cpu), short(median(delays)), slowest)
                section.claim(
                    requests <= tokens + 2, f"{engine}: {requests} requests for {tokens} tokens"
                )
        except pytest.skip.Exception:
            missing.append(NAMES[engine])
    processes = 4 if quick else 16
    section.says = (
        "On loopback, one after the other; the median of an operation on a connection that is "
        "open, where the engine keeps one. The CPU is that of this process, for a renewal by "
        f"`force_refresh` with a store minus one without; the aim is {short(AIM_CPU)}. Adoption is "
        f"of {processes} processes with tokens of {LIFETIME:g} s; the aim is {short(AIM_ADOPTION)}."
        + (f" Not installed here: {', '.join(missing)}." if missing else "")
    )
    section.costs = costs
    return section


def _operations(given, number):
    """Return the seconds of each operation."""
    store = opened(given).store
    key, owner = f"bench-{secrets.token_hex(8)}", secrets.token_hex(16)
    took = {"read": [], "claim": [], "publish": []}
    clock = time.perf_counter
    token = {"sealed": SEALED, "lifetime_seconds": 3600.0, "age_seconds": 0.0, "keep": False}
    store.read(key)
    for generation in range(number):
        began = clock()
        store.read(key)
        read = clock()
        claim = store.claim(
            key, owner=owner, generation=generation, older_than_seconds=35.0, intent="to measure"
        )
        claimed = clock()
        published = store.publish(
            key, owner=owner, replaces=generation, generation=generation + 1, **token
        )
        ended = clock()
        assert claim.granted
        assert published
        for kind, seconds in zip(
            took, (read - began, claimed - read, ended - claimed), strict=True
        ):
            took[kind].append(seconds)
    store.forget(key, entirely=True)
    store.close()
    return {kind: statistics.median(each) for kind, each in took.items()}


def _cpu_of_renewal(given, rounds, number=20):
    """Return the CPU seconds of a renewal with the store, minus those of one without."""
    more = []
    with contextlib.ExitStack() as stack:
        keepers = []
        for store in (None, given):
            keeper = stack.enter_context(TokenKeeper(store=store))
            keeper.add_provider(PlayedServer())
            keeper.get_token("api")
            keepers.append(keeper)
        for _ in range(rounds):
            spent = []
            for keeper in keepers:
                began = time.process_time()
                for _ in range(number):
                    keeper.get_token("api", force_refresh=True)
                spent.append((time.process_time() - began) / number)
            more.append(spent[1] - spent[0])
    return max(0.0, statistics.median(more))


def _adoptions(given, quick):
    """Return how long processes took to adopt tokens, the token requests, and the tokens."""
    seconds, processes = (6.0, 4) if quick else (30.0, 16)
    with (
        TokenServer(lifetime=LIFETIME) as server,
        Fleet(given, server, seconds=seconds) as fleet,
    ):
        fleet.start(processes)
        fleet.go()
        nap(seconds)
        fleet.wait()
        return fleet.adoption_seconds(), len(server.requests), fleet.generations()
