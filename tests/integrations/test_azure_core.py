"""A keeper as a credential of Azure clients, and credentials as providers."""

import time
from datetime import UTC, datetime

import pytest
from azure.core.credentials import AccessToken, SupportsTokenInfo, TokenCredential
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline import Pipeline
from azure.core.pipeline.policies import BearerTokenCredentialPolicy
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest

from tokenkeeper import OAuth2Error, TokenKeeper
from tokenkeeper.integrations.azure import (
    AsyncKeeperCredential,
    CredentialProvider,
    KeeperCredential,
)

SCOPE = "https://storage.azure.com/.default"


def test_a_client_of_azure(api, keeper):
    """An Azure client's pipeline calls an API with the keeper's token."""
    with KeeperCredential(keeper, "api") as credential:
        policy = BearerTokenCredentialPolicy(credential, SCOPE, enforce_https=False)
        with Pipeline(RequestsTransport(), [policy]) as pipeline:
            answer = pipeline.run(HttpRequest("GET", api.url), enforce_https=False)
    assert answer.http_response.status_code == 200
    assert api.tokens == ["token-1"]


def test_the_credential(keeper, provider):
    """It is what azure-core asks for, says when the token ends, and minds a claims challenge."""
    credential = KeeperCredential(keeper, "api")
    assert isinstance(credential, TokenCredential)
    assert isinstance(credential, SupportsTokenInfo)
    first = credential.get_token(SCOPE)
    assert first.token == "token-1"
    assert 3500 < first.expires_on - time.time() <= 3600
    assert credential.get_token_info(SCOPE).token_type == "Bearer"
    assert provider.minted == 1
    assert credential.get_token(SCOPE, claims='{"access_token": {}}').token == "token-2"


def test_no_token(keeper):
    """Where there is no token the error is one that Azure clients know, with ours behind it."""
    with pytest.raises(ClientAuthenticationError, match="'other'") as raised:
        KeeperCredential(keeper, "other").get_token(SCOPE)
    assert isinstance(raised.value.__cause__, OAuth2Error)


@pytest.mark.anyio
async def test_the_async_credential(keeper, anyio_backend):
    """It does the same for tasks, under asyncio and trio."""
    async with AsyncKeeperCredential(keeper, "api") as credential:
        assert (await credential.get_token(SCOPE)).token == "token-1"
        assert (await credential.get_token(SCOPE, claims="{}")).token == "token-2"
    with pytest.raises(ClientAuthenticationError):
        await AsyncKeeperCredential(keeper, "other").get_token(SCOPE)


class Credential:
    """A credential as a user may have it."""

    def __init__(self):
        self.asked = []

    def get_token(self, *scopes, **options):
        self.asked.append(scopes)
        return AccessToken(f"azure-{len(self.asked)}", int(time.time()) + 3600)


class AsyncCredential(Credential):
    """The same with ``async def``."""

    async def get_token(self, *scopes, **options):
        return super().get_token(*scopes, **options)


@pytest.mark.parametrize("kind", [Credential, AsyncCredential])
def test_a_credential_as_a_provider(kind):
    """Any credential, blocking or async, can be a keeper's provider."""
    credential = kind()
    with TokenKeeper() as keeper:
        keeper.add_provider(CredentialProvider("storage", credential, SCOPE))
        assert keeper.get_token("storage") == "azure-1"
        assert keeper.get_token("storage", force_refresh=True) == "azure-2"
        token = keeper.get_oauth2_token("storage")
        assert token.scope == SCOPE
        assert 3500 < (token.expires_at - datetime.now(UTC)).total_seconds() <= 3600
    assert credential.asked == [(SCOPE,)] * 2
