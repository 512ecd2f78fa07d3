"""``auth=`` for httpx, blocking and async, against a real API that refuses tokens."""

import io

import anyio
import httpx
import pytest

from tokenkeeper import (
    InvalidConfigurationError,
    KeeperClosedError,
    TokenAcquisitionError,
    TokenRefreshError,
    TokenWaitTimeoutError,
    UnknownProviderError,
)
from tokenkeeper.integrations.httpx import KeeperAuth

CROWD = httpx.Limits(max_connections=None)
ONE = httpx.Limits(max_connections=1)


@pytest.fixture
def auth(keeper):
    return KeeperAuth(keeper, "api")


@pytest.fixture
async def async_client(auth, anyio_backend):
    """Return an async client whose every request carries the token, for asyncio and trio."""
    async with httpx.AsyncClient(
        auth=auth, follow_redirects=True, timeout=30, limits=CROWD
    ) as client:
        yield client


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


def test_a_token_revoked_in_the_middle(api, provider, client, crowd):
    """While 200 callers are at it the token is revoked: each goes on, with one renewal for all."""
    client.get(api.url)
    api.revoke_at = 300
    answers = crowd(200, lambda: [client.get(api.url).json()["token"] for _ in range(3)])
    assert {token for tokens in answers for token in tokens} == {"token-1", "token-2"}
    assert provider.minted == 2


def test_a_crowd_of_threads(api, provider, client, crowd):
    """Of 200 calls at once, all refused, each succeeds, with one renewal for all."""
    client.get(api.url)
    api.valid.clear()
    assert set(crowd(200, lambda: client.get(api.url).json()["token"])) == {"token-2"}
    assert provider.minted == 2


@pytest.mark.anyio
async def test_a_crowd_of_tasks(api, provider, async_client):
    """The same for tasks, under asyncio and trio."""
    tokens = []
    await async_client.get(api.url)
    api.valid.clear()

    async def call():
        tokens.append((await async_client.get(api.url)).json()["token"])

    async with anyio.create_task_group() as tasks:
        for _ in range(200):
            tasks.start_soon(call)
    assert tokens == ["token-2"] * 200
    assert provider.minted == 2


@pytest.mark.anyio
async def test_a_token_of_tasks_revoked_in_the_middle(api, provider, async_client):
    """While 200 tasks are at it the token is revoked: each goes on, with one renewal for all."""
    tokens = []
    await async_client.get(api.url)
    api.revoke_at = 300

    async def call():
        answers = [await async_client.get(api.url) for _ in range(3)]
        tokens.extend(answer.json()["token"] for answer in answers)

    async with anyio.create_task_group() as tasks:
        for _ in range(200):
            tasks.start_soon(call)
    assert len(tokens) == 600
    assert set(tokens) == {"token-1", "token-2"}
    assert provider.minted == 2


@pytest.mark.anyio
async def test_an_async_stream_is_not_sent_again(api, async_client):
    """A body from an async iterator is used up: the caller gets the 401, and the next a token."""

    async def body():
        yield b"a"
        yield b"b"

    await async_client.get(api.url)
    api.valid.clear()
    assert (await async_client.put(api.url, content=body())).status_code == 401
    assert (await async_client.put(api.url, content=body())).json()["body"] == "ab"


@pytest.mark.anyio
async def test_async_requests(api, provider, elsewhere, async_client):
    """Tasks meet refusals, redirects and broken connections as threads do."""
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
    """A form with a file is sent again; streamed answers are those to the second request."""
    await async_client.get(api.url)
    api.valid.clear()
    answer = await async_client.post(api.url, files={"f": io.BytesIO(b"whole")})
    assert "whole" in answer.json()["body"]
    api.valid.clear()
    async with async_client.stream("GET", api.url) as answer:
        assert b"token-3" in await answer.aread()


@pytest.mark.anyio
async def test_a_task_that_is_cancelled_in_a_renewal(api, auth, provider, anyio_backend):
    """It gives its connection back, and the renewal goes on for the others."""
    async with httpx.AsyncClient(auth=auth, timeout=30, limits=ONE) as client:
        await client.get(api.url)
        api.valid.clear()
        provider.open.clear()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.get, api.url)
            with anyio.fail_after(30):
                while provider.asked == 1:
                    await anyio.sleep(0)
            tasks.cancel_scope.cancel()
        provider.open.set()
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


def test_a_body_that_is_used_up(api, client):
    """So is a generator's."""
    client.get(api.url)
    api.valid.clear()
    assert client.put(api.url, content=(part for part in [b"a", b"b"])).status_code == 401
    assert client.put(api.url, content=(part for part in [b"a", b"b"])).json()["body"] == "ab"


@pytest.mark.anyio
async def test_a_refusal_in_the_middle_of_a_body(api, client, async_client):
    """A body that the server did not wait for is sent again whole."""
    big = b"0123456789abcdef" * 2**18
    api.faults = ["early"]
    assert client.put(api.url, content=big).is_success
    assert api.seen[-1] == ("/", "token-2", big)
    api.faults = ["early"]
    assert (await async_client.put(api.url, content=big)).is_success
    assert api.seen[-1] == ("/", "token-3", big)


@pytest.mark.parametrize("kind", ["bytes", "text", "seekable"])
def test_a_form_with_a_file(api, client, kind):
    """A form is sent again, if its files can be read again."""
    file = {"bytes": b"whole", "text": "whole", "seekable": io.BytesIO(b"whole")}[kind]
    client.get(api.url)
    api.valid.clear()
    answer = client.post(api.url, data={"a": "b"}, files={"f": file})
    assert "whole" in answer.json()["body"]


class Pipe(io.BytesIO):
    """A file that can be read but once."""

    def seekable(self):
        return False

    def seek(self, *place):
        raise io.UnsupportedOperation


class Bare:
    """What can be read, and nothing else."""

    def read(self, size=-1):
        return b""


@pytest.mark.parametrize("file", [Pipe(b"whole"), Bare()])
def test_a_form_with_a_file_that_is_used_up(api, client, file):
    """What is left of such a form would be sent without a word, so it is not sent."""
    client.get(api.url)
    api.valid.clear()
    assert client.post(api.url, files={"f": file}).status_code == 401
    assert len(api.seen) == 2


def test_a_body_that_is_used_up_waits_for_nothing(api, provider, client):
    """Whose request can't be sent again is told at once, not when there is a new token."""
    client.get(api.url)
    api.valid.clear()
    provider.open.clear()
    assert client.put(api.url, content=iter([b"a"])).status_code == 401
    provider.open.set()
    assert client.get(api.url).json()["token"] == "token-2"
    assert provider.minted == 2


def test_a_redirect_on_the_same_host(api, client):
    """The token goes along with a redirect, and may be renewed at its end."""
    client.get(api.url)
    api.valid.clear()
    assert client.get(api.url + "/to//end").json() == {
        "path": "/end",
        "token": "token-2",
        "body": "",
    }


def test_a_redirect_after_a_renewal(api, client):
    """What follows the second request shows the new token."""
    client.get(api.url)
    api.valid.clear()
    answer = client.post(api.url + "/then//end", content=b"x")
    assert answer.json() == {"path": "/end", "token": "token-2", "body": ""}
    assert api.tokens == ["token-1", "token-1", "token-2", "token-2"]


def test_a_refusal_at_the_end_of_a_redirect(api, provider, client):
    """Only the request that was refused is sent again: what the others did is done."""
    client.get(api.url)
    api.once.add("token-1")
    api.valid.clear()
    answer = client.post(api.url + "/then//end", content=b"x")
    assert answer.json()["token"] == "token-2"
    assert [path for path, *_ in api.seen[1:]] == ["/then//end", "/end", "/end"]
    assert provider.minted == 2


def test_a_body_that_a_redirect_took_along(api, client):
    """A body is sent again from where a redirect led, whatever kept it."""
    client.get(api.url)
    api.once |= {"token-1"}
    api.valid.clear()
    answer = client.put(api.url + "/then//end", content=b"x")
    assert answer.json() == {"path": "/end", "token": "token-2", "body": "x"}


def test_a_redirect_there_and_back(api, elsewhere, client):
    """A token that was left behind does not come back by a redirect."""
    back = api.url + "/to/" + elsewhere.url + "/to/" + api.url + "/end"
    assert client.get(back).status_code == 401
    assert elsewhere.tokens == [None]
    assert api.tokens == ["token-1", None]


def test_a_redirect_to_another_scheme(api, auth):
    """A redirect from https down to http leaves the token behind."""
    seen = []

    def answer(request):
        seen.append((str(request.url), request.headers.get("Authorization")))
        location = {"Location": "http://localhost/"}
        return httpx.Response(302 if request.url.scheme == "https" else 401, headers=location)

    with httpx.Client(auth=auth, transport=httpx.MockTransport(answer)) as client:
        client.get("https://localhost/", follow_redirects=True)
    assert seen == [("https://localhost/", "Bearer token-1"), ("http://localhost/", None)]


def test_hooks_of_the_caller(api, client):
    """The caller's own hooks see each request and each answer, as httpx has it."""
    client.get(api.url)
    api.valid.clear()
    seen = []
    client.event_hooks = {
        "request": [lambda request: seen.append(request.headers["Authorization"])],
        "response": [lambda answer: seen.append(answer.status_code)],
    }
    answer = client.get(api.url)
    assert seen == ["Bearer token-1", 401, "Bearer token-2", 200]
    assert [each.status_code for each in answer.history] == [401]


def test_one_request_alone(api, auth):
    """``auth=`` may be one request's, beside a header of the caller's."""
    with httpx.Client() as client:
        assert client.get(api.url, auth=auth).json()["token"] == "token-1"
        header = {"Authorization": "Bearer mine"}
        assert client.get(api.url, auth=auth, headers=header).json()["token"] == "token-1"
        assert client.get(api.url).status_code == 401


def test_a_redirect_to_somebody_else(api, elsewhere, provider, client):
    """The token stays here; that the other one wants one too renews nothing."""
    assert client.get(api.url + "/to/" + elsewhere.url + "/end").status_code == 401
    assert elsewhere.tokens == [None]
    assert provider.minted == 1


def test_hosts_that_are_not_allowed(api, keeper):
    """A call to a host that the token is not for is refused before anything is sent."""
    auth = KeeperAuth(keeper, "api", allowed_hosts=["api.example.com"])
    with pytest.raises(InvalidConfigurationError, match=r"not for '127\.0\.0\.1:"):
        httpx.get(api.url, auth=auth)
    assert api.seen == []


def test_a_connection_that_breaks(api, client):
    """What httpx raises comes through, and the next call works."""
    client.get(api.url)
    api.faults = ["drop"]
    with pytest.raises(httpx.RemoteProtocolError):
        client.post(api.url)
    assert client.post(api.url).is_success


@pytest.mark.parametrize("retries", [0, 3])
def test_a_connection_that_breaks_before_the_second_request(api, provider, auth, retries):
    """The token is new all the same, and the caller may call again."""
    transport = httpx.HTTPTransport(retries=retries)  # of connecting, and nothing else
    with httpx.Client(auth=auth, timeout=30, transport=transport) as client:
        client.get(api.url)
        api.valid.clear()
        api.faults = [None, "drop"]
        with pytest.raises(httpx.RemoteProtocolError):
            client.post(api.url)
        assert client.post(api.url).json()["token"] == "token-2"
    assert api.tokens == ["token-1", "token-1", "token-2", "token-2"]
    assert provider.minted == 2


def test_answers_that_break_off(api, provider, client):
    """The caller hears of it, and the token is new all the same."""
    client.get(api.url)
    api.valid.clear()
    api.faults = ["cut"]
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(api.url)
    assert client.get(api.url).json()["token"] == "token-2"
    assert provider.minted == 2


def test_streamed_answers(api, auth):
    """A refused streamed answer gives its connection back, and the second one streams."""
    api.refusal = b"no" * 2**20
    with httpx.Client(auth=auth, timeout=30, limits=ONE) as client:
        client.get(api.url)
        api.valid.clear()
        with client.stream("GET", api.url) as answer:
            assert b"token-2" in answer.read()
        api.valid.clear()
        with client.stream("PUT", api.url, content=iter([b"a"])) as answer:
            assert (answer.status_code, len(answer.read())) == (401, 2**21)
        assert client.get(api.url).is_success


def test_no_token(api, keeper, provider, client):
    """Where no token is to be had, the keeper's own error says why, and nothing is sent."""
    provider.failure = TokenAcquisitionError("the server is down", transient=False)
    for _ in range(2):  # asked, and told again during the cooldown
        with pytest.raises(TokenAcquisitionError, match="the server is down"):
            client.get(api.url)
    with pytest.raises(UnknownProviderError, match="'other'"):
        client.get(api.url, auth=KeeperAuth(keeper, "other"))
    keeper.close()
    with pytest.raises(KeeperClosedError):
        client.get(api.url)
    assert provider.asked == 1
    assert api.seen == []


def test_no_new_token(api, provider, client):
    """A refused token for which there is no new one ends in the keeper's error as well."""
    client.get(api.url)
    api.valid.clear()
    provider.failure = TokenAcquisitionError("the server is down", transient=False)
    with pytest.raises(TokenRefreshError, match="the server is down"):
        client.get(api.url)


def test_a_timeout_in_a_renewal(api, keeper, provider, client):
    """``timeout=`` bounds the wait for a token; the renewal goes on, and serves the next call."""
    client.get(api.url)
    api.valid.clear()
    provider.open.clear()
    with pytest.raises(TokenWaitTimeoutError):
        client.get(api.url, auth=KeeperAuth(keeper, "api", timeout=0))
    provider.open.set()
    assert client.get(api.url).json()["token"] == "token-2"
