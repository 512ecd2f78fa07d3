"""Ctrl-C at the moment when a main thread begins to wait for a token ends the wait soon."""

import os
import signal

import pytest

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "pthread_kill"), reason="this platform sends no signal to a thread"
)

TIMES = int(os.environ.get("TOKENKEEPER_INTERRUPTS", "300"))
"""How often each wait is interrupted. Set the variable to 2000 for a thorough run."""

HEAD = """
import asyncio, gc, os, random, signal, sys, threading, time
from datetime import UTC, datetime, timedelta
from kit import internals
from kit.awake import awake_seconds
from tokenkeeper import BaseOAuth2Provider, OAuth2Token, RetryPolicy, TokenKeeper
from tokenkeeper._runtime import provider_loop

MAIN = threading.get_ident()
go_on = threading.Event()


class Source(BaseOAuth2Provider):
    def acquire_token(self):
        go_on.wait()
        return OAuth2Token("a token", "Bearer", datetime.now(UTC) + timedelta(hours=1))


class AsyncSource(BaseOAuth2Provider):
    async def acquire_token(self):
        await asyncio.sleep(30)


class Failing(BaseOAuth2Provider):
    def acquire_token(self):
        raise ConnectionError("down")


def in_background():
    return TokenKeeper(), Source("api")


def inline_beside_another_thread():
    keeper, source = TokenKeeper(background=False), Source("api")
    keeper.add_provider(source)
    threading.Thread(target=keeper.get_token, args=("api",), daemon=True).start()
    while not internals.flights(keeper):
        time.sleep(0.001)
    return keeper, None


def async_inline():
    provider_loop.call(asyncio.sleep, 0)  # import everything before the first interruption
    return TokenKeeper(background=False), AsyncSource("api")


def before_a_retry():
    slow = RetryPolicy(attempts=2, initial_wait_seconds=50, max_wait_seconds=50)
    random.seed(1)
    return TokenKeeper(background=False, retry=slow), Failing("api")
"""

BODY = """
keeper, provider = CASE()
if provider is not None:
    keeper.add_provider(provider)
timed = [None, None if CASE is before_a_retry else 5.0]  # a timeout makes it another wait
begin, struck = threading.Semaphore(0), 0.0
delays = random.Random(7)


def send():
    global struck
    for _ in range(TIMES):
        begin.acquire()
        ends = time.perf_counter() + delays.random() * 0.0004
        while time.perf_counter() < ends:
            pass
        struck = awake()
        signal.pthread_kill(MAIN, signal.SIGINT)


# CPython swallows an exception in the callback of a weak reference, and reports it.
def strike_again(swallowed):
    again = threading.Timer(0.01, signal.pthread_kill, (MAIN, signal.SIGINT))
    again.daemon = True
    again.start()


sys.unraisablehook = strike_again
# With short turns the signal arrives more often between the last check and the wait.
sys.setswitchinterval(1e-5)
sender = threading.Thread(target=send, daemon=True)
stopwatch = awake_seconds()
awake = stopwatch.__enter__()
sender.start()
late = []
for number in range(TIMES):
    if number % 50 == 0:
        signal.alarm(60)  # kills the process if it hangs
    try:
        begin.release()
        while True:
            keeper.get_token("api", timeout=timed[number % 2])
    except KeyboardInterrupt:
        took = awake() - struck
        if took > 1.0:  # half a second, and some for a busy machine
            late.append(round(took, 2))
print(len(late), "late", late[:5])
sys.stdout.flush()
os._exit(0)
"""

CASES = ["in_background", "inline_beside_another_thread", "async_inline", "before_a_retry"]


@pytest.mark.parametrize("case", CASES)
def test_a_blocked_get_token(make_script, case):
    """Whatever the moment, the exception is raised within half a second."""
    text = HEAD + BODY.replace("CASE", case).replace("TIMES", str(TIMES))
    code, output, errors = make_script(text).result()
    assert (code, output) == (0, "0 late []\n"), errors
