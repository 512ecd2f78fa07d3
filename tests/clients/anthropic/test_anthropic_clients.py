"""``anthropic``: what its clients do when the API refuses a token."""

import anthropic
import pytest
from kit.servers.model_api import WORDS

from tokenkeeper import TokenAcquisitionError
from tokenkeeper.integrations.anthropic import async_http_client, http_client

ANSWER = "".join(WORDS)
CROWD = 12
PROMPT = {"model": "any", "max_tokens": 9, "messages": [{"role": "user", "content": "?"}]}


def ask(client):
    return client.messages.create(**PROMPT).content[0].text


def ask_streaming(client):
    with client.messages.stream(**PROMPT) as stream:
        return "".join(stream.text_stream)


async def ask_async(client):
    return (await client.messages.create(**PROMPT)).content[0].text


async def ask_async_streaming(client):
    async with client.messages.stream(**PROMPT) as stream:
        return "".join([text async for text in stream.text_stream])


@pytest.fixture
def client(api, source):
    """Return a client whose HTTP client has the token."""
    with anthropic.Anthropic(
        base_url=api.origin, auth_token="unused", http_client=http_client(source)
    ) as client:
        yield client


@pytest.fixture
async def async_client(api, source, anyio_backend):
    """Return an async one."""
    async with anthropic.AsyncAnthropic(
        base_url=api.origin, auth_token="unused", http_client=async_http_client(source)
    ) as client:
        yield client


@pytest.mark.parametrize("ask", [ask, ask_streaming])
def test_a_crowd_of_threads(server, client, requests_of, crowd, ask):
    """Threads whose token is revoked between their calls all go on, with one renewal."""
    assert ask(client) == ANSWER
    server.revoke_all()
    assert crowd(CROWD, lambda: ask(client)) == [ANSWER] * CROWD
    assert requests_of() == 2


def test_a_token_revoked_in_the_middle(api, client, requests_of, crowd):
    """Threads whose token is revoked while they use it all go on, with one renewal."""
    api.revoke_at = 20
    answers = crowd(CROWD, lambda: [ask(client), ask_streaming(client), ask(client)])
    assert answers == [[ANSWER] * 3] * CROWD
    assert requests_of() == 2


@pytest.mark.parametrize("ask", [ask_async, ask_async_streaming])
@pytest.mark.anyio
async def test_a_crowd_of_tasks(server, async_client, requests_of, crowd_of_tasks, ask):
    """The same holds for tasks."""
    assert await ask(async_client) == ANSWER
    server.revoke_all()
    assert await crowd_of_tasks(CROWD, lambda: ask(async_client)) == [ANSWER] * CROWD
    assert requests_of() == 2


def test_no_retries_are_needed(server, client, requests_of):
    """A refused token is replaced even if the client makes no retries."""
    eager = client.with_options(max_retries=0)
    ask(eager)
    server.revoke_all()
    assert ask(eager) == ANSWER
    assert requests_of() == 2


def test_no_token(api, server, client):
    """Without a token, the client raises its own error, whose cause is the keeper's."""
    server.refuse(times=3)
    with pytest.raises(anthropic.APIConnectionError) as raised:
        ask(client.with_options(max_retries=0))
    assert isinstance(raised.value.__cause__, TokenAcquisitionError)
    assert api.received == []


def test_an_outage(server, client):
    """While the token is valid, an outage of the authorization server changes nothing."""
    ask(client)
    with server.outage():
        assert ask(client) == ANSWER


def test_a_key_of_the_environment(api, client, source, monkeypatch):
    """A key in ``ANTHROPIC_API_KEY`` is not sent along."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-other")
    with anthropic.Anthropic(
        base_url=api.origin, auth_token="unused", http_client=http_client(source)
    ) as client:
        assert ask(client) == ANSWER
    assert "x-api-key" not in api.received[0].headers


def test_the_example(api, run_example):
    """The page's program prints the model's answer."""
    assert run_example("anthropic", ANTHROPIC_BASE_URL=api.origin, MODEL="any") == f"{ANSWER}\n"
