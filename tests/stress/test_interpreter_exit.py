"""The interpreter's exit: nothing hangs and nothing is printed, whatever is in progress."""

import pytest

HEAD = """
import asyncio, logging, sys, threading, time
from datetime import UTC, datetime, timedelta
from kit import internals
from tokenkeeper import (
    BaseOAuth2Provider, OAuth2Token, OAuth2TokenManager, RetryPolicy, TokenAcquisitionError,
    TokenKeeper, TokenWaitTimeoutError, get_default_keeper,
)
from tokenkeeper.clock import SYSTEM_CLOCK

# With -X dev asyncio logs slow callbacks, and on a busy machine there are some.
logging.getLogger("asyncio").addFilter(
    lambda record: not record.getMessage().startswith("Executing ")
)

entered = threading.Event()


class Source(BaseOAuth2Provider):
    clock = SYSTEM_CLOCK

    def acquire_token(self):
        entered.set()
        ends = datetime.fromtimestamp(self.clock.time(), UTC) + timedelta(hours=1)
        return OAuth2Token("token", "Bearer", ends)


class Hanging(Source):
    def acquire_token(self):
        entered.set()
        threading.Event().wait()


class AsyncHanging(Source):
    async def acquire_token(self):
        entered.set()
        await asyncio.sleep(3600)


class AsyncSource(Source):
    async def acquire_token(self):
        return super().acquire_token()


class Resolving(Source):
    async def acquire_token(self):
        # As clients of HTTP do. It runs on a thread of the loop's executor.
        await asyncio.get_running_loop().getaddrinfo("localhost", 80)
        return super().acquire_token()


class Failing(Source):
    def acquire_token(self):
        entered.set()
        raise ConnectionError


def give_up(keeper):
    try:
        keeper.get_token("api", timeout=0.01)
    except TokenWaitTimeoutError:
        assert entered.wait(10)
    else:
        raise AssertionError("there is no token")


keeper = TokenKeeper(retry=RetryPolicy(initial_wait_seconds=1000, max_wait_seconds=1000,
                                       total_seconds=10_000))
"""

ENDINGS = {
    "unused": "keeper.add_provider(Source('api'))",
    "idle": "keeper.add_provider(Source('api')); keeper.get_token('api')",
    "idle with a loop": "keeper.add_provider(AsyncSource('api')); keeper.get_token('api')",
    "idle with a loop that has threads": """
        keeper.add_provider(Resolving('api'))
        keeper.get_token('api')
    """,
    "closed": "keeper.add_provider(AsyncSource('api')); keeper.get_token('api'); keeper.close()",
    "default keeper": """
        get_default_keeper().add_provider(Source('api'))
        get_default_keeper().get_token('api')
    """,
    "many keepers": """
        keepers = [TokenKeeper() for _ in range(50)]
        for keeper in keepers:
            keeper.add_provider(AsyncSource('api'))
            keeper.get_token('api')
    """,
    "a request hangs": "keeper.add_provider(Hanging('api')); give_up(keeper)",
    "a request hangs and the keeper is closed": """
        keeper.add_provider(Hanging('api'))
        give_up(keeper)
        keeper.close()
    """,
    "an async request hangs": "keeper.add_provider(AsyncHanging('api')); give_up(keeper)",
    "an async request hangs and the keeper is closed": """
        keeper.add_provider(AsyncHanging('api'))
        give_up(keeper)
        keeper.close()
    """,
    "a retry waits": """
        keeper.add_provider(Failing('api'))
        internals.ask(keeper, internals.need(keeper))
        while not internals.retries_waiting(keeper):
            time.sleep(0.001)
    """,
    "a user's thread reads": """
        keeper.add_provider(Source('api'))
        keeper.get_token('api')

        def read():
            while True:
                keeper.get_token('api')

        threading.Thread(target=read, daemon=True).start()
    """,
    "a user's thread waits": """
        keeper.add_provider(Hanging('api'))
        threading.Thread(target=keeper.get_token, args=('api',), daemon=True).start()
        assert entered.wait(10)
    """,
    "a user's thread waits for an async request": """
        keeper.add_provider(AsyncHanging('api'))
        threading.Thread(target=keeper.get_token, args=('api',), daemon=True).start()
        assert entered.wait(10)
    """,
    "a user's thread forces": """
        keeper.add_provider(Source('api'))

        def force():
            while True:
                keeper.get_token('api', force_refresh=True)

        threading.Thread(target=force, daemon=True).start()
        assert entered.wait(10)
    """,
    "tokens renew": """
        from tokenkeeper.testing import SteppedClock

        Source.clock = clock = SteppedClock()
        keeper = TokenKeeper(clock=clock)
        names = [f'api {number}' for number in range(20)]
        for name in names:
            keeper.add_provider(Source(name))
            keeper.get_token(name)

        def are_fresh():
            infos = [keeper.get_cached_token_info(name) for name in names]
            return all(info['state'] == 'fresh' for info in infos)

        def let_time_pass():
            while True:
                entered.clear()
                clock.step(3400)  # into the buffer, where all are renewed
                while not are_fresh():  # or a token might expire on its way
                    time.sleep(0.001)

        threading.Thread(target=let_time_pass, daemon=True).start()
        assert entered.wait(10)
    """,
    "an event loop waits": """
        keeper.add_provider(AsyncHanging('api'))
        manager = OAuth2TokenManager(keeper)

        async def main():
            waiting = asyncio.create_task(manager.get_token('api'))
            while not entered.is_set():
                await asyncio.sleep(0.001)

        asyncio.run(main())
    """,
    "dropped": """
        keeper.add_provider(Hanging('api'))
        give_up(keeper)
        del keeper
    """,
    "sys.exit": "keeper.add_provider(Hanging('api')); give_up(keeper); sys.exit(0)",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_exits_in_silence(make_script, ending):
    """The exit code is 0, without a hang or output, with and without ``-X dev``."""
    lines = ENDINGS[ending].split("\n")
    text = HEAD + "\n".join(line.removeprefix(" " * 8) for line in lines)
    scripts = [make_script(text), make_script(text, "-X", "dev")]
    assert [script.result() for script in scripts] == [(0, "", "")] * 2
