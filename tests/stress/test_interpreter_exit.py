"""The interpreter's exit: nothing hangs and nothing is printed, whatever is in progress."""

import pytest

HEAD = """
import asyncio, sys, threading, time
from datetime import UTC, datetime, timedelta
from kit import internals
from tokenkeeper import (
    BaseOAuth2Provider, OAuth2Token, OAuth2TokenManager, RetryPolicy, TokenAcquisitionError,
    TokenKeeper, TokenWaitTimeoutError, get_default_keeper,
)

entered = threading.Event()


class Source(BaseOAuth2Provider):
    lifetime = 3600

    def acquire_token(self):
        entered.set()
        ends = datetime.now(UTC) + timedelta(seconds=self.lifetime)
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
        for number in range(20):
            source = Source(f'api {number}')
            source.lifetime = 0.2
            keeper.add_provider(source)
            keeper.get_token(source.provider_name)
        time.sleep(0.3)
    """,
    "an event loop waits": """
        keeper.add_provider(AsyncHanging('api'))
        manager = OAuth2TokenManager(keeper)

        async def main():
            asyncio.get_running_loop().slow_callback_duration = 60
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
