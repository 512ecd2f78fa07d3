"""Claims challenges of APIs (continuous access evaluation): each client answers them."""

import asyncio
import inspect
import json

import aiohttp
import httpx
import pytest
import requests
from azure.core import AsyncPipelineClient, PipelineClient
from azure.core.pipeline.policies import (
    AsyncBearerTokenCredentialPolicy,
    BearerTokenCredentialPolicy,
)
from azure.core.rest import HttpRequest
from kit.crowds import at_once
from kit.httpx_packages import PACKAGES, auth_for
from kit.servers.entra import CLIENT_ID, SECRET, TENANT, Entra

from tokenkeeper import AzureADProvider, InvalidConfigurationError, OAuth2TokenManager, TokenKeeper
from tokenkeeper.integrations.aiohttp import KeeperMiddleware
from tokenkeeper.integrations.azure import AsyncKeeperCredential, KeeperCredential
from tokenkeeper.integrations.azure_transport import RenewingTransport

DEMANDED = {"access_token": {"nbf": {"essential": True, "value": "1604106651"}}}
CP1 = {"xms_cc": {"values": ["CP1"]}}


@pytest.fixture
def entra(tmp_path):
    """Return a stand-in for Entra ID, and for an API that refuses revoked tokens."""
    with Entra(tmp_path) as entra:
        yield entra


@pytest.fixture
def keeper(entra):
    """Return a keeper with a token that the API is about to refuse."""
    provider = AzureADProvider(
        "graph",
        CLIENT_ID,
        SECRET,
        TENANT,
        client_capabilities="CP1",
        authority=entra.authority,
        verify=entra.ca_file,
    )
    with TokenKeeper() as keeper:
        keeper.add_provider(provider)
        keeper.get_token("graph")
        entra.demanded = DEMANDED
        yield keeper


def with_requests(keeper, entra):
    url = f"{entra.origin}/resource"
    return requests.get(url, auth=keeper.auth("graph"), verify=entra.ca_file, timeout=20)


def with_httpx(package):
    def call(keeper, entra):
        auth = auth_for(package)(keeper, "graph")
        with package.Client(auth=auth, verify=entra.client_context) as client:
            return client.get(f"{entra.origin}/resource")

    return call


def with_azure_transport(keeper, entra):
    transport = RenewingTransport(keeper, "graph")
    with PipelineClient(entra.origin, policies=[], transport=transport) as client:
        request = HttpRequest("GET", f"{entra.origin}/resource")
        request.headers["Authorization"] = f"Bearer {keeper.get_token('graph')}"
        return client.send_request(request, connection_verify=entra.ca_file)


def with_azure_credential(keeper, entra):
    scope = "https://graph.microsoft.com/.default"
    policy = BearerTokenCredentialPolicy(KeeperCredential(keeper, "graph"), scope)
    with PipelineClient(entra.origin, policies=[policy]) as client:
        request = HttpRequest("GET", f"{entra.origin}/resource")
        return client.send_request(request, connection_verify=entra.ca_file)


CLIENTS = {
    "requests": with_requests,
    **{name: with_httpx(package) for name, package in PACKAGES.items()},
    "azure transport": with_azure_transport,
    "azure credential": with_azure_credential,
}


@pytest.mark.parametrize("call", CLIENTS.values(), ids=CLIENTS)
def test_blocking_clients(keeper, entra, call):
    """The challenge's claims are in the next request, with the client's capabilities, once."""
    assert call(keeper, entra).status_code == 200
    check_requests(keeper, entra)


def check_requests(keeper, entra):
    first, challenged = [json.loads(each.form["claims"]) for each in entra.requests]
    assert first == {"access_token": CP1}
    assert challenged == {"access_token": DEMANDED["access_token"] | CP1}
    keeper.get_token("graph", force_refresh=True)
    assert json.loads(entra.requests[-1].form["claims"]) == {"access_token": CP1}
    assert entra.refused_calls == ["insufficient claims"]


async def with_aiohttp(keeper, entra):
    middleware = KeeperMiddleware(keeper, "graph")
    connector = aiohttp.TCPConnector(ssl=entra.client_context)
    async with (
        aiohttp.ClientSession(middlewares=[middleware], connector=connector) as session,
        session.get(f"{entra.origin}/resource") as response,
    ):
        return response.status


async def with_async_httpx(keeper, entra):
    async with httpx.AsyncClient(
        auth=auth_for(httpx)(keeper, "graph"), verify=entra.client_context
    ) as client:
        return (await client.get(f"{entra.origin}/resource")).status_code


async def with_async_credential(keeper, entra):
    scope = "https://graph.microsoft.com/.default"
    policy = AsyncBearerTokenCredentialPolicy(AsyncKeeperCredential(keeper, "graph"), scope)
    async with AsyncPipelineClient(entra.origin, policies=[policy]) as client:
        request = HttpRequest("GET", f"{entra.origin}/resource")
        response = await client.send_request(request, connection_verify=entra.ca_file)
        return response.status_code


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("call", [with_aiohttp, with_async_httpx, with_async_credential])
@pytest.mark.anyio
async def test_async_clients(keeper, entra, anyio_backend, call):
    """Async clients do the same."""
    assert await call(keeper, entra) == 200
    check_requests(keeper, entra)


def test_a_crowd(keeper, entra):
    """However many calls are challenged at once, one request follows, and all get its token."""
    responses = at_once(*[lambda: with_requests(keeper, entra)] * 16)
    assert {each.status_code for each in responses} == {200}
    assert len(entra.requests) == 2


def test_other_tokens_of_the_application(keeper, entra):
    """The claims are part of the challenged token's request, and of no other token's."""
    storage = keeper.source("graph", scope="https://storage.azure.com/.default")
    storage()
    assert with_requests(keeper, entra).status_code == 200
    storage.get_token(force_refresh=True)
    assert json.loads(entra.requests[-1].form["claims"]) == {"access_token": CP1}


def awaited(result):
    """Return *result*, awaited if it is a coroutine."""

    async def main():
        return await result

    return asyncio.run(main()) if inspect.isawaitable(result) else result


def test_fronts(keeper, entra):
    """Every front takes the claims, and refuses what can't be claims."""
    manager = OAuth2TokenManager(keeper)
    source = keeper.source("graph")
    for renew in (keeper.renew_refused, manager.renew_refused):
        with pytest.raises(InvalidConfigurationError, match="JSON object"):
            awaited(renew("graph", "x", claims="no"))
    token = keeper.get_token("graph")
    token = source.renew_refused(token, claims=json.dumps(DEMANDED))
    assert entra.call(token)[0] == 200
    token = awaited(source.aio.renew_refused(token, claims=json.dumps(DEMANDED)))
    assert entra.call(token)[0] == 200
