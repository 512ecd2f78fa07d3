"""Clients of httpx whose requests carry the token, blocking and async."""

import httpx
import pytest

from tokenkeeper.integrations.httpx import KeeperAuth

CROWD = httpx.Limits(max_connections=None)


@pytest.fixture
def auth(keeper):
    return KeeperAuth(keeper, "api")


@pytest.fixture
async def async_client(auth, anyio_backend):
    """Return an async client whose requests carry the token, for asyncio and trio."""
    async with httpx.AsyncClient(
        auth=auth, follow_redirects=True, timeout=30, limits=CROWD
    ) as client:
        yield client


@pytest.fixture
def client(auth):
    """Return a blocking client whose requests carry the token."""
    with httpx.Client(auth=auth, follow_redirects=True, timeout=30, limits=CROWD) as client:
        yield client
