"""Greenlets that call an API, in a process that gevent patched fully, partly, late, or not."""

import os
import sys

from gevent import monkey

HOW = sys.argv[1]
EARLY = {
    "whole": lambda: monkey.patch_all(),
    "neither threads nor queues": lambda: monkey.patch_all(thread=False, queue=False),
    "no threads": lambda: monkey.patch_all(thread=False),
    "no queues": lambda: monkey.patch_all(queue=False),
}
EARLY.get(HOW, lambda: None)()

# ruff: noqa: E402 - gevent must patch before anything else is imported
import asyncio
import json
import time
from datetime import UTC, datetime, timedelta

import gevent

from tokenkeeper import BaseOAuth2Provider, InvalidConfigurationError, OAuth2Token, TokenKeeper

GREENLETS = 100
GUARD_SECONDS = 30


class Own(BaseOAuth2Provider):
    """Grants slowly, in ``async def``."""

    async def acquire_token(self):
        await asyncio.sleep(0.3)
        return OAuth2Token("own", "Bearer", datetime.now(UTC) + timedelta(hours=1))


def report(**what):
    """Report to the test, and exit."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.exit()


try:
    import worker

    if HOW == "late, at a keeper's work":
        worker.keeper.get_token("api")
    if HOW.startswith("late"):
        monkey.patch_all(ssl=False)  # gevent has its own warnings about that one
    if HOW == "late, after the import":
        TokenKeeper()
    worker.keeper.add_provider(Own("own"))
    worker.keeper.get_token("own")
except InvalidConfigurationError as refused:
    report(refused=str(refused))

naps = []


def nap():
    """Record the longest time that the hub was blocked."""
    while True:
        began = time.monotonic()
        gevent.sleep(0.01)
        naps.append(time.monotonic() - began)


def all_at_once(job, count=GREENLETS):
    """Run *job* in *count* greenlets; return their results."""
    greenlets = [gevent.spawn(job) for _ in range(count)]
    gevent.joinall(greenlets, timeout=GUARD_SECONDS, raise_error=True)
    return [greenlet.value for greenlet in greenlets]


gevent.spawn(nap)
worker.keeper.clear_token("own")
cold = all_at_once(lambda: worker.keeper.get_token("api"))
own = all_at_once(lambda: worker.keeper.get_token("own"))
calls = []
while len({token for _, token, _ in calls}) < 4:  # three renewals in the background
    calls += all_at_once(worker.call, 10)
    gevent.sleep(0.01)
insisting = all_at_once(lambda: worker.keeper.get_token("api", force_refresh=True), 10)
child = os.fork()
if child == 0:
    good = worker.call()[2] == 200 and worker.keeper.get_token("api", force_refresh=True)
    os._exit(0 if good else 1)
forked = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
worker.keeper.close()
report(
    cold=len(set(cold)),
    own=len(set(own)),
    statuses=sorted({status for *_, status in calls}),
    insisting=len(set(insisting)),
    longest_nap=max(naps),
    forked=forked,
)
