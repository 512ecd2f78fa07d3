"""Exceptions that a signal raises in the main thread affect no other caller."""

import signal

import pytest

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "pthread_kill"), reason="this platform sends no signal to a thread"
)

HEAD = """
import signal, sys, threading, time
from datetime import UTC, datetime, timedelta
from kit import internals
from tokenkeeper import BaseOAuth2Provider, OAuth2Token, TokenKeeper

main_thread = threading.main_thread().ident


class Source(BaseOAuth2Provider):
    requests = 0

    def __init__(self):
        super().__init__("api")
        self.gate = threading.Event()
        self.gate.set()

    def acquire_token(self):
        self.requests += 1
        assert self.gate.wait(20)
        ends = datetime.now(UTC) + timedelta(hours=1)
        return OAuth2Token(f"token {self.requests}", "Bearer", ends)


def start(target):
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


source = Source()
"""

INTERRUPTED_WAIT = """
keeper = TokenKeeper()
keeper.add_provider(source)
source.gate.clear()
tokens, interrupted = [], []

def interrupt(*_):
    if not interrupted:
        interrupted.append(True)
        raise KeyboardInterrupt

signal.signal(signal.SIGINT, interrupt)

def others():
    while internals.threads_waiting(keeper) < 1:
        time.sleep(0.001)
    threads = [start(lambda: tokens.append(keeper.get_token("api"))) for _ in range(4)]
    while internals.threads_waiting(keeper) < 5:
        time.sleep(0.001)
    # Repeatedly, because a signal just before the beginning of the wait does not end it.
    while not interrupted:
        signal.pthread_kill(main_thread, signal.SIGINT)
        time.sleep(0.01)
    for thread in threads:
        thread.join(20)

helper = start(others)
try:
    keeper.get_token("api")
except KeyboardInterrupt:
    print("interrupted")
while internals.threads_waiting(keeper) > 4:
    time.sleep(0.001)
source.gate.set()
helper.join(20)
assert tokens == ["token 1"] * 4, tokens
assert keeper.get_token("api") == "token 1"
"""

# A signal may interrupt any line of the library. Here it interrupts each of them once: the test
# goes on until a call is not interrupted.
INTERRUPTED_EVERYWHERE = """
import linecache, os, tokenkeeper
home = os.path.dirname(tokenkeeper.__file__)

def is_interrupted(call, which):
    line_number = 0

    def watch(frame, event, argument):
        if not frame.f_code.co_filename.startswith(home):
            return None
        entered = set()

        def trace(frame, event, argument):
            nonlocal line_number
            if event != "line":
                return trace
            line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
            # The tracer also reports the end of a with block as a line, but signals do not arrive
            # there: no bytecode between the block and the release of a lock checks for them.
            again = frame.f_lineno in entered
            entered.add(frame.f_lineno)
            if line.lstrip().startswith("with ") and again:
                return trace
            line_number += 1
            if line_number == which:
                raise KeyboardInterrupt
            return trace

        return trace

    sys.settrace(watch)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False

def cold():
    keeper.get_token("api")

def forced():
    keeper.get_token("api", force_refresh=True)

def refused():
    keeper.renew_refused("api", keeper.get_token("api"))

def cleared():
    keeper.clear_token()

kept = []  # keeps them from being collected during a caller's lines

for background in (True, False):
    for call in (cold, forced, refused, cleared):
        which, interrupted = 0, True
        while interrupted:
            which += 1
            keeper = TokenKeeper(background=background)
            kept.append(keeper)
            keeper.add_provider(source)
            if call is not cold:
                keeper.get_token("api")
            interrupted = is_interrupted(call, which)
            tokens = []
            for force in (False, True):
                other = start(lambda: tokens.append(keeper.get_token("api", force)))
                other.join(10)
                if other.is_alive():
                    sys.exit(f"{call.__name__}(), interrupted before line {which}: others hang")
            assert len(tokens) == 2
            keeper.close()
        assert which > 5, which
print("interrupted")
"""

INTERRUPTED_REPEATEDLY = """
import random
keeper = TokenKeeper()
keeper.add_provider(source)
done = threading.Event()
reads, strikes = [], 0
armed = False

class Struck(BaseException):
    pass

def interrupt(number, frame):
    global armed, strikes
    if armed:  # only while the caller is inside its try block
        armed = False
        strikes += 1
        raise Struck

def read():
    count = 0
    while not done.is_set():
        keeper.get_token("api")
        keeper.clear_token("api")
        count += 1
    reads.append(count)

def send():
    for _ in range(200):
        time.sleep(random.random() * 0.002)
        signal.pthread_kill(main_thread, signal.SIGINT)
    done.set()

signal.signal(signal.SIGINT, interrupt)
threads = [start(target) for target in (read, read, read, read, send)]
while not done.is_set():
    try:
        armed = True
        while not done.is_set():
            keeper.get_token("api", force_refresh=True)
        armed = False
    except Struck:
        pass
for thread in threads:
    thread.join(20)
    assert not thread.is_alive(), "somebody hangs"
assert len(reads) == 4
assert strikes > 0
print("interrupted")
"""


def test_an_interrupted_wait(make_script):
    """Ctrl-C in the caller that started a flight leaves the others their token."""
    assert make_script(HEAD + INTERRUPTED_WAIT).result() == (0, "interrupted\n", "")


def test_struck_before_every_line(make_script):
    """Whichever line of the library is interrupted, the other callers get their tokens."""
    assert make_script(HEAD + INTERRUPTED_EVERYWHERE).result() == (0, "interrupted\n", "")


def test_struck_at_any_moment(make_script):
    """Two hundred real signals at different moments stop no other caller."""
    assert make_script(HEAD + INTERRUPTED_REPEATEDLY).result() == (0, "interrupted\n", "")
