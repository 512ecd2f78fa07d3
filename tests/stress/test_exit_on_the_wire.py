"""The interpreter exits while a request waits for a server that does not answer."""

import itertools
import signal

import pytest
from stress.holding import Held

HEAD = """
import asyncio, atexit, base64, json, logging, os, signal, sys, threading, time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from urllib.request import urlopen

import anyio

from tokenkeeper import (
    BaseOAuth2Provider, GenericOAuth2Provider, KeeperClosedError, OAuth2Config, OAuth2Token,
    OAuth2TokenManager, TokenKeeper, TokenWaitTimeoutError,
)

FOREVER = 3600

# With -X dev asyncio logs slow callbacks, and on a busy machine there are some.
logging.getLogger("asyncio").addFilter(
    lambda record: not record.getMessage().startswith("Executing ")
)


class Own(BaseOAuth2Provider):
    async def acquire_token(self):
        host, port = ISSUER.removeprefix("http://").split(":")
        credentials = base64.b64encode(f"{self.provider_name}:secret".encode()).decode()
        lines = ["POST /token HTTP/1.1", f"Host: {host}", f"Authorization: Basic {credentials}"]
        async with await anyio.connect_tcp(host, int(port)) as stream:
            await stream.send("\\r\\n".join([*lines, "Content-Length: 0", "", ""]).encode())
            answer = b""
            while not answer.endswith(b"}"):
                answer += await stream.receive()
        content = json.loads(answer.partition(b"\\r\\n\\r\\n")[2])
        ends = datetime.now(UTC) + timedelta(seconds=content["expires_in"])
        return OAuth2Token(content["access_token"], "Bearer", ends)


def generic(name):
    return GenericOAuth2Provider(
        OAuth2Config(name, name, "secret", ISSUER + "/token"),
        read_timeout=FOREVER,
        total_timeout=FOREVER,
    )


def until_on_the_wire():
    while True:
        with urlopen(ISSUER + "/seen") as answer:
            if json.load(answer)["held"].get(CLIENT):
                return
        time.sleep(0.01)


def ask():
    with suppress(KeeperClosedError):
        keeper.get_token(CLIENT)


def start(target, **options):
    thread = threading.Thread(target=target, **options)
    thread.start()
    return thread


def wait_in_the_background():
    start(ask, daemon=True)
    until_on_the_wire()


keeper = TokenKeeper()
manager = OAuth2TokenManager(keeper)
make_provider = {"generic": generic, "Own": Own}[provider]
keeper.add_provider(make_provider(CLIENT))
"""

# What the program does, and its expected exit code.
ENDINGS = {
    "it returns": (0, "wait_in_the_background()"),
    "sys.exit": (3, "wait_in_the_background(); sys.exit(3)"),
    "SIGTERM": (
        -signal.SIGTERM,
        "wait_in_the_background(); os.kill(os.getpid(), signal.SIGTERM); time.sleep(FOREVER)",
    ),
    "SIGTERM is turned into sys.exit": (
        143,
        """
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        start(lambda: (until_on_the_wire(), os.kill(os.getpid(), signal.SIGTERM)))
        ask()
        """,
    ),
    "Ctrl-C in a wait": (
        130,
        """
        start(lambda: (until_on_the_wire(), os.kill(os.getpid(), signal.SIGINT)))
        try:
            ask()
        except KeyboardInterrupt:
            sys.exit(130)
        """,
    ),
    "a wait with a timeout": (
        0,
        """
        try:
            keeper.get_token(CLIENT, timeout=0.1)
        except TokenWaitTimeoutError:
            until_on_the_wire()
        """,
    ),
    "a thread waits that is no daemon": (
        0,
        """
        def ask_for_a_while():
            try:
                keeper.get_token(CLIENT, timeout=1)
            except TokenWaitTimeoutError:
                pass

        start(ask_for_a_while)
        until_on_the_wire()
        """,
    ),
    "asyncio.run is cancelled": (
        0,
        """
        async def main():
            waiting = [asyncio.create_task(manager.get_token(CLIENT)) for _ in range(3)]
            await asyncio.to_thread(until_on_the_wire)

        asyncio.run(main())
        """,
    ),
    "asyncio.timeout": (
        0,
        """
        async def main():
            try:
                async with asyncio.timeout(0.1):
                    await manager.get_token(CLIENT)
            except TimeoutError:
                await asyncio.to_thread(until_on_the_wire)

        asyncio.run(main())
        """,
    ),
    "Ctrl-C in asyncio.run": (
        130,
        """
        asyncio.run(anyio.sleep(0))  # an import that Ctrl-C interrupts warns of its open file
        start(lambda: (until_on_the_wire(), os.kill(os.getpid(), signal.SIGINT)))
        try:
            asyncio.run(manager.get_token(CLIENT))
        except KeyboardInterrupt:
            sys.exit(130)
        """,
    ),
    "trio is cancelled": (
        0,
        """
        import trio

        async def main():
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(manager.get_token, CLIENT)
                await trio.to_thread.run_sync(until_on_the_wire)
                nursery.cancel_scope.cancel()

        trio.run(main)
        """,
    ),
    "Ctrl-C in trio.run": (
        130,
        """
        import trio

        trio.run(anyio.sleep, 0)  # an import that Ctrl-C interrupts warns of its open file
        start(lambda: (until_on_the_wire(), os.kill(os.getpid(), signal.SIGINT)))
        try:
            trio.run(manager.get_token, CLIENT)
        except (KeyboardInterrupt, BaseExceptionGroup):
            sys.exit(130)
        """,
    ),
    "an atexit function gives up": (
        0,
        """
        def last_words():
            try:
                keeper.get_token(CLIENT, timeout=0.1)
            except TokenWaitTimeoutError:
                return

        atexit.register(last_words)
        wait_in_the_background()
        """,
    ),
    "an atexit function closes the keeper": (
        0,
        "atexit.register(keeper.close); wait_in_the_background()",
    ),
    "the keeper is closed under a thread that waits": (
        0,
        """
        start(ask)
        until_on_the_wire()
        keeper.close()
        """,
    ),
    "a thread asks at the shutdown": (
        0,
        """
        keeper.add_provider(make_provider(CLIENT + "-late"))

        def ask_late():
            threading.main_thread().join()
            try:
                assert keeper.get_token(CLIENT + "-late")
            except BaseException as error:
                os.write(2, repr(error).encode())

        start(ask_late)
        wait_in_the_background()
        """,
    ),
}

numbers = itertools.count()


@pytest.fixture(scope="module")
def held():
    with Held() as server:
        yield server


@pytest.mark.parametrize("ending", ENDINGS)
def test_ends_in_silence(make_script, held, ending):
    """The program exits long before the request could end, with its own exit code and no output."""
    code, lines = ENDINGS[ending]
    text = HEAD + "\n".join(line.removeprefix(" " * 8) for line in lines.split("\n"))
    clients, scripts = [], []
    for provider in ("generic", "Own"):
        client = f"exit-{next(numbers)}"
        held.command("hold-all", client)
        clients.append(client)
        facts = f"ISSUER, CLIENT, provider = {held.issuer!r}, {client!r}, {provider!r}"
        scripts.append(make_script(f"{facts}\n{text}", "-X", "dev"))
    assert [script.result() for script in scripts] == [(code, "", "")] * 2
    for client in clients:
        assert held.holds(client)  # it is on the wire until this moment
        held.command("release", client)
