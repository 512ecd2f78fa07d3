"""A dashboard over a store in memory, and a client that asks it without a network."""

import anyio
import httpx
import pytest
from kit.stored import StoredFleet

from tokenkeeper.dashboard.app import application
from tokenkeeper.stores.sealed import KeyRing
from tokenkeeper.testing import SteppedClock


@pytest.fixture
def clock():
    """Return a clock that stands still."""
    return SteppedClock()


@pytest.fixture
def fleet(clock):
    """Return an empty store in memory, with encryption."""
    return StoredFleet(sealer=KeyRing({"k1": bytes(32)}), clock=clock)


@pytest.fixture
def app(fleet, clock):
    """Return the dashboard of the store."""
    return application(fleet.settings, "Tokenkeeper", 2.0, clock)


@pytest.fixture(params=["asyncio", "trio"])
def backend(request):
    """Return the event loop that serves the dashboard."""
    return request.param


@pytest.fixture
def fetch():
    """Return a function that sends requests to an application, and returns the responses."""

    def fetch(app, *paths, method="GET", backend="asyncio", root_path="", headers=None):
        responses = []

        async def send(client, path):
            responses.append(await client.request(method, path, headers=headers))

        async def main():
            transport = httpx.ASGITransport(app, root_path=root_path)
            async with (
                httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
                anyio.create_task_group() as tasks,
            ):
                for path in paths:
                    tasks.start_soon(send, client, path)

        anyio.run(main, backend=backend)
        return responses if len(paths) > 1 else responses[0]

    return fetch
