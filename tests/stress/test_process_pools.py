"""Process pools by fork, spawn and forkserver, with the default keeper in each worker."""

import os

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")

POOL = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta

from tokenkeeper import BaseOAuth2Provider, OAuth2Token, get_default_keeper


class Source(BaseOAuth2Provider):
    count = 0

    def acquire_token(self):
        self.count += 1
        ends = datetime.now(UTC) + timedelta(hours=1)
        name = multiprocessing.current_process().name
        return OAuth2Token(f"{self.provider_name} {name} {self.count}", "Bearer", ends)


class AsyncSource(Source):
    async def acquire_token(self):
        return super().acquire_token()


keeper = get_default_keeper()
keeper.add_provider(Source("warm"))
keeper.add_provider(AsyncSource("cold"))


def work(_):
    return keeper.get_token("warm"), keeper.get_token("cold")


if __name__ == "__main__":
    method = METHOD
    warm = keeper.get_token("warm")
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        results = set(pool.map(work, range(20)))
    with context.Pool(2) as pool:
        results |= set(pool.map(work, range(20)))
    assert all("Main" not in cold for _, cold in results), results
    assert 1 <= len(results) <= 4, results
    inherited = {token == warm for token, _ in results}
    assert inherited == {method == "fork"}, results
    print("worked")
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_process_pools(make_script, method):
    """Pools of every kind get tokens in their workers and shut down normally."""
    script = make_script(POOL.replace("METHOD", repr(method)), "-W", "ignore::DeprecationWarning")
    assert script.result() == (0, "worked\n", "")
