"""Requests with tokens that are bound to a key, by each library that can send a proof."""

import asyncio
import logging
from functools import partial

import aiohttp
import anyio
import pytest
import requests
from kit.httpx_packages import PACKAGES, auth_for
from kit.servers.dpop import DPoPServer, opened

from tokenkeeper import (
    GenericOAuth2Provider,
    InvalidConfigurationError,
    OAuth2Config,
    OAuth2TokenManager,
    TokenKeeper,
)
from tokenkeeper.integrations.aiohttp import KeeperMiddleware
from tokenkeeper.integrations.requests import KeeperAuth

BODY = b"some=body"


def by_requests(keeper, url, method="GET", data=None):
    with requests.Session() as session:
        response = session.request(method, url, data=data, auth=KeeperAuth(keeper, "api"))
        return response.status_code


def by_httpx(package, keeper, url, method="GET", data=None):
    with package.Client(auth=auth_for(package)(keeper, "api"), follow_redirects=True) as client:
        return client.request(method, url, content=data).status_code


def by_httpx_async(package, keeper, url, method="GET", data=None):
    async def call():
        auth = auth_for(package)(keeper, "api")
        async with package.AsyncClient(auth=auth, follow_redirects=True) as client:
            return (await client.request(method, url, content=data)).status_code

    return anyio.run(call)


def by_aiohttp(keeper, url, method="GET", data=None):
    async def call():
        middleware = KeeperMiddleware(keeper, "api")
        async with (
            aiohttp.ClientSession(middlewares=[middleware]) as session,
            session.request(method, url, data=data) as response,
        ):
            return response.status

    return asyncio.run(call())


CLIENTS = {"requests": by_requests, "aiohttp": by_aiohttp}
for _name, _package in PACKAGES.items():
    CLIENTS[_name] = partial(by_httpx, _package)
    CLIENTS[f"{_name}, async"] = partial(by_httpx_async, _package)


@pytest.fixture
def server():
    with DPoPServer() as server:
        yield server


@pytest.fixture
def keeper(server):
    with TokenKeeper() as keeper:
        config = OAuth2Config("api", "worker", "hunter2", server.token_url)
        keeper.add_provider(GenericOAuth2Provider(config, dpop=True))
        keeper.get_token("api")
        server.log.clear()
        yield keeper


@pytest.fixture(params=CLIENTS.values(), ids=CLIENTS)
def call(request, keeper, server):
    """Return a function that calls the API with one of the libraries, and returns the status."""

    def call(method="GET", data=None, url=None):
        return request.param(keeper, url or server.api_url, method, data)

    return call


def test_each_request_has_its_own_proof(call, server):
    """Each request carries the token with a fresh proof for its method and URL."""
    url = server.api_url + "?page=2"
    assert [call(url=url), call("POST", BODY, url)] == [200, 200]
    assert server.log == [("/api", 200)] * 2
    assert server.received[-1].body == BODY


def test_a_nonce_of_the_api(call, server, keeper):
    """An API that wants its nonce gets another proof at once, and the token stays."""
    server.grants.change("as")  # a nonce of the other role on the same origin is not sent
    server.calls.change("rs")
    assert call("POST", BODY) == 200
    assert server.statuses == [401, 200]
    server.calls.each = True
    assert [call(), call()] == [200, 200]
    assert server.statuses == [401, 200, 200, 200]
    assert server.log[-1][0] == "/api"
    assert "refused_by_api" not in keeper.health()["providers"]["api"]


def test_a_nonce_that_changes_for_ever(call, server, keeper, caplog):
    """The caller gets the refusal after one repetition, and the token is not renewed."""
    server.calls.change("rs")
    server.calls.lies = True
    with caplog.at_level(logging.WARNING, "tokenkeeper"):
        assert call() == 401
    assert server.log == [("/api", 401)] * 2
    assert [each.getMessage().partition(":")[0] for each in caplog.records] == ["provider 'api'"]
    assert "use_dpop_nonce" in caplog.text
    assert "refused_by_api" not in keeper.health()["providers"]["api"]
    assert keeper.get_token("api") == "token-1"


def test_a_refused_token_is_renewed(call, server):
    """A token that the API refuses is renewed once, and the request has the new one."""
    server.revoked.add("token-1")
    assert call("POST", BODY) == 200
    assert server.log == [("/api", 401), ("/token", 200), ("/api", 200)]


def test_a_refused_token_and_a_nonce(call, server):
    """An API may refuse the token, and then the proof of the next one for want of a nonce."""
    server.revoked.add("token-1")
    server.calls.change("rs")
    server.calls.skip = 1
    assert call("POST", BODY) == 200
    assert server.log == [("/api", 401), ("/token", 200), ("/api", 401), ("/api", 200)]


def test_a_token_that_is_refused_twice(call, server):
    """The second refusal of a token is the caller's, also of one that is bound."""
    server.revoked |= {f"token-{number}" for number in range(9)}
    assert call() == 401
    assert server.log == [("/api", 401), ("/token", 200), ("/api", 401)]


@pytest.mark.parametrize("ahead", [-3000, 600])
def test_clocks_differ(call, server, keeper, ahead):
    """A proof that an API refuses for its time is signed again by the API's clock."""
    server.ahead_seconds = ahead
    assert [call(), call()] == [200, 200]
    assert server.statuses == [401, 200, 200]


def test_a_redirect(call, server):
    """A request that follows a redirect gets a proof for its own URL, and the token is kept."""
    assert call(url=server.api_url + "/moved") == 200
    assert server.statuses in ([307, 200], [307, 401, 200])
    assert "/token" not in {path for path, *_ in server.log}


def test_a_proof_that_was_sent_before(server, keeper):
    """A request that a client sends again unchanged gets a fresh proof once it is refused."""
    with requests.Session() as session:
        prepared = session.prepare_request(
            requests.Request("POST", server.api_url, data=BODY, auth=KeeperAuth(keeper, "api"))
        )
        assert [session.send(prepared).status_code for _ in range(3)] == [200, 200, 200]
    assert server.statuses == [200, 401, 200, 401, 200]


def test_a_body_that_can_be_read_once(server, keeper):
    """A stream is not sent again: the caller gets the challenge, and the next request the nonce."""
    server.calls.change("rs")
    assert by_requests(keeper, server.api_url, "POST", (each for each in [BODY])) == 401
    assert by_requests(keeper, server.api_url, "POST", BODY) == 200
    assert server.log == [("/api", 401), ("/api", 200)]


def test_history(server, keeper):
    """The responses that were followed by another attempt are in the history, in order."""
    server.revoked.add("token-1")
    server.calls.change("rs")
    server.calls.skip = 1
    response = requests.get(server.api_url, auth=KeeperAuth(keeper, "api"), timeout=20)
    assert [each.status_code for each in response.history] == [401, 401]
    assert response.history[0].request.headers["Authorization"] == "DPoP token-1"


def test_headers_of_a_request(server, keeper):
    """All fronts return the headers of one request, with a proof that is good for it once."""
    source, manager = keeper.source("api"), OAuth2TokenManager(keeper)
    url = server.api_url

    async def awaited():
        return [await manager.headers("api", "GET", url), await source.aio.headers("GET", url)]

    given = [keeper.headers("api", "GET", url), source.headers("GET", url), *anyio.run(awaited)]
    for headers in given:
        assert headers.keys() == {"Authorization", "DPoP"}
        assert requests.get(url, headers=headers, timeout=20).status_code == 200
    assert requests.get(url, headers=headers, timeout=20).status_code == 401


def test_a_nonce_for_headers(server, keeper):
    """Without an auth object, a caller passes the nonce of a response on for the next proof."""
    server.calls.change("rs")
    url = server.api_url
    refused = requests.get(url, headers=keeper.headers("api", "GET", url), timeout=20)
    key = keeper.get_oauth2_token("api").dpop_key
    key.note_nonce(url, refused.headers["DPoP-Nonce"])
    assert requests.get(url, headers=keeper.headers("api", "GET", url), timeout=20).ok


def test_headers_before_the_first_token(server):
    """Headers can be asked for first: that requests the token."""
    with TokenKeeper() as keeper:
        config = OAuth2Config("api", "worker", "hunter2", server.token_url)
        keeper.add_provider(GenericOAuth2Provider(config, dpop=True))
        headers = anyio.run(OAuth2TokenManager(keeper).headers, "api", "GET", server.api_url)
        assert headers["Authorization"] == "DPoP token-1"
        assert opened(headers["DPoP"])[1]["htm"] == "GET"


@pytest.mark.parametrize(
    ("method", "url", "field"),
    [("GET", "/orders", "url"), ("GET", None, "url"), (None, "https://a.example/", "method")],
)
def test_headers_of_what_is_no_request(keeper, method, url, field):
    """A proof needs a method and an absolute URL."""
    with pytest.raises(InvalidConfigurationError) as raised:
        keeper.headers("api", method, url)
    assert raised.value.field == field
