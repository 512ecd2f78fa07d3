"""``langchain-anthropic``: what ``ChatAnthropic`` does when the API refuses a token."""

import pytest
from kit.cookbook import example
from kit.servers.model_api import WORDS

ANSWER = "".join(WORDS)
CROWD = 8


KeeperChatAnthropic = example("langchain_anthropic").KeeperChatAnthropic
"""A chat model with HTTP clients of ours, as the page shows it."""


@pytest.fixture
def model(api, source):
    """Return a chat model of that class."""
    model = KeeperChatAnthropic(model="any", max_tokens=9, base_url=api.origin, source=source)
    with model._client:
        yield model


@pytest.fixture
async def async_model(api, source, anyio_backend):
    """Return the same for tasks."""
    model = KeeperChatAnthropic(model="any", max_tokens=9, base_url=api.origin, source=source)
    async with model._async_client:
        yield model


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


def test_the_example(api, run_example):
    """The page's program prints the model's answer."""
    assert (
        run_example("langchain_anthropic", ANTHROPIC_BASE_URL=api.origin, MODEL="any")
        == f"{ANSWER}\n"
    )
