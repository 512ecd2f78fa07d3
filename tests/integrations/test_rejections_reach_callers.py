"""An API that refuses every token: with each client library, callers get its own answer."""

import asyncio
from contextlib import contextmanager
from functools import partial

import aiohttp
import anyio
import grpc
import grpc.aio
import pytest
import requests
from azure.core import AsyncPipelineClient
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.pipeline.policies import AsyncBearerTokenCredentialPolicy
from integrations.azure.pipelines import SCOPE, below_for, client_of, send, send_async
from integrations.grpc.server import GET, GUARD_SECONDS, LIST, served, with_tokens_of
from kit.httpx_packages import PACKAGES, auth_for

from tokenkeeper import TokenKeeper
from tokenkeeper._renewal.rejections import QUICK_RENEWALS
from tokenkeeper.integrations.aiohttp import KeeperMiddleware
from tokenkeeper.integrations.azure import AsyncKeeperCredential
from tokenkeeper.integrations.azure_transport import AsyncRenewingTransport
from tokenkeeper.integrations.grpc import RenewingInterceptor
from tokenkeeper.integrations.grpc_aio import renewing_interceptors
from tokenkeeper.testing import StaticProvider, SteppedClock

CALLS = 12


def by_requests(keeper, api, stream=False):
    with requests.get(api.url, auth=keeper.auth("api"), stream=stream, timeout=30) as answer:
        return answer.status_code, answer.content


def by_httpx(httpx, keeper, api):
    answer = httpx.get(api.url, auth=auth_for(httpx)(keeper, "api"))
    return answer.status_code, answer.content


def by_httpx_stream(httpx, keeper, api):
    with (
        httpx.Client(auth=auth_for(httpx)(keeper, "api")) as client,
        client.stream("GET", api.url) as answer,
    ):
        return answer.status_code, answer.read()


def by_httpx_async(httpx, backend, keeper, api):
    async def main():
        async with httpx.AsyncClient(auth=auth_for(httpx)(keeper, "api")) as client:
            answer = await client.get(api.url)
            return answer.status_code, answer.content

    return anyio.run(main, backend=backend)


def by_aiohttp(keeper, api):
    async def main():
        middleware = KeeperMiddleware(keeper, "api", allowed_hosts=[api.place])
        async with (
            aiohttp.ClientSession(middlewares=[middleware]) as session,
            session.get(api.url) as answer,
        ):
            return answer.status, await answer.read()

    return asyncio.run(main())


def by_azure(keeper, api, stream=False):
    with client_of(keeper, api) as client:
        answer = send(client, api.url, stream=stream)
        return answer.status_code, answer.read()


def by_azure_async(backend, keeper, api):
    async def main():
        credential = AsyncKeeperCredential(keeper, "api")
        assert isinstance(credential, AsyncTokenCredential)
        policies = [AsyncBearerTokenCredentialPolicy(credential, SCOPE)]
        transport = AsyncRenewingTransport(keeper, "api", below_for(backend))
        async with AsyncPipelineClient(api.url, policies=policies, transport=transport) as client:
            answer = await send_async(client, api.url)
            return answer.status_code, await answer.read()

    return anyio.run(main, backend=backend)


@contextmanager
def a_channel(keeper, api):
    with (
        served(api) as (_, address, trusted),
        grpc.secure_channel(address, with_tokens_of(keeper, trusted)) as channel,
    ):
        yield grpc.intercept_channel(channel, RenewingInterceptor(keeper, "api"))


def by_grpc(keeper, api, kind=GET):
    with a_channel(keeper, api) as channel:
        try:
            if kind == GET:
                return channel.unary_unary(GET)(b"", timeout=GUARD_SECONDS)
            return list(channel.unary_stream(LIST)(b"ab", timeout=GUARD_SECONDS))
        except grpc.RpcError as error:
            return refusal(error)


def by_grpc_aio(keeper, api, kind=GET):
    async def main(address, trusted):
        async with grpc.aio.secure_channel(
            address,
            with_tokens_of(keeper, trusted),
            interceptors=renewing_interceptors(keeper, "api"),
        ) as channel:
            try:
                if kind == GET:
                    return await channel.unary_unary(GET)(b"", timeout=GUARD_SECONDS)
                return [
                    answer
                    async for answer in channel.unary_stream(LIST)(b"ab", timeout=GUARD_SECONDS)
                ]
            except grpc.aio.AioRpcError as error:
                return refusal(error)

    with served(api) as (_, address, trusted):
        return asyncio.run(main(address, trusted))


def refusal(error):
    """Return the status and body that correspond to a gRPC error."""
    is_refusal = error.code() is grpc.StatusCode.UNAUTHENTICATED
    return 401 if is_refusal else error.code(), error.details().encode()


CLIENTS = [
    pytest.param(by_requests, id="requests"),
    pytest.param(partial(by_requests, stream=True), id="requests, streamed"),
    *[
        pytest.param(partial(call, package, *options), id=f"{name}{how}")
        for name, package in PACKAGES.items()
        for how, call, options in [
            ("", by_httpx, ()),
            (", streamed", by_httpx_stream, ()),
            (", asyncio", by_httpx_async, ("asyncio",)),
            (", trio", by_httpx_async, ("trio",)),
        ]
    ],
    pytest.param(by_aiohttp, id="aiohttp"),
    pytest.param(by_azure, id="azure"),
    pytest.param(partial(by_azure, stream=True), id="azure, streamed"),
    pytest.param(partial(by_azure_async, "asyncio"), id="azure, asyncio"),
    pytest.param(partial(by_azure_async, "trio"), id="azure, trio"),
    pytest.param(by_grpc, id="grpc"),
    pytest.param(partial(by_grpc, kind=LIST), id="grpc, many answers"),
    pytest.param(by_grpc_aio, id="grpc.aio"),
    pytest.param(partial(by_grpc_aio, kind=LIST), id="grpc.aio, many answers"),
]


@pytest.mark.slow
@pytest.mark.parametrize("call", CLIENTS)
def test_tokens_that_are_refused_one_after_the_other(api, provider, keeper, call):
    """Callers get the API's own answer, and the token endpoint only a few requests."""
    provider.good = False
    provider.takes = 0
    for _ in range(CALLS):
        assert call(keeper, api) == (401, b"no")
    assert provider.minted == 1 + QUICK_RENEWALS
    assert len(api.tokens) == CALLS + QUICK_RENEWALS
    assert keeper.health()["providers"]["api"]["status"] == "degraded"
    api.valid.add(keeper.get_token("api"))
    assert call(keeper, api) != (401, b"no")


@pytest.mark.parametrize("call", CLIENTS)
def test_a_refused_token_that_is_granted_again(api, call):
    """The same holds from the first call on if the server grants no other token."""
    clock = SteppedClock(auto_step="retries")
    with TokenKeeper(clock=clock) as keeper:
        provider = StaticProvider("api", "token-1", clock=clock)
        keeper.add_provider(provider)
        for _ in range(3):
            assert call(keeper, api) == (401, b"no")
        assert len(api.tokens) <= 4
        api.valid.add("token-1")
        assert call(keeper, api) != (401, b"no")


@pytest.mark.parametrize("call", [pytest.param(by_azure, id="azure")])
def test_endless_claims_challenges(api, provider, keeper, call):
    """An API that challenges each new token for claims causes few token requests."""
    api.challenge = 'Bearer error="insufficient_claims", claims="e30="'
    provider.good = False
    provider.takes = 0
    for _ in range(CALLS):
        assert call(keeper, api)[0] == 401
    assert provider.minted <= 1 + QUICK_RENEWALS
