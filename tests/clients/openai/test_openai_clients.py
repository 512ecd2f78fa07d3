"""``openai``: what its clients do when the API refuses a token."""

import openai
import pytest
from kit.servers.model_api import WORDS, ModelApi

from tokenkeeper import (
    InvalidConfigurationError,
    OAuth2Error,
    TokenAcquisitionError,
    TokenKeeper,
)
from tokenkeeper.integrations.openai import async_http_client, http_client
from tokenkeeper.testing import LoopbackAuthorizationServer, SteppedClock

ANSWER = "".join(WORDS)
CROWD = 12
PROMPT = {"model": "any", "messages": [{"role": "user", "content": "?"}]}


def ask(client):
    return client.chat.completions.create(**PROMPT).choices[0].message.content


def ask_streaming(client):
    with client.chat.completions.create(**PROMPT, stream=True) as stream:
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream)


async def ask_async(client):
    return (await client.chat.completions.create(**PROMPT)).choices[0].message.content


async def ask_async_streaming(client):
    async with await client.chat.completions.create(**PROMPT, stream=True) as stream:
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])


def openai_client(api, source):
    return openai.OpenAI(base_url=api.url, api_key=source, http_client=http_client(source))


def azure_client(api, source):
    return openai.AzureOpenAI(
        azure_endpoint=api.origin,
        azure_ad_token_provider=source,
        api_version="2024-10-21",
        http_client=http_client(source),
    )


def async_openai_client(api, source):
    return openai.AsyncOpenAI(
        base_url=api.url, api_key=source.aio.get_token, http_client=async_http_client(source)
    )


def async_azure_client(api, source):
    return openai.AsyncAzureOpenAI(
        azure_endpoint=api.origin,
        azure_ad_token_provider=source.aio.get_token,
        api_version="2024-10-21",
        http_client=async_http_client(source),
    )


@pytest.mark.parametrize("make", [openai_client, azure_client])
@pytest.mark.parametrize("ask", [ask, ask_streaming])
def test_a_crowd_of_threads(api, server, source, requests_of, crowd, make, ask):
    """Threads whose token is revoked between their calls all go on, with one renewal."""
    with make(api, source) as client:
        assert ask(client) == ANSWER
        server.revoke_all()
        assert crowd(CROWD, lambda: ask(client)) == [ANSWER] * CROWD
    assert requests_of() == 2


def test_a_token_revoked_in_the_middle(api, source, requests_of, crowd):
    """Threads whose token is revoked while they use it all go on, with one renewal."""
    with openai_client(api, source) as client:
        api.revoke_at = 20
        answers = crowd(CROWD, lambda: [ask(client), ask_streaming(client), ask(client)])
    assert answers == [[ANSWER] * 3] * CROWD
    assert requests_of() == 2


@pytest.mark.parametrize("make", [async_openai_client, async_azure_client])
@pytest.mark.anyio
async def test_a_crowd_of_tasks(api, server, source, requests_of, crowd_of_tasks, make):
    """The same holds for tasks."""
    async with make(api, source) as client:
        assert await ask_async(client) == ANSWER
        server.revoke_all()
        assert await crowd_of_tasks(CROWD, lambda: ask_async(client)) == [ANSWER] * CROWD
    assert requests_of() == 2


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # under trio, openai's streams leak
async def test_a_crowd_of_streaming_tasks(
    api, server, source, requests_of, crowd_of_tasks, anyio_backend
):
    """The same holds for tasks that stream."""
    async with async_openai_client(api, source) as client:
        assert await ask_async_streaming(client) == ANSWER
        server.revoke_all()
        answers = await crowd_of_tasks(CROWD, lambda: ask_async_streaming(client))
    assert answers == [ANSWER] * CROWD
    assert requests_of() == 2


def test_a_function_hears_of_no_refusal(api, server, source, requests_of):
    """With ``api_key=source`` alone, every call fails until the revoked token expires."""
    with openai.OpenAI(base_url=api.url, api_key=source) as client:
        assert ask(client) == ANSWER
        server.revoke_all()
        for _ in range(3):
            with pytest.raises(openai.AuthenticationError):
                ask(client)
        assert requests_of() == 1
        source.renew_refused(api.bearers[-1])
        assert ask(client) == ANSWER


@pytest.mark.anyio
async def test_a_function_of_an_async_client(api, server, source, requests_of):
    """The same holds for an async client, which can only await a function."""
    async with openai.AsyncOpenAI(base_url=api.url, api_key=source.aio.get_token) as client:
        assert await ask_async(client) == ANSWER
        server.revoke_all()
        with pytest.raises(openai.AuthenticationError):
            await ask_async(client)
    assert requests_of() == 1


def test_a_token_that_expires():
    """A token that expired on an open connection is renewed before the next request."""
    clock = SteppedClock()
    with (
        LoopbackAuthorizationServer(clock=clock) as server,
        TokenKeeper(clock=clock) as keeper,
        ModelApi(server) as api,
    ):
        keeper.add_provider(server.provider("api"))
        with openai_client(api, keeper.source("api")) as client:
            assert ask(client) == ANSWER
            clock.step(server.lifetime_seconds)
            assert ask(client) == ANSWER
        assert len(set(api.bearers)) == len(api.received) == 2
        assert api.connections == 1


def test_an_outage(api, server, source):
    """While the token is valid, an outage of the authorization server changes nothing."""
    with openai_client(api, source) as client:
        ask(client)
        with server.outage():
            assert ask(client) == ANSWER


def test_the_key_of_the_environment(api, source, monkeypatch):
    """A key in ``OPENAI_API_KEY`` is replaced by the token."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    with openai.OpenAI(base_url=api.url, http_client=http_client(source)) as client:
        assert ask(client) == ANSWER
    assert api.bearers == [source()]


def error_of(client):
    """Return the keeper's error that a call raises; older versions of openai wrap it."""
    with pytest.raises((OAuth2Error, openai.APIConnectionError)) as raised:
        ask(client.with_options(max_retries=0))
    return raised.value.__cause__ or raised.value


def test_other_hosts(api, source):
    """A host that is not allowed gets no token."""
    limited = http_client(source, allowed_hosts=["api.example.com"])
    with openai.OpenAI(base_url=api.url, api_key="unused", http_client=limited) as client:
        assert isinstance(error_of(client), InvalidConfigurationError)
    assert api.received == []


def test_no_token(api, server, source):
    """Without a token, the keeper's own error is raised, and nothing is sent."""
    server.refuse(times=2)
    with openai_client(api, source) as client:
        assert isinstance(error_of(client), TokenAcquisitionError)
    assert api.received == []


def test_the_example(api, run_example):
    """The page's program prints the model's answer."""
    assert run_example("openai", OPENAI_BASE_URL=api.url, MODEL="any") == f"{ANSWER}\n"
