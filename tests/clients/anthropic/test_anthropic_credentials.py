"""``anthropic``: its ``credentials=``, which ask for another token after a refusal."""

import threading

import anthropic
import pytest
from kit.guards import GUARD_SECONDS
from kit.servers.model_api import WORDS

from tokenkeeper.integrations.anthropic import AsyncKeeperCredentials, KeeperCredentials

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


def test_a_late_refusal(source, requests_of):
    """A thread whose token was replaced already gets the new one, without another renewal."""
    credentials = KeeperCredentials(source)
    first = credentials().token
    new = source.renew_refused(first)
    assert credentials(force_refresh=True).token == new
    assert requests_of() == 2


def test_a_refusal_elsewhere(source, requests_of, crowd):
    """A thread that had no token before takes the current one for the refused one."""
    credentials = KeeperCredentials(source)
    first = credentials().token
    [new] = crowd(1, lambda: credentials(force_refresh=True).token)
    assert new != first
    assert requests_of() == 2


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
