"""Forks in C, which run none of Python's fork hooks, or only half of them, as with uWSGI."""

import ctypes
import os
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")

HEAD = """
import asyncio, ctypes, os, signal, sys, threading, time
from datetime import UTC, datetime, timedelta
from tokenkeeper import BaseOAuth2Provider, OAuth2Token, OAuth2TokenManager, TokenKeeper
from tokenkeeper.clock import SYSTEM_CLOCK, SystemClock

C = ctypes.PyDLL(None)


class Ahead(SystemClock):
    seconds = 0.0

    def time(self):
        return SYSTEM_CLOCK.time() + self.seconds

    def monotonic(self):
        return SYSTEM_CLOCK.monotonic() + self.seconds


clock = Ahead()


class Source(BaseOAuth2Provider):
    requests = 0
    children = 0
    hold = False

    def after_fork_in_child(self):
        self.children += 1

    def acquire_token(self):
        self.requests += 1
        while self.hold:
            time.sleep(0.01)
        ends = datetime.fromtimestamp(clock.time(), UTC) + timedelta(hours=1)
        return OAuth2Token(f"{os.getpid()}-{self.requests}", "Bearer", ends)


class AsyncSource(Source):
    async def acquire_token(self):
        await asyncio.sleep(0)
        return super().acquire_token()


# The state of each other thread, and how often it gave up the processor.
def other_threads():
    seen = {}
    for thread in os.listdir("/proc/self/task"):
        if int(thread) != threading.get_native_id():
            with open(f"/proc/self/task/{thread}/status") as status:
                lines = dict(line.split(":", 1) for line in status)
            counts = lines["voluntary_ctxt_switches"], lines["nonvoluntary_ctxt_switches"]
            seen[thread] = lines["State"].split()[0], counts
    return seen


# Wait until no other thread wants to run: each sleeps, and has slept all the time.
def until_all_are_idle():
    if sys.platform != "linux":
        time.sleep(0.3)
        return
    while True:
        try:
            before = other_threads()
            time.sleep(0.05)
            after = other_threads()
        except FileNotFoundError:  # a thread ended meanwhile
            continue
        if after == before and {state for state, _ in after.values()} <= {"S"}:
            return


def in_child(job):
    # CPython does not replace its own locks before the child uses the library, and a fork in C
    # while another thread takes the interpreter's lock leaves it locked.
    until_all_are_idle()
    pid = FORK()
    if pid == 0:
        code = 70
        try:
            signal.alarm(20)  # kills a child that hangs
            job()
            code = 0
        except BaseException as error:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code == 0, f"the child ended with {code}"


def is_mine(token):
    assert token.startswith(f"{os.getpid()}-"), token
    return token


def renewed_in_background(name, token):
    ends = time.monotonic() + 15
    while keeper.get_token(name) == token:
        assert time.monotonic() < ends, "nobody renews"
        time.sleep(0.005)
    is_mine(keeper.get_token(name))


warm, own = Source("warm"), AsyncSource("own")
keeper = TokenKeeper(clock=clock)
keeper.add_provider(warm)
keeper.add_provider(own)
manager = OAuth2TokenManager(keeper)
warm_token, own_token = keeper.get_token("warm"), keeper.get_token("own")
"""

FORKS = {
    "in C": "FORK = C.fork",
    "the child's half of the hooks": """
def FORK():
    pid = C.fork()
    if pid == 0:
        C.PyOS_AfterFork_Child()
    return pid
""",
    "all hooks": """
def FORK():
    C.PyOS_BeforeFork()
    pid = C.fork()
    C.PyOS_AfterFork_Parent() if pid else C.PyOS_AfterFork_Child()
    return pid
""",
    "in Python": "FORK = os.fork",
}

JOBS = {
    "a fresh token": """
    assert keeper.get_token("warm") == warm_token
    assert asyncio.run(manager.get_token("own")) == own_token
""",
    "a token inside its buffer": """
    clock.seconds = 3400
    assert keeper.get_token("warm") == warm_token
    renewed_in_background("warm", warm_token)
    renewed_in_background("own", own_token)
""",
    "an expired token": """
    clock.seconds = 4000
    is_mine(keeper.get_token("warm", timeout=15))
    is_mine(keeper.get_token("own", timeout=15))
    assert warm.children >= 1 and own.children >= 1
""",
    "tasks": """
    clock.seconds = 4000
    is_mine(asyncio.run(manager.get_token("own", timeout=15)))
    is_mine(asyncio.run(manager.get_token("warm", timeout=15)))
""",
    "a refused token": """
    is_mine(keeper.renew_refused("warm", warm_token, timeout=15))
""",
    "everything else": """
    assert keeper.get_cached_token_info("warm")["state"] == "fresh"
    assert keeper.health()["status"] == "ok"
    assert keeper.list_providers() == ["warm", "own"]
    keeper.clear_token("warm")
    is_mine(keeper.get_token("warm", timeout=15))
    assert keeper.refresh_all() == {"warm": True, "own": True}
    keeper.add_provider(Source("new"))
    is_mine(keeper.get_token("new"))
    keeper.remove_provider("new")
    keeper.close()
""",
    "crowds": """
    clock.seconds = 4000
    tokens = []
    threads = [
        threading.Thread(target=lambda: tokens.append(keeper.get_token("warm", timeout=15)))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(tokens) == 16 and len(set(tokens)) == 1, tokens
    is_mine(tokens[0])
""",
    "a child of a child": """
    clock.seconds = 3400
    renewed_in_background("warm", warm_token)
    renewed_in_background("own", own_token)  # or a fork would find its request under way

    def live():  # the token expires only here, or the child would renew it too
        clock.seconds = 7400
        is_mine(keeper.get_token("warm", timeout=15))

    in_child(live)
    clock.seconds = 7400
    is_mine(keeper.get_token("warm", timeout=15))
""",
}

TAIL = """
in_child(job)
clock.seconds = 8000
is_mine(keeper.get_token("warm", timeout=15))
is_mine(keeper.get_token("own", timeout=15))
assert warm.children == own.children == 0
keeper.close()
print("worked")
"""

NO_WARNING = ("-W", "ignore::DeprecationWarning")


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("how", FORKS)
def test_a_child(make_script, how, job):
    """However a child was forked, it keeps its tokens, renews them itself, and doesn't hang."""
    if how.startswith("the child's half") and sys.version_info >= (3, 13):
        pytest.skip("Python 3.13 ends a program that runs only half of its hooks")
    text = HEAD + FORKS[how] + f"\ndef job():{JOBS[job]}" + TAIL
    code, output, errors = make_script(text, *NO_WARNING).result()
    assert (code, output, errors) == (0, "worked\n", "")


LOCKED = """
def hold(lock, taken):
    with lock:
        taken.set()
        time.sleep(60)

for lock in internals.locks(keeper).values():
    taken = threading.Event()
    threading.Thread(target=hold, args=(lock, taken), daemon=True).start()
    assert taken.wait(10)

def job():
    clock.seconds = 3400
    renewed_in_background("warm", warm_token)
    renewed_in_background("own", own_token)  # or the clock would jump during its request
    clock.seconds = 8000
    is_mine(keeper.get_token("own", timeout=15))
    tokenkeeper.get_default_keeper().close()
    tokenkeeper._runtime.fork.late_import("json.tool")

in_child(job)
print("worked", flush=True)
os._exit(0)  # the locks are held here
"""


def test_locks_of_the_parent(make_script):
    """A lock that a thread of the parent held at a fork in C blocks no caller in the child."""
    text = (
        HEAD
        + "import tokenkeeper._runtime.fork\nfrom kit import internals\n"
        + FORKS["in C"]
        + LOCKED
    )
    assert make_script(text, *NO_WARNING).result() == (0, "worked\n", "")


def test_there_is_a_fork_in_c():
    """The C library of this process has a fork() to call."""
    assert ctypes.PyDLL(None).fork
