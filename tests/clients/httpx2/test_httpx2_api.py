"""``httpx2``: a crowd against the loopback server, and what httpx's own auth does there."""

import httpx
import httpx2
import pytest

from tokenkeeper.integrations.httpx import KeeperAuth as HttpxAuth
from tokenkeeper.integrations.httpx2 import KeeperAuth

CROWD = 12


def test_a_crowd_of_threads(server, source, requests_of, crowd):
    """Threads whose token is revoked all go on, with one renewal."""
    with httpx2.Client(auth=KeeperAuth(source), timeout=30) as client:
        assert client.get(server.api_url).status_code == 200
        server.revoke_all()
        statuses = crowd(CROWD, lambda: client.get(server.api_url).status_code)
    assert statuses == [200] * CROWD
    assert requests_of() == 2


@pytest.mark.anyio
async def test_a_crowd_of_tasks(server, source, requests_of, crowd_of_tasks):
    """The same holds for tasks."""
    async with httpx2.AsyncClient(auth=KeeperAuth(source), timeout=30) as client:

        async def call():
            return (await client.get(server.api_url)).status_code

        assert await call() == 200
        server.revoke_all()
        assert await crowd_of_tasks(CROWD, call) == [200] * CROWD
    assert requests_of() == 2


def test_each_package_wants_its_own(server, source):
    """httpx2 refuses the auth for httpx, and httpx that for httpx2."""
    with pytest.raises(TypeError, match="auth"):
        httpx2.Client(auth=HttpxAuth(source))
    with pytest.raises(TypeError, match="auth"):
        httpx.Client(auth=KeeperAuth(source))


def test_the_example(server, run_example):
    """The page's program prints the status of a call."""
    assert run_example("httpx2", API_URL=server.api_url) == "200\n"
