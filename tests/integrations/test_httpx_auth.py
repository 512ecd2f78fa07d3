"""``auth=`` for httpx, blocking and async, against a real API that refuses tokens."""

import anyio
import httpx
import pytest

from tokenkeeper import InvalidConfigurationError
from tokenkeeper.integrations.httpx import KeeperAuth

CROWD = httpx.Limits(max_connections=None)


@pytest.fixture
def auth(keeper):
    return KeeperAuth(keeper, "api")


@pytest.fixture
def client(auth):
    """Return a blocking client whose every request carries the token."""
    with httpx.Client(auth=auth, follow_redirects=True, timeout=30, limits=CROWD) as client:
        yield client


def test_a_revoked_token(api, provider, client):
    """A 401 renews once and sends the request again."""
    assert client.get(api.url).json()["token"] == "token-1"
    api.valid.clear()
    answer = client.post(api.url + "/x", json={"a": 1})
    assert answer.json() == {"path": "/x", "token": "token-2", "body": '{"a":1}'}
    assert provider.minted == 2


def test_a_second_refusal(api, provider, client):
    """The second 401 is the caller's."""
    provider.good = False
    assert client.get(api.url).status_code == 401
    assert api.tokens == ["token-1", "token-2"]


def test_a_crowd_of_threads(api, provider, client, crowd):
    """Of 200 calls at once, all refused, each succeeds, with one renewal for all."""
    client.get(api.url)
    api.valid.clear()
    assert set(crowd(200, lambda: client.get(api.url).json()["token"])) == {"token-2"}
    assert provider.minted == 2


@pytest.mark.anyio
async def test_a_crowd_of_tasks(api, provider, auth, anyio_backend):
    """The same for tasks, under asyncio and trio."""
    tokens = []
    async with httpx.AsyncClient(auth=auth, timeout=30, limits=CROWD) as client:
        await client.get(api.url)
        api.valid.clear()

        async def call():
            tokens.append((await client.get(api.url)).json()["token"])

        async with anyio.create_task_group() as tasks:
            for _ in range(200):
                tasks.start_soon(call)
    assert tokens == ["token-2"] * 200
    assert provider.minted == 2


@pytest.mark.anyio
async def test_an_async_stream_is_not_sent_again(api, auth, anyio_backend):
    """A body from an async iterator is used up: the caller gets the 401, and the next a token."""

    async def body():
        yield b"a"
        yield b"b"

    async with httpx.AsyncClient(auth=auth, timeout=30) as client:
        await client.get(api.url)
        api.valid.clear()
        assert (await client.put(api.url, content=body())).status_code == 401
        assert (await client.put(api.url, content=body())).json()["body"] == "ab"


def test_a_body_that_is_used_up(api, client):
    """So is a generator's."""
    client.get(api.url)
    api.valid.clear()
    assert client.put(api.url, content=(part for part in [b"a", b"b"])).status_code == 401
    assert client.put(api.url, content=(part for part in [b"a", b"b"])).json()["body"] == "ab"


def test_a_redirect_on_the_same_host(api, client):
    """The token goes along with a redirect, and may be renewed at its end."""
    client.get(api.url)
    api.valid.clear()
    assert client.get(api.url + "/to//end").json() == {
        "path": "/end",
        "token": "token-2",
        "body": "",
    }


def test_a_redirect_to_somebody_else(api, elsewhere, provider, client):
    """The token stays here; that the other one wants one too renews nothing."""
    assert client.get(api.url + "/to/" + elsewhere.url + "/end").status_code == 401
    assert elsewhere.tokens == [None]
    assert provider.minted == 1


def test_hosts_that_are_not_allowed(api, keeper):
    """A call to a host that the token is not for is refused before anything is sent."""
    auth = KeeperAuth(keeper, "api", allowed_hosts=["api.example.com"])
    with pytest.raises(InvalidConfigurationError, match=r"not for '127\.0\.0\.1'"):
        httpx.get(api.url, auth=auth)
    assert api.seen == []


def test_a_connection_that_breaks(api, client):
    """What httpx raises comes through, and the next call works."""
    client.get(api.url)
    api.drops = 1
    with pytest.raises(httpx.RemoteProtocolError):
        client.post(api.url)
    assert client.post(api.url).is_success


def test_a_streamed_answer(api, client):
    """A streamed answer is that to the second request."""
    client.get(api.url)
    api.valid.clear()
    with client.stream("GET", api.url) as answer:
        assert b"token-2" in answer.read()
