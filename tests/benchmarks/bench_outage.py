"""What callers notice of an outage, and what the token endpoint notices of a wrong secret."""

import threading
import time

from bench_short_tokens import read_for
from played import PlayedServer
from report import Section, Table, short

from tokenkeeper import TokenAcquisitionError, TokenKeeper
from tokenkeeper.schedule import deadlines

LIFETIME = 6.0
DOWN_FOR = 1.6
CALLS = 2_000


def run(quick):
    section = Section(
        "An outage, and a wrong secret",
        f"Tokens expire after {LIFETIME:g} s, and the endpoint answers 503 for {DOWN_FOR:g} s from "
        "the moment when a renewal is due. Callers keep getting the current token. With the wrong "
        f"secret the endpoint answers 401, and callers ask {CALLS:,} times. The first refusal is "
        "remembered, so that a hot loop neither floods the endpoint nor locks an account.",
        [],
    )
    _outage(section)
    _wrong_secret(section)
    return section


def _outage(section):
    provider = PlayedServer(lifetime=LIFETIME, takes=0.02)
    due = deadlines(0.0, LIFETIME, provider.buffer_seconds, jitter=1.0).renew_at
    tries = 0

    def play():
        nonlocal tries
        time.sleep(due - 0.1)
        before = len(provider.requests)
        provider.error = TokenAcquisitionError("the endpoint is down", status_code=503)
        time.sleep(DOWN_FOR)
        provider.error = None
        tries = len(provider.requests) - before

    with TokenKeeper() as keeper:
        keeper.add_provider(provider)
        keeper.get_token("api")
        script = threading.Thread(target=play)
        script.start()
        blocking, waiting = read_for(keeper, LIFETIME + 0.5, threads=8, tasks=50)
        script.join()
        renewals = keeper.get_cached_token_info("api")["renewals"]
    readers = blocking + waiting
    errors = sum(len(reader.errors) for reader in readers)
    dead = sum(reader.dead for reader in readers)
    table = Table(
        ("outage", "reads", "errors", "expired tokens", "longest wait", "failed attempts")
    )
    table.add(
        f"{DOWN_FOR:g} s, shorter than the rest of the lifetime",
        f"{sum(reader.reads for reader in readers):,}",
        errors,
        dead,
        short(max(reader.longest for reader in readers)),
        tries,
    )
    section.tables.append(table)
    section.claim(errors == 0, f"{errors} reads failed in an outage")
    section.claim(dead == 0, f"{dead} expired tokens were handed out in an outage")
    section.claim(tries > 0, "the outage met no renewal")
    section.claim(renewals > 0, "nothing was renewed after the outage")


def _wrong_secret(section):
    table = Table(("wrong secret", "calls", "token requests", "a call"))
    for threads in (1, 20):
        provider = PlayedServer()
        provider.error = TokenAcquisitionError(
            "the secret is wrong", status_code=401, error="invalid_client"
        )
        refused = []
        with TokenKeeper() as keeper:
            keeper.add_provider(provider)

            crowd = [
                threading.Thread(target=_insist, args=(keeper, refused, CALLS // threads))
                for _ in range(threads)
            ]
            began = time.perf_counter()
            for thread in crowd:
                thread.start()
            for thread in crowd:
                thread.join()
            took = time.perf_counter() - began
        requests = len(provider.requests)
        who = "one loop" if threads == 1 else f"{threads} threads"
        table.add(who, f"{CALLS:,}", requests, short(took / CALLS))
        section.claim(requests <= 3, f"{requests} requests with a wrong secret")
        section.claim(len(refused) == CALLS, "a call with a wrong secret got no error")
    section.tables.append(table)


def _insist(keeper, refused, times):
    for _ in range(times):
        try:
            keeper.get_token("api")
        except TokenAcquisitionError as error:
            refused.append(error)
