"""Greenlets that call an API, in a process that eventlet patched early, late, or not at all."""

import sys
import warnings

warnings.simplefilter("ignore")  # eventlet discourages its own use

import eventlet

HOW = sys.argv[1]
if HOW == "early":
    eventlet.monkey_patch()

# ruff: noqa: E402 - eventlet must patch before anything else is imported
import json
import os
import time

from tokenkeeper import InvalidConfigurationError, TokenKeeper


def report(**what):
    """Report to the test, and exit."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()
    os._exit(0)


try:
    import worker

    if HOW == "late, at a keeper's work":
        worker.keeper.get_token("api")
    if HOW.startswith("late"):
        eventlet.monkey_patch()
    if HOW == "late, after the import":
        TokenKeeper()
    worker.keeper.get_token("api", force_refresh=True)
except InvalidConfigurationError as refused:
    report(refused=str(refused))

naps = []


def nap():
    """Record for how long the hub was blocked each time."""
    while True:
        began = time.monotonic()
        eventlet.sleep(0.01)
        naps.append(time.monotonic() - began)


eventlet.spawn(nap)
worker.keeper.clear_token("api")
greenlets = [eventlet.spawn(worker.keeper.get_token, "api", timeout=20) for _ in range(100)]
cold = {greenlet.wait() for greenlet in greenlets}
calls = []
ends = time.monotonic() + 30
while len({token for _, token, _ in calls}) < 4 and time.monotonic() < ends:
    calls.append(worker.call())
    eventlet.sleep(0.02)
report(
    cold=len(cold),
    statuses=sorted({status for *_, status in calls}),
    tokens=len({token for _, token, _ in calls}),
    long_naps=sum(seconds >= 0.4 for seconds in naps),  # a request takes 0.5 s
)
