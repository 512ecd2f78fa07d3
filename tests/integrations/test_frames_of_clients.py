"""What an error tracker records of our frames when an API's client gets no new token."""

import asyncio
from datetime import UTC, datetime
from functools import partial

import aiohttp
import pytest
import requests
from azure.core import AsyncPipelineClient, PipelineClient
from azure.core.pipeline.policies import (
    AsyncBearerTokenCredentialPolicy,
    BearerTokenCredentialPolicy,
)
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.rest import HttpRequest
from google.auth.transport.requests import AuthorizedSession
from kit.httpx_packages import PACKAGES, auth_for
from oauth.guarded import TOKEN, shows_a_canary, what_a_tracker_records

from tokenkeeper import BaseOAuth2Provider, OAuth2Token, TokenAcquisitionError, TokenKeeper
from tokenkeeper.integrations.aiohttp import KeeperMiddleware
from tokenkeeper.integrations.azure import (
    AsyncKeeperCredential,
    CredentialProvider,
    KeeperCredential,
)
from tokenkeeper.integrations.azure_transport import AsyncRenewingTransport, RenewingTransport
from tokenkeeper.integrations.google import KeeperCredentials

SCOPE = "https://storage.azure.com/.default"


class Once(BaseOAuth2Provider):
    """Grants one token, and then fails."""

    def acquire_token(self):
        return OAuth2Token(TOKEN, "Bearer", datetime(2040, 1, 1, tzinfo=UTC))

    def refresh_token(self, _):
        raise TokenAcquisitionError("no", provider_name="api", transient=False)


@pytest.fixture
def once():
    """Return a keeper that gets no second token."""
    with TokenKeeper() as keeper:
        keeper.add_provider(Once("api"))
        yield keeper


def by_requests(keeper, url):
    requests.get(url, auth=keeper.auth("api"), timeout=30)


def by_httpx(httpx, keeper, url):
    with httpx.Client(auth=auth_for(httpx)(keeper, "api")) as client:
        client.get(url)


def by_async_httpx(httpx, keeper, url):
    async def main():
        async with httpx.AsyncClient(auth=auth_for(httpx)(keeper, "api")) as client:
            await client.get(url)

    asyncio.run(main())


def by_aiohttp(keeper, url):
    async def main():
        middleware = KeeperMiddleware(keeper, "api")
        async with aiohttp.ClientSession(middlewares=[middleware]) as session:
            await session.get(url)

    asyncio.run(main())


def by_google(keeper, url):
    with AuthorizedSession(KeeperCredentials(keeper, "api")) as session:
        session.get(url)


def by_azure(keeper, url):
    policies = [BearerTokenCredentialPolicy(KeeperCredential(keeper, "api"), SCOPE)]
    with PipelineClient(
        url, policies=policies, transport=RenewingTransport(keeper, "api")
    ) as client:
        client.send_request(HttpRequest("GET", url), enforce_https=False)


def by_async_azure(keeper, url):
    async def main():
        policies = [AsyncBearerTokenCredentialPolicy(AsyncKeeperCredential(keeper, "api"), SCOPE)]
        transport = AsyncRenewingTransport(keeper, "api", AioHttpTransport())
        async with AsyncPipelineClient(url, policies=policies, transport=transport) as client:
            await client.send_request(HttpRequest("GET", url), enforce_https=False)

    asyncio.run(main())


CLIENTS = {
    "requests": by_requests,
    **{name: partial(by_httpx, package) for name, package in PACKAGES.items()},
    **{f"{name}-async": partial(by_async_httpx, package) for name, package in PACKAGES.items()},
    "aiohttp": by_aiohttp,
    "google": by_google,
    "azure": by_azure,
    "azure-async": by_async_azure,
}


@pytest.mark.parametrize("call", CLIENTS.values(), ids=CLIENTS)
def test_a_refused_token_is_in_no_frame_of_ours(api, once, call):
    """When an API refuses the only token, none of our frames shows it."""
    with pytest.raises(Exception, match="no") as raised:
        call(once, api.url)
    assert [token for _, token, _ in api.seen] == [TOKEN]
    for written in what_a_tracker_records(raised.value):
        assert not shows_a_canary(written), written[:100]


class Answer:
    """A malformed answer of a credential."""

    token = TOKEN

    @property
    def expires_on(self):
        raise ValueError("soon")

    def __repr__(self):
        return f"Answer({self.token!r})"


class Credential:
    """A blocking credential."""

    def get_token(self, *_, **__):
        return Answer()


class AsyncCredential:
    """An async one."""

    async def get_token(self, *_, **__):
        return Answer()


def test_a_credential_s_answer_is_in_no_frame_of_ours():
    """A credential's answer that can't be parsed is not recorded either."""
    for credential in (Credential(), AsyncCredential()):
        provider = CredentialProvider("api", credential, SCOPE)

        async def ask(provider=provider):
            answer = provider.acquire_token()
            return await answer if hasattr(answer, "__await__") else answer

        with pytest.raises(ValueError, match="soon") as raised:
            asyncio.run(ask())
        for written in what_a_tracker_records(raised.value):
            assert "canary" not in written
