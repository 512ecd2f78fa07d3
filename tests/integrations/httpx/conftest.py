"""Clients of httpx and httpx2 whose requests carry the token, blocking and async."""

import pytest
from kit.httpx_packages import PACKAGES, auth_for


@pytest.fixture(params=PACKAGES.values(), ids=PACKAGES)
def httpx(request):
    """Return the package: httpx, and then httpx2."""
    return request.param


@pytest.fixture
def keeper_auth(httpx):
    """Return the class of ``auth=`` for the package."""
    return auth_for(httpx)


@pytest.fixture
def auth(keeper, keeper_auth):
    return keeper_auth(keeper, "api")


@pytest.fixture
def one(httpx):
    """Return limits that allow one connection."""
    return httpx.Limits(max_connections=1)


@pytest.fixture
def crowded(httpx):
    """Return limits that allow any number of connections."""
    return httpx.Limits(max_connections=None)


@pytest.fixture
async def async_client(httpx, auth, crowded, anyio_backend):
    """Return an async client whose requests carry the token, for asyncio and trio."""
    async with httpx.AsyncClient(
        auth=auth, follow_redirects=True, timeout=30, limits=crowded
    ) as client:
        yield client


@pytest.fixture
def client(httpx, auth, crowded):
    """Return a blocking client whose requests carry the token."""
    with httpx.Client(auth=auth, follow_redirects=True, timeout=30, limits=crowded) as client:
        yield client
