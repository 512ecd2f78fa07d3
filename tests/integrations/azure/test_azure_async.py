"""Async Azure clients that renew refused tokens, under asyncio and trio."""

import asyncio
import io

import aiohttp
import pytest
from azure.core import AsyncPipelineClient
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline.policies import AsyncBearerTokenCredentialPolicy
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.rest import HttpRequest
from integrations.azure.pipelines import SCOPE, below_for, send_async

from tokenkeeper import KeeperClosedError
from tokenkeeper.integrations.azure import AsyncKeeperCredential
from tokenkeeper.integrations.azure_transport import AsyncRenewingTransport


@pytest.mark.anyio
async def test_async_a_revoked_token(api, provider, async_client):
    """A 401 renews the token and sends the request again; the caller gets a second refusal."""
    await send_async(async_client, api.url)
    api.valid.clear()
    answer = await send_async(async_client, api.url, "POST", content=b"x")
    assert answer.json()["body"] == "x"
    assert (await send_async(async_client, api.url)).json()["token"] == "token-2"
    assert api.tokens == ["token-1", "token-1", "token-2", "token-2"]
    provider.good = False
    api.valid.clear()
    assert (await send_async(async_client, api.url)).status_code == 401
    assert provider.minted == 3


@pytest.mark.slow
@pytest.mark.anyio
async def test_async_crowd(api, provider, async_client, crowd_of_tasks):
    """200 concurrent tasks that are all refused succeed, with one renewal."""

    async def call():
        return (await send_async(async_client, api.url)).json()["token"]

    await call()
    api.valid.clear()
    assert await crowd_of_tasks(200, call) == ["token-2"] * 200
    assert provider.minted == 2


@pytest.mark.slow
@pytest.mark.anyio
async def test_async_token_revoked_in_the_middle(api, provider, async_client, crowd_of_tasks):
    """A token is revoked while 200 tasks use it: all of them go on, with one renewal."""

    async def three():
        return [(await send_async(async_client, api.url)).json()["token"] for _ in range(3)]

    await send_async(async_client, api.url)
    api.revoke_at = 300
    answers = await crowd_of_tasks(200, three)
    assert [len(tokens) for tokens in answers] == [3] * 200
    assert {token for tokens in answers for token in tokens} == {"token-1", "token-2"}
    assert provider.minted == 2


@pytest.mark.anyio
async def test_a_task_that_is_cancelled_in_a_renewal(
    api, provider, async_client, cancel_in_a_renewal
):
    """The renewal goes on for other callers."""
    await send_async(async_client, api.url)
    api.valid.clear()
    await cancel_in_a_renewal(send_async, async_client, api.url)
    assert (await send_async(async_client, api.url)).json()["token"] == "token-2"
    assert provider.minted == 2


@pytest.mark.anyio
async def test_async_bodies_and_hosts(api, elsewhere, async_client):
    """Streamed responses, consumed bodies and redirects are handled as in blocking clients."""
    await send_async(async_client, api.url)
    api.valid.clear()
    async with await send_async(async_client, api.url, stream=True) as answer:
        assert b"token-2" in b"".join([part async for part in answer.iter_bytes()])
    api.valid.clear()
    answer = await send_async(async_client, api.url, "PUT", content=io.BytesIO(b"ab"))
    assert answer.json()["body"] == "ab"
    api.valid.clear()
    files = {"file": io.BytesIO(b"ab")}
    assert (await send_async(async_client, api.url, "PUT", files=files)).status_code == 401
    assert (await send_async(async_client, api.url)).json()["token"] == "token-4"
    other = elsewhere.url.replace("127.0.0.1", "localhost")
    with pytest.raises(ClientAuthenticationError, match="must not be sent to 'localhost:"):
        await send_async(async_client, api.url + "/to/" + other)
    assert elsewhere.seen == []


def test_an_async_streamed_answer(api, keeper):
    """A refused streamed response of any length frees its connection."""
    api.refusal = b"no" * 2**20

    async def stream():
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(connector=connector) as session:
            below = AioHttpTransport(session=session, session_owner=False)
            transport = AsyncRenewingTransport(keeper, "api", below)
            policy = AsyncBearerTokenCredentialPolicy(AsyncKeeperCredential(keeper, "api"), SCOPE)
            async with AsyncPipelineClient(
                api.url, policies=[policy], transport=transport
            ) as client:
                await send_async(client, api.url)
                api.valid.clear()
                async with await send_async(client, api.url, stream=True) as answer:
                    return b"".join([part async for part in answer.iter_bytes()])

    assert b"token-2" in asyncio.run(stream())


@pytest.mark.anyio
async def test_async_no_new_token(api, keeper, anyio_backend):
    """If a refused token can't be renewed, the error explains why."""
    transport = AsyncRenewingTransport(keeper, "api", below_for(anyio_backend))
    request = HttpRequest("GET", api.url, headers={"Authorization": "Bearer old"})
    async with transport:
        keeper.close()
        with pytest.raises(ClientAuthenticationError, match="closed") as raised:
            await transport.send(request)
        await transport.sleep(0)
    assert isinstance(raised.value.__cause__, KeeperClosedError)
