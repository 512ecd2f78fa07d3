"""A channel of ``grpc.aio`` whose calls renew refused tokens."""

import asyncio

import grpc
import grpc.aio
import pytest
from integrations.grpc.server import with_tokens_of

from tokenkeeper.integrations.grpc_aio import renewing_interceptors


@pytest.fixture(scope="module")
def anyio_backend():
    """Run under asyncio, the only event loop that gRPC supports."""
    return "asyncio"


@pytest.fixture(scope="module", autouse=True)
async def one_event_loop(anyio_backend):
    """Run the tests of a module on one event loop.

    The end of a cancelled call may arrive after its test. gRPC then hands it to the test's event
    loop, and raises in the next test if that loop is closed.
    """
    yield
    await asyncio.sleep(0.1)  # nothing announces the last of them


@pytest.fixture
async def channel(things, keeper):
    """Return a channel that has plugin and interceptors."""
    _, address, trusted = things
    async with grpc.aio.secure_channel(
        address,
        with_tokens_of(keeper, trusted),
        interceptors=renewing_interceptors(keeper, "api"),
    ) as channel:
        yield channel


@pytest.fixture
async def unwritten():
    """Return a stream without requests: while gRPC writes one, it may misreport a refusal."""
    ended = asyncio.Event()

    async def requests():
        await ended.wait()
        for request in ():
            yield request

    yield requests
    ended.set()
