"""``anthropic``: its ``credentials=``, which ask for another token after a refusal."""

import asyncio
import contextvars
import threading

import anthropic
import pytest
from kit.guards import GUARD_SECONDS
from kit.servers.model_api import WORDS

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.anthropic import AsyncKeeperCredentials, KeeperCredentials
from tokenkeeper.testing import StaticProvider

ANSWER = "".join(WORDS)
CROWD = 8
PROMPT = {"model": "any", "max_tokens": 9, "messages": [{"role": "user", "content": "?"}]}


def ask(client):
    return client.messages.create(**PROMPT).content[0].text


async def ask_async(client):
    return (await client.messages.create(**PROMPT)).content[0].text


@pytest.fixture
def client(api, source):
    """Return a client with our credentials."""
    with anthropic.Anthropic(base_url=api.origin, credentials=KeeperCredentials(source)) as client:
        yield client


@pytest.fixture
async def async_client(api, source, anyio_backend):
    """Return an async one."""
    async with anthropic.AsyncAnthropic(
        base_url=api.origin, credentials=AsyncKeeperCredentials(source)
    ) as client:
        yield client


def test_a_crowd_of_threads(server, client, requests_of, crowd):
    """Threads whose token is revoked all go on, with one renewal, or a second one at most."""
    barrier = threading.Barrier(CROWD, action=server.revoke_all)

    def job():
        ask(client)
        barrier.wait(GUARD_SECONDS)
        return ask(client)

    assert crowd(CROWD, job) == [ANSWER] * CROWD
    assert requests_of() == 2


@pytest.mark.anyio
async def test_a_crowd_of_tasks(server, async_client, requests_of, crowd_of_tasks):
    """The same holds for tasks."""
    assert await ask_async(async_client) == ANSWER
    server.revoke_all()
    assert await crowd_of_tasks(CROWD, lambda: ask_async(async_client)) == [ANSWER] * CROWD
    assert requests_of() == 2


def blocking(source):
    """Return a function that asks our credentials for a token."""
    credentials = KeeperCredentials(source)
    return lambda **options: credentials(**options).token


def awaited(source):
    """Return the same for async credentials."""
    credentials = AsyncKeeperCredentials(source)

    async def token(**options):
        return (await credentials(**options)).token

    context = contextvars.copy_context()  # as if one task made each call

    def run(**options):
        with asyncio.Runner() as runner:
            return runner.run(token(**options), context=context)

    return run


EACH = pytest.mark.parametrize("kind", [blocking, awaited])


@EACH
def test_a_late_refusal(source, requests_of, kind):
    """A thread whose token was replaced already gets the new one, without another renewal."""
    token = kind(source)
    new = source.renew_refused(token())
    assert token(force_refresh=True) == new
    assert requests_of() == 2


@EACH
def test_a_refusal_elsewhere(source, requests_of, crowd, kind):
    """A thread that had no token before takes the current one for the refused one."""
    first = source.get_token()
    assert crowd(1, lambda: kind(source)(force_refresh=True)) != [first]
    assert requests_of() == 2


@EACH
def test_no_other_token(kind):
    """If the server grants no other token, the client sends the request with the same one."""
    with TokenKeeper() as keeper:
        keeper.add_provider(StaticProvider("api", "only"))
        token = kind(keeper.source("api"))
        assert token() == token(force_refresh=True) == "only"


def test_a_renewal_elsewhere(api, client, source):
    """A token that was renewed for another reason is used in the next request."""
    ask(client)
    new = source.get_token(force_refresh=True)
    ask(client)
    assert api.bearers[-1] == new


def test_two_sources(server, keeper, requests_of):
    """The tokens of two credentials in one thread are not mixed up."""
    keeper.add_provider(server.provider("other"))
    one, other = (KeeperCredentials(keeper, name) for name in ("api", "other"))
    first = one().token
    second = other().token
    assert one(force_refresh=True).token not in (first, second)
    assert other().token == second


def test_without_retries(server, client, requests_of):
    """With ``max_retries=0`` the client does not report the refusal, so calls go on to fail."""
    eager = client.with_options(max_retries=0)
    ask(eager)
    server.revoke_all()
    for _ in range(2):
        with pytest.raises(anthropic.AuthenticationError):
            ask(eager)
    assert requests_of() == 1


def test_an_api_that_refuses_every_token(api, client, requests_of):
    """The caller gets the API's own answer, after one more request with a new token."""
    api.accepts = lambda token: False
    with pytest.raises(anthropic.AuthenticationError):
        ask(client)
    assert len(set(api.bearers)) == 2
    assert requests_of() == 2


def test_the_header_of_the_sdk(api, client):
    """The client adds the header by which Anthropic's API accepts such tokens."""
    ask(client)
    assert "oauth" in api.received[0].headers["anthropic-beta"]
