"""``async def`` providers on hosts that can't start threads, or can't any more."""

import asyncio
import os
import sys
import threading

import anyio
import pytest
from kit import internals

from tokenkeeper import OAuth2TokenManager, TokenAcquisitionError

REFUSALS = [
    "can't start new thread",
    "can't create new thread at interpreter shutdown",
    "thread is not supported for isolated subinterpreters",
    "daemon threads are disabled in this (sub)interpreter",
]


@pytest.fixture
def no_threads(monkeypatch):
    """Forbid threads, and replace the library's loop by one that is not started."""

    def refuse(self):
        raise RuntimeError(REFUSALS[0])

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with internals.fresh_provider_loop():
        yield


class Places:
    """A mixin that records where requests are made."""

    def note(self):
        self.loops = {*getattr(self, "loops", ()), asyncio.get_running_loop()}
        self.threads = {*getattr(self, "threads", ()), threading.get_ident()}


def make_async(kit):
    class Source(Places, kit.Source):
        async def acquire_token(self):
            await asyncio.sleep(0)
            await anyio.sleep(0)
            self.note()
            return super().acquire_token()

    return Source()


@pytest.mark.usefixtures("no_threads")
def test_blocking_callers(kit, make_keeper):
    """Coroutines run on the caller's thread, always on the same loop."""
    source = make_async(kit)
    keeper = make_keeper(source)
    tokens = {keeper.get_token("api", force_refresh=True) for _ in range(3)}
    assert tokens == set(source.granted)
    assert len(tokens) == 3
    assert source.threads == {threading.get_ident()}
    assert len(source.loops) == 1


@pytest.mark.usefixtures("no_threads")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_tasks(kit, make_keeper, backend):
    """The coroutine runs on the library's loop, although the caller runs its own."""
    source = make_async(kit)
    manager = OAuth2TokenManager(make_keeper(source))

    async def main():
        tokens = {await manager.get_token("api", force_refresh=True) for _ in range(3)}
        await anyio.sleep(0)
        return tokens

    assert anyio.run(main, backend=backend) == set(source.granted)
    assert len(source.loops) == 1


@pytest.mark.usefixtures("no_threads")
def test_errors_and_closing(kit, make_keeper):
    """A coroutine's exception is raised, and an ``async def close`` is awaited."""
    closed = []

    class Source(kit.Source):
        async def acquire_token(self):
            raise TokenAcquisitionError("refused", transient=False)

        async def close(self):
            await asyncio.sleep(0)
            closed.append(True)

    keeper = make_keeper(Source())
    with pytest.raises(TokenAcquisitionError, match="refused"):
        keeper.get_token("api")
    keeper.close()
    assert closed == [True]


@pytest.mark.usefixtures("no_threads")
@pytest.mark.parametrize("kind", ["plain", "async"])
def test_a_provider_that_needs_a_thread(kit, make_keeper, kind):
    """If the provider itself starts a thread, the error blames the host, not the provider."""

    class Source(kit.Source):
        def acquire_token(self):
            threading.Thread(target=print).start()

    class AsyncSource(kit.Source):
        async def acquire_token(self):
            await asyncio.to_thread(print)

    keeper = make_keeper(Source() if kind == "plain" else AsyncSource())
    with pytest.raises(TokenAcquisitionError, match="this host starts none") as raised:
        keeper.get_token("api")
    assert raised.value.transient
    assert raised.value.provider_name == "api"


@pytest.mark.parametrize("refusal", REFUSALS)
def test_every_way_that_python_says_so(kit, make_keeper, refusal):
    """The host is blamed whatever Python's message for the missing thread is."""
    source = kit.Source()
    source.error = RuntimeError(refusal)
    with pytest.raises(TokenAcquisitionError, match="this host starts none"):
        make_keeper(source, background=False).get_token("api")


def test_other_errors_are_the_providers(kit, make_keeper):
    """Any other RuntimeError is the provider's own."""
    source = kit.Source()
    source.error = RuntimeError("broken")
    with pytest.raises(TokenAcquisitionError, match="raised RuntimeError"):
        make_keeper(source, background=False).get_token("api")


LIMITED = """
import asyncio, os, resource, sys, threading
# The other user may not be able to read these modules' files, so they are imported before.
import anyio._backends._asyncio, anyio.from_thread, anyio.to_thread, tokenkeeper.manager
from datetime import UTC, datetime, timedelta
from tokenkeeper import BaseOAuth2Provider, OAuth2Token, OAuth2TokenManager, TokenKeeper

HOUR = timedelta(hours=1)


class Source(BaseOAuth2Provider):
    requests = 0

    async def acquire_token(self):
        self.requests += 1
        await asyncio.sleep(0.01)
        return OAuth2Token(f"token {self.requests}", "Bearer", datetime.now(UTC) + HOUR)


os.setuid(UID)
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
try:
    threading.Thread(target=print).start()
except RuntimeError:
    pass
else:
    sys.exit("it starts threads")
keeper = TokenKeeper()
keeper.add_provider(Source("api"))
assert keeper.get_token("api") == "token 1"
assert asyncio.run(OAuth2TokenManager(keeper).get_token("api", force_refresh=True)) == "token 2"
print("worked")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count threads differently")
def test_a_limit_of_the_system(make_script):
    """A user without permission for more threads gets tokens of an async provider."""
    if os.geteuid() != 0:
        pytest.skip("only root can switch to a user without other processes")
    script = make_script(LIMITED.replace("UID", "54321"))
    code, output, errors = script.result()
    assert (code, output) == (0, "worked\n"), errors
    assert "Traceback" not in errors


ISOLATED = """
try:
    import _interpreters as interpreters
    make = lambda: interpreters.create("isolated")
except ImportError:
    import _xxsubinterpreters as interpreters
    make = lambda: interpreters.create(isolated=True)

PROGRAM = '''
import asyncio, sys
from datetime import datetime, timedelta, timezone
from tokenkeeper import BaseOAuth2Provider, OAuth2Token, TokenKeeper


class Source(BaseOAuth2Provider):
    async def acquire_token(self):
        await asyncio.sleep(0.01)
        ends = datetime.now(timezone.utc) + timedelta(hours=1)
        return OAuth2Token("a token", "Bearer", ends)


keeper = TokenKeeper()
keeper.add_provider(Source("api"))
assert keeper.get_token("api") == "a token"
assert keeper.get_token("api", force_refresh=True) == "a token"
keeper.close()
print("worked", flush=True)
'''
interpreter = make()
failed = interpreters.run_string(interpreter, PROGRAM)
if failed:
    print(failed)
interpreters.destroy(interpreter)
"""


def test_an_isolated_interpreter(make_script):
    """An isolated sub-interpreter refuses daemon threads, and its callers get tokens."""
    code, output, _ = make_script(ISOLATED, "-W", "ignore").result()
    assert (code, output) == (0, "worked\n")


ENDING = """
import asyncio, atexit

# The library registers its handler later, so it is called earlier.
atexit.register(lambda: print(keeper.get_token("api", force_refresh=True), flush=True))

from datetime import UTC, datetime, timedelta
from tokenkeeper import BaseOAuth2Provider, OAuth2Token, TokenKeeper

HOUR = timedelta(hours=1)


class Source(BaseOAuth2Provider):
    requests = 0

    async def acquire_token(self):
        self.requests += 1
        await asyncio.sleep(0.01)
        return OAuth2Token(f"token {self.requests}", "Bearer", datetime.now(UTC) + HOUR)


keeper = TokenKeeper()
keeper.add_provider(Source("api"))
if WARM:
    keeper.get_token("api")
"""


@pytest.mark.parametrize("warm", [True, False])
def test_an_interpreter_that_ends(make_script, warm):
    """A token that is requested during the interpreter's exit arrives as well."""
    script = make_script(ENDING.replace("WARM", str(warm)))
    assert script.result() == (0, f"token {1 + warm}\n", "")
