"""Every module of a client library takes a source in place of a keeper and a provider's name."""

import asyncio
import importlib
import inspect
import pkgutil

import aiohttp
import anyio
import grpc
import grpc.aio
import httpx
import pytest
import requests
from azure.core import AsyncPipelineClient, PipelineClient
from azure.core.pipeline.policies import (
    AsyncBearerTokenCredentialPolicy,
    BearerTokenCredentialPolicy,
)
from azure.core.rest import HttpRequest
from integrations.grpc.server import GET, GUARD_SECONDS, served
from kit.client_modules import TRIED_WITH_CLIENTS
from kit.providers import ManyTokens

import tokenkeeper.integrations
from tokenkeeper import (
    InvalidConfigurationError,
    TokenKeeper,
    get_default_source,
    set_default_keeper,
)
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.integrations.aiohttp import KeeperMiddleware
from tokenkeeper.integrations.azure import AsyncKeeperCredential, KeeperCredential
from tokenkeeper.integrations.azure_transport import AsyncRenewingTransport, RenewingTransport
from tokenkeeper.integrations.grpc import KeeperPlugin, RenewingInterceptor
from tokenkeeper.integrations.grpc_aio import renewing_interceptors
from tokenkeeper.integrations.httpx import KeeperAuth as HttpxAuth
from tokenkeeper.integrations.requests import KeeperAuth

SCOPE = "https://storage.azure.com/.default"


class Granting(ManyTokens):
    """Grants tokens of which the API accepts all but the first: that one was revoked."""

    def __init__(self, api):
        super().__init__(clock=SYSTEM_CLOCK)
        self.api = api

    def acquire_token(self):
        token = super().acquire_token()
        if len(self.requests) > 1:
            self.api.valid.add(token.access_token)
        return token


@pytest.fixture
def keeper(api):
    with TokenKeeper() as keeper:
        keeper.add_provider(Granting(api))
        yield keeper


def by_requests(api, *given):
    requests.get(api.url, auth=KeeperAuth(*given), timeout=30).raise_for_status()


def by_httpx(api, *given):
    httpx.get(api.url, auth=HttpxAuth(*given)).raise_for_status()


def by_httpx_async(api, *given):
    async def main():
        async with httpx.AsyncClient(auth=HttpxAuth(*given)) as client:
            (await client.get(api.url)).raise_for_status()

    anyio.run(main)


def by_aiohttp(api, *given):
    async def main():
        middleware = KeeperMiddleware(*given, allowed_hosts=[api.place])
        async with aiohttp.ClientSession(middlewares=[middleware]) as session:
            (await session.get(api.url)).raise_for_status()

    asyncio.run(main())


def by_azure(api, *given):
    policies = [BearerTokenCredentialPolicy(KeeperCredential(*given), SCOPE)]
    with PipelineClient(api.url, policies=policies, transport=RenewingTransport(*given)) as client:
        request = HttpRequest("GET", api.url)
        client.send_request(request, enforce_https=False).raise_for_status()


def by_azure_async(api, *given):
    async def main():
        policies = [AsyncBearerTokenCredentialPolicy(AsyncKeeperCredential(*given), SCOPE)]
        transport = AsyncRenewingTransport(*given)
        async with AsyncPipelineClient(api.url, policies=policies, transport=transport) as client:
            request = HttpRequest("GET", api.url)
            (await client.send_request(request, enforce_https=False)).raise_for_status()

    asyncio.run(main())


def credentials(trusted, given):
    plugin = grpc.metadata_call_credentials(KeeperPlugin(*given))
    return grpc.composite_channel_credentials(trusted, plugin)


def by_grpc(api, *given):
    with (
        served(api) as (_, address, trusted),
        grpc.secure_channel(address, credentials(trusted, given)) as channel,
    ):
        channel = grpc.intercept_channel(channel, RenewingInterceptor(*given))
        channel.unary_unary(GET)(b"", timeout=GUARD_SECONDS)


def by_grpc_aio(api, *given):
    async def main(address, trusted):
        async with grpc.aio.secure_channel(
            address, credentials(trusted, given), interceptors=renewing_interceptors(*given)
        ) as channel:
            await channel.unary_unary(GET)(b"", timeout=GUARD_SECONDS)

    with served(api) as (_, address, trusted):
        asyncio.run(main(address, trusted))


CLIENTS = {
    by_requests: [KeeperAuth],
    by_httpx: [HttpxAuth],
    by_httpx_async: [HttpxAuth],
    by_aiohttp: [KeeperMiddleware],
    by_azure: [KeeperCredential, RenewingTransport],
    by_azure_async: [AsyncKeeperCredential, AsyncRenewingTransport],
    by_grpc: [KeeperPlugin, RenewingInterceptor],
    by_grpc_aio: [KeeperPlugin, renewing_interceptors],
}
"""A request by each client, and the objects of ours that it takes."""

TABLED = {each for ours in CLIENTS.values() for each in ours}

GIVEN = {
    "source": lambda keeper: [keeper.source("api", account="alice")],
    "async front": lambda keeper: [keeper.source("api", account="alice").aio],
    "default source": lambda keeper: [get_default_source("api", account="alice")],
    "keeper and name": lambda keeper: [keeper, keeper.source("api", account="alice").name],
}


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("call", CLIENTS)
def test_a_token_is_sent_and_replaced_once_it_is_rejected(api, keeper, call, given):
    """The request carries the token of the source, and after a 401 its next one."""
    before = set_default_keeper(keeper)
    try:
        call(api, *GIVEN[given](keeper))
    finally:
        set_default_keeper(before)
    assert api.tokens == ["alice-1", "alice-2"]


@pytest.mark.parametrize("ours", TABLED, ids=lambda each: f"{each.__module__}.{each.__name__}")
def test_a_name_beside_a_source(keeper, ours):
    """A source with a name beside it is refused, as one of the two would not count."""
    with pytest.raises(InvalidConfigurationError, match="already names its token"):
        ours(keeper.source("api"), "api")


ELSEWHERE = TRIED_WITH_CLIENTS | {"google", "mcp"}
"""Modules whose own tests give them sources, or that have no use for one."""


def takers():
    """Yield the public objects of the modules tested here that take a keeper."""
    for found in pkgutil.iter_modules(tokenkeeper.integrations.__path__):
        if found.name.startswith("_") or found.name in ELSEWHERE:
            continue
        try:
            module = importlib.import_module(f"tokenkeeper.integrations.{found.name}")
        except ImportError:  # its library is not installed here
            continue
        for name in module.__all__:
            each = getattr(module, name)
            if callable(each) and "keeper" in inspect.signature(each).parameters:
                yield each


def test_none_is_left_out():
    """The table has every public object that takes a keeper."""
    assert set(takers()) == TABLED
