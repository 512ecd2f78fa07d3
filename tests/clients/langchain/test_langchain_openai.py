"""``langchain-openai``: what ``ChatOpenAI`` does when the API refuses a token."""

import gc

import openai
import pytest
from kit.servers.model_api import WORDS
from langchain_openai import ChatOpenAI

from tokenkeeper.integrations.openai import async_http_client, http_client

ANSWER = "".join(WORDS)
CROWD = 8


@pytest.fixture
def model(api, source):
    """Return a chat model whose HTTP client has the token."""
    with http_client(source) as client:
        yield ChatOpenAI(model="any", base_url=api.url, api_key="unused", http_client=client)


@pytest.fixture
async def async_model(api, source, anyio_backend):
    """Return a chat model whose async HTTP client has the token."""
    async with async_http_client(source) as client:
        yield ChatOpenAI(model="any", base_url=api.url, api_key="unused", http_async_client=client)


@pytest.fixture
async def model_with(api, anyio_backend):
    """Return a function that returns a model with a key, and with clients of openai itself."""
    with openai.DefaultHttpxClient() as client:
        async with openai.DefaultAsyncHttpxClient() as async_client:
            clients = {"http_client": client, "http_async_client": async_client}
            options = {"model": "any", "base_url": api.url, "max_retries": 0, **clients}
            yield lambda key: ChatOpenAI(api_key=key, **options)


def ask(model):
    return model.invoke("?").text


def ask_streaming(model):
    return "".join(chunk.text for chunk in model.stream("?"))


async def ask_async(model):
    return (await model.ainvoke("?")).text


async def ask_async_streaming(model):
    return "".join([chunk.text async for chunk in model.astream("?")])


@pytest.mark.parametrize("ask", [ask, ask_streaming])
def test_a_crowd_of_threads(server, model, requests_of, crowd, ask):
    """Threads whose token is revoked between their calls all go on, with one renewal."""
    assert ask(model) == ANSWER
    server.revoke_all()
    assert crowd(CROWD, lambda: ask(model)) == [ANSWER] * CROWD
    assert requests_of() == 2


@pytest.mark.parametrize("ask", [ask_async, ask_async_streaming])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_crowd_of_tasks(
    server, async_model, requests_of, crowd_of_tasks, ask, anyio_backend
):
    """The same holds for tasks."""
    assert await ask(async_model) == ANSWER
    server.revoke_all()
    assert await crowd_of_tasks(CROWD, lambda: ask(async_model)) == [ANSWER] * CROWD
    assert requests_of() == 2


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_functions(server, source, model_with, anyio_backend):
    """A function or a bound ``async def`` works as the key, until its token is revoked."""
    blocking = model_with(source)
    assert ask(blocking) == await ask_async(blocking) == ANSWER
    tasks = model_with(source.aio.get_token)
    assert await ask_async(tasks) == ANSWER
    with pytest.raises(ValueError, match="Sync client is not available"):
        ask(tasks)
    server.revoke_all()
    with pytest.raises(openai.AuthenticationError):
        ask(blocking)
    with pytest.raises(openai.AuthenticationError):
        await ask_async(tasks)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
async def test_functions_that_do_not_work(api, source, model_with, anyio_backend):
    """A lambda that returns an awaitable, or an object with an async call, is sent as text."""
    for key in (lambda: source.aio.get_token(), source.aio):
        with pytest.raises(openai.AuthenticationError):
            await ask_async(model_with(key))
        assert api.received[-1].headers["authorization"].startswith("Bearer <coroutine object")
    gc.collect()  # while the warning that Python gives is filtered


def test_the_example(api, run_example):
    """The page's program prints the model's answer."""
    assert run_example("langchain", OPENAI_BASE_URL=api.url, MODEL="any") == f"{ANSWER}\n"
