"""A keeper as a credential of Azure clients, and credentials as providers."""

import base64
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from azure.core.credentials import (
    AccessToken,
    AccessTokenInfo,
    SupportsTokenInfo,
    TokenCredential,
)
from azure.core.credentials_async import AsyncSupportsTokenInfo
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
)
from azure.core.pipeline import Pipeline
from azure.core.pipeline.policies import BearerTokenCredentialPolicy
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest
from azure.identity import ClientSecretCredential, CredentialUnavailableError
from kit.servers.entra import CLIENT_ID, SECRET, TENANT, Entra, refusal

from tokenkeeper import (
    KeeperClosedError,
    OAuth2Error,
    OAuth2TokenManager,
    RetryPolicy,
    TokenAcquisitionError,
    TokenKeeper,
    TokenWaitTimeoutError,
)
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
    """The credential has azure-core's protocol, and handles claims challenges."""
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
    """Without a token, the error is one of azure-core's, caused by ours."""
    with pytest.raises(ClientAuthenticationError, match="'other'") as raised:
        KeeperCredential(keeper, "other").get_token(SCOPE)
    assert isinstance(raised.value.__cause__, OAuth2Error)


def test_a_closed_keeper(keeper):
    """A closed keeper raises such an error too, at once and without a request."""
    keeper.close()
    with pytest.raises(ClientAuthenticationError, match="closed") as raised:
        KeeperCredential(keeper, "api").get_token(SCOPE)
    assert isinstance(raised.value.__cause__, KeeperClosedError)


@pytest.mark.anyio
async def test_a_timeout(keeper, provider, anyio_backend):
    """``timeout=`` limits the wait for a token, of threads and tasks."""
    provider.open.clear()
    with pytest.raises(ClientAuthenticationError) as raised:
        KeeperCredential(keeper, "api", timeout=0).get_token(SCOPE)
    assert isinstance(raised.value.__cause__, TokenWaitTimeoutError)
    with pytest.raises(ClientAuthenticationError, match="within the timeout"):
        await AsyncKeeperCredential(keeper, "api", timeout=0).get_token(SCOPE)
    provider.open.set()
    assert (await AsyncKeeperCredential(keeper, "api").get_token(SCOPE)).token == "token-1"


def test_options_are_ignored(keeper):
    """The options for a tenant and for claims challenges change nothing."""
    credential = KeeperCredential(keeper, "api")
    assert credential.get_token(SCOPE, tenant_id="other", enable_cae=True).token == "token-1"
    options = {"tenant_id": "other", "enable_cae": True}
    assert credential.get_token_info(SCOPE, options=options).token == "token-1"


def test_a_claims_challenge(api, keeper, provider):
    """A pipeline that gets a claims challenge continues with a new token."""
    policy = BearerTokenCredentialPolicy(KeeperCredential(keeper, "api"), SCOPE, enable_cae=True)
    claims = base64.b64encode(b'{"access_token": {"nbf": {"value": "1"}}}').decode()
    api.challenge = f'Bearer error="insufficient_claims", claims="{claims}"'
    with Pipeline(RequestsTransport(), [policy]) as pipeline:

        def call():
            answer = pipeline.run(HttpRequest("GET", api.url), enforce_https=False)
            return answer.http_response.status_code

        assert call() == 200
        api.valid.clear()
        assert call() == 200
    assert api.tokens == ["token-1", "token-1", "token-2"]
    assert provider.minted == 2


@pytest.mark.anyio
async def test_the_async_credential(keeper, anyio_backend):
    """The async credential works the same, under asyncio and trio."""
    assert isinstance(AsyncKeeperCredential(keeper, "api"), AsyncSupportsTokenInfo)
    async with AsyncKeeperCredential(keeper, "api") as credential:
        assert (await credential.get_token(SCOPE)).token == "token-1"
        assert (await credential.get_token(SCOPE, claims="{}")).token == "token-2"
    with pytest.raises(ClientAuthenticationError):
        await AsyncKeeperCredential(keeper, "other").get_token(SCOPE)


class Credential:
    """A minimal credential."""

    def __init__(self):
        self.asked = []

    def get_token(self, *scopes, **options):
        self.asked.append(scopes)
        return AccessToken(f"azure-{len(self.asked)}", int(time.time()) + 3600)


class AsyncCredential(Credential):
    """An async one."""

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


def test_whose_tokens_a_store_has():
    """Providers with other scopes, or credentials of another client or tenant, share no tokens."""

    def identity(client_id=CLIENT_ID, tenant=TENANT, scope=SCOPE, secret=SECRET):
        credential = ClientSecretCredential(tenant, client_id, secret)
        return CredentialProvider("azure", credential, scope).identity()

    assert identity() == identity(secret="a-rotated-secret")
    changes = ({"client_id": "another"}, {"tenant": "another"}, {"scope": "another/.default"})
    for change in changes:
        assert identity(**change) != identity()
    assert "secret" not in repr(identity(secret="a-secret"))


@pytest.mark.parametrize("as_sent", [int, float, str])
def test_a_credential_of_the_newer_kind(as_sent):
    """A credential may have only ``get_token_info``, and any numeric type of expiry."""

    class Newer:
        def get_token_info(self, *scopes, options=None):
            return AccessTokenInfo("newer", as_sent(int(time.time()) + 3600))

    with TokenKeeper() as keeper:
        keeper.add_provider(CredentialProvider("storage", Newer(), SCOPE))
        assert keeper.get_token("storage") == "newer"
        assert keeper.get_oauth2_token("storage").token_type == "Bearer"


@pytest.fixture
def entra(tmp_path):
    with Entra(tmp_path) as entra:
        yield entra


@pytest.fixture
def ask(entra):
    """Get a token from a keeper with azure-identity's own credential."""

    def ask(secret=SECRET, **options):
        credential = ClientSecretCredential(
            TENANT,
            CLIENT_ID,
            secret,
            authority=entra.authority,
            disable_instance_discovery=True,
            connection_verify=entra.ca_file,
            retry_total=0,
        )
        with credential, TokenKeeper(retry=RetryPolicy(initial_wait_seconds=0)) as keeper:
            keeper.add_provider(CredentialProvider("storage", credential, SCOPE, **options))
            return keeper.get_token("storage")

    return ask


def test_a_credential_of_azure_identity(ask):
    """A credential of azure-identity works, over real TLS."""
    assert ask().startswith("entra-")


def test_a_refused_secret(ask):
    """The error has Entra's code, is final, and shows no secret that was echoed."""
    with pytest.raises(TokenAcquisitionError, match=r"'storage'.*AADSTS7000215") as raised:
        ask(secret="wr0ng~Secret")
    assert raised.value.attempts == 1
    assert "wr0ng" not in str(raised.value)
    assert isinstance(raised.value.__cause__, ClientAuthenticationError)


def test_an_ailing_server(ask, entra):
    """Temporary failures are retried: a 503, and a lost connection."""
    entra.outage = refusal(503, "temporarily_unavailable", 90033, "Come back later.")
    with pytest.raises(TokenAcquisitionError, match="HTTP 503") as raised:
        ask(retry=RetryPolicy(attempts=2, initial_wait_seconds=0))
    assert raised.value.attempts == 2
    entra.stop()
    with pytest.raises(TokenAcquisitionError, match="ServiceRequestError") as raised:
        ask(retry=RetryPolicy(attempts=2, initial_wait_seconds=0))
    assert raised.value.attempts == 2


def unavailable(cause=None):
    error = CredentialUnavailableError("no response from the IMDS endpoint")
    error.__cause__ = cause
    return error


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (unavailable(), False),
        (unavailable(ServiceRequestError("no route")), True),
        (AzureError("odd"), False),
        (HttpResponseError(response=SimpleNamespace(status_code=429, reason="slow")), True),
    ],
)
async def test_errors_of_a_credential(error, transient, anyio_backend):
    """An error of a blocking or async credential becomes one of ours, transient or not."""

    class Failing:
        def get_token(self, *scopes):
            raise error

    class AsyncFailing:
        async def get_token(self, *scopes):
            raise error

    for credential in (Failing(), AsyncFailing()):
        with TokenKeeper(retry=RetryPolicy(attempts=1)) as keeper:
            keeper.add_provider(CredentialProvider("storage", credential, SCOPE))
            with pytest.raises(TokenAcquisitionError, match=type(error).__name__) as raised:
                await OAuth2TokenManager(keeper).get_token("storage")
        assert raised.value.transient is transient
        assert raised.value.__cause__ is error
