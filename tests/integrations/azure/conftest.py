"""Azure clients of an API that refuses tokens."""

import pytest
from azure.core import AsyncPipelineClient
from azure.core.pipeline.policies import AsyncBearerTokenCredentialPolicy, AsyncRedirectPolicy
from integrations.azure.pipelines import SCOPE, below_for, client_of

from tokenkeeper.integrations.azure import AsyncKeeperCredential
from tokenkeeper.integrations.azure_transport import AsyncRenewingTransport


@pytest.fixture
def client(keeper, api):
    """Return a blocking Azure client."""
    with client_of(keeper, api) as client:
        yield client


@pytest.fixture
async def async_client(keeper, api, anyio_backend):
    """Return an async Azure client."""
    policy = AsyncBearerTokenCredentialPolicy(AsyncKeeperCredential(keeper, "api"), SCOPE)
    below = below_for(anyio_backend)
    transport = AsyncRenewingTransport(keeper, "api", below, allowed_hosts=[api.place])
    async with AsyncPipelineClient(
        api.url, policies=[AsyncRedirectPolicy(), policy], transport=transport
    ) as client:
        yield client
