"""``auth=`` for async clients of httpx, under asyncio and trio."""

import io

import pytest

from tokenkeeper import KeeperClosedError, TokenAcquisitionError


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_crowd_of_tasks(api, provider, async_client, crowd_of_tasks):
    """200 concurrent tasks that are all refused succeed, with one renewal."""

    async def call():
        return (await async_client.get(api.url)).json()["token"]

    await call()
    api.valid.clear()
    assert await crowd_of_tasks(200, call) == ["token-2"] * 200
    assert provider.minted == 2


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_token_of_tasks_revoked_in_the_middle(api, provider, async_client, crowd_of_tasks):
    """A token is revoked while 200 tasks use it: all of them go on, with one renewal."""

    async def three():
        return [(await async_client.get(api.url)).json()["token"] for _ in range(3)]

    await async_client.get(api.url)
    api.revoke_at = 300
    answers = await crowd_of_tasks(200, three)
    assert [len(tokens) for tokens in answers] == [3] * 200
    assert {token for tokens in answers for token in tokens} == {"token-1", "token-2"}
    assert provider.minted == 2


@pytest.mark.anyio
async def test_an_async_stream_is_not_sent_again(api, async_client):
    """An async iterator is not sent again: the caller gets the 401, the next call a new token."""

    async def body():
        yield b"a"
        yield b"b"

    await async_client.get(api.url)
    api.valid.clear()
    assert (await async_client.put(api.url, content=body())).status_code == 401
    assert (await async_client.put(api.url, content=body())).json()["body"] == "ab"


@pytest.mark.anyio
async def test_async_requests(api, provider, elsewhere, async_client, httpx):
    """Refusals, redirects and broken connections are handled as in threads."""
    assert (await async_client.get(api.url)).json()["token"] == "token-1"
    api.valid.clear()
    answer = await async_client.post(api.url + "/then//end", json={"a": 1})
    assert answer.json() == {"path": "/end", "token": "token-2", "body": ""}
    provider.good = False
    api.valid.clear()
    assert (await async_client.get(api.url)).status_code == 401
    assert (await async_client.get(f"{api.url}/to/{elsewhere.url}/end")).status_code == 401
    assert elsewhere.tokens == [None]
    provider.good = True
    api.faults = [None, "drop"]
    with pytest.raises(httpx.RemoteProtocolError):
        await async_client.post(api.url)
    assert (await async_client.post(api.url)).json()["token"] == "token-4"
    assert provider.minted == 4


@pytest.mark.anyio
async def test_async_bodies(api, async_client):
    """A form with a file is sent again; a streamed response is that of the second request."""
    await async_client.get(api.url)
    api.valid.clear()
    answer = await async_client.post(api.url, files={"f": io.BytesIO(b"whole")})
    assert "whole" in answer.json()["body"]
    api.valid.clear()
    async with async_client.stream("GET", api.url) as answer:
        assert b"token-3" in await answer.aread()


@pytest.mark.anyio
async def test_a_task_that_is_cancelled_in_a_renewal(
    api, auth, provider, anyio_backend, cancel_in_a_renewal, one, httpx
):
    """A cancelled task frees its connection, and the renewal goes on for the others."""
    async with httpx.AsyncClient(auth=auth, timeout=30, limits=one) as client:
        await client.get(api.url)
        api.valid.clear()
        await cancel_in_a_renewal(client.get, api.url)
        assert (await client.get(api.url)).json()["token"] == "token-2"
    assert provider.minted == 2


@pytest.mark.anyio
async def test_no_token_for_tasks(api, keeper, provider, async_client):
    """Tasks get the keeper's own error, and nothing is sent."""
    provider.failure = TokenAcquisitionError("the server is down", transient=False)
    for _ in range(2):
        with pytest.raises(TokenAcquisitionError, match="the server is down"):
            await async_client.get(api.url)
    keeper.close()
    with pytest.raises(KeeperClosedError):
        await async_client.get(api.url)
    assert provider.asked == 1
    assert api.seen == []
