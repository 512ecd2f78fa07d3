"""Redirects between real servers over TLS, with every client: which servers get the token."""

import asyncio
import io
import socket
import ssl
from functools import partial
from typing import NamedTuple

import aiohttp
import anyio
import pytest
import requests
import trustme
from azure.core import AsyncPipelineClient, PipelineClient
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline.policies import (
    AsyncBearerTokenCredentialPolicy,
    AsyncRedirectPolicy,
    BearerTokenCredentialPolicy,
    RedirectPolicy,
    SensitiveHeaderCleanupPolicy,
)
from azure.core.pipeline.transport import AioHttpTransport, RequestsTransport, TrioRequestsTransport
from azure.core.rest import HttpRequest
from kit.httpx_packages import PACKAGES, auth_for
from kit.servers.tls import context_of

from tokenkeeper import InvalidConfigurationError
from tokenkeeper.integrations._hosts import AllowedHosts
from tokenkeeper.integrations.aiohttp import KeeperMiddleware
from tokenkeeper.integrations.azure import AsyncKeeperCredential, KeeperCredential
from tokenkeeper.integrations.azure_transport import AsyncRenewingTransport, RenewingTransport
from tokenkeeper.integrations.requests import KeeperAuth as RequestsAuth

SCOPE = "https://storage.azure.com/.default"
TIMEOUT = 30


class Call(NamedTuple):
    """A call for a client to make: POST to *url*, with a token for *origin* only.

    The origin is in ``allowed_hosts`` if it is *named*, and otherwise left to the default.
    """

    keeper: object
    ca_file: str
    url: str
    origin: str
    named: bool = True

    @property
    def hosts(self):
        return [self.origin] if self.named else None

    @property
    def context(self):
        return ssl.create_default_context(cafile=self.ca_file)


# Each client returns the status that its caller gets.


def by_requests(call):
    return requests.post(
        call.url,
        data=b"x",
        auth=call.keeper.auth("api", allowed_hosts=call.hosts),
        verify=call.ca_file,
        timeout=TIMEOUT,
    ).status_code


def _httpx_options(httpx, call):
    auth = auth_for(httpx)(call.keeper, "api", allowed_hosts=call.hosts)
    return {"auth": auth, "verify": call.context, "follow_redirects": True, "timeout": TIMEOUT}


def by_httpx(httpx, call):
    with httpx.Client(**_httpx_options(httpx, call)) as client:
        return client.post(call.url, content=b"x").status_code


def by_async_httpx(httpx, backend, call):
    async def main():
        async with httpx.AsyncClient(**_httpx_options(httpx, call)) as client:
            return (await client.post(call.url, content=b"x")).status_code

    return anyio.run(main, backend=backend)


def by_aiohttp(call):
    async def main():
        middleware = KeeperMiddleware(call.keeper, "api", allowed_hosts=call.hosts)
        async with (
            aiohttp.ClientSession(middlewares=[middleware]) as session,
            session.post(call.url, data=b"x", ssl=call.context) as answer,
        ):
            return answer.status

    return asyncio.run(main())


def by_azure(cleaned, call):
    policies = [
        RedirectPolicy(),
        BearerTokenCredentialPolicy(KeeperCredential(call.keeper, "api"), SCOPE),
        *([SensitiveHeaderCleanupPolicy()] if cleaned else []),
    ]
    below = RequestsTransport(connection_verify=call.ca_file)
    transport = RenewingTransport(call.keeper, "api", below, allowed_hosts=call.hosts)
    with PipelineClient(call.url, policies=policies, transport=transport) as client:
        request = HttpRequest("POST", call.url, content=b"x")
        return client.send_request(request, enforce_https=False).status_code


def by_async_azure(backend, cleaned, call):
    kinds = {"asyncio": AioHttpTransport, "trio": TrioRequestsTransport}

    async def main():
        policies = [
            AsyncRedirectPolicy(),
            AsyncBearerTokenCredentialPolicy(AsyncKeeperCredential(call.keeper, "api"), SCOPE),
            *([SensitiveHeaderCleanupPolicy()] if cleaned else []),
        ]
        below = kinds[backend](connection_verify=call.ca_file)
        transport = AsyncRenewingTransport(call.keeper, "api", below, allowed_hosts=call.hosts)
        async with AsyncPipelineClient(call.url, policies=policies, transport=transport) as client:
            request = HttpRequest("POST", call.url, content=b"x")
            return (await client.send_request(request, enforce_https=False)).status_code

    return anyio.run(main, backend=backend)


WARY = {
    "requests": by_requests,
    **{name: partial(by_httpx, httpx) for name, httpx in PACKAGES.items()},
    **{
        f"{name}-{backend}": partial(by_async_httpx, httpx, backend)
        for name, httpx in PACKAGES.items()
        for backend in ("asyncio", "trio")
    },
    "aiohttp": by_aiohttp,
}
"""Clients that drop the token themselves, because they know about redirects."""
AZURE = {
    "azure": by_azure,
    "azure-aiohttp": partial(by_async_azure, "asyncio"),
    "azure-trio": partial(by_async_azure, "trio"),
}
"""Clients that depend on a policy of azure-core, if their pipeline has it."""


def each_of(known):
    """Run a test with each of the *known* clients."""
    return pytest.mark.parametrize("client", known.values(), ids=known.keys())


@pytest.fixture
def authority():
    return trustme.CA()


@pytest.fixture
def ca_file(authority, tmp_path):
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


@pytest.fixture
def api(make_api, authority):
    """Return the API that the tokens are for; one port serves https and http, under two names."""
    api = make_api()
    api.speak_tls(context_of(authority, "localhost", "127.0.0.1"))
    return api


@pytest.fixture
def elsewhere(make_api, authority):
    """Return another such server."""
    other = make_api()
    other.speak_tls(context_of(authority, "localhost", "127.0.0.1"))
    return other


HERE = "https://localhost:{api}"
LEAVES = [
    pytest.param(HERE, "http://localhost:{api}", id="https-to-http"),
    pytest.param(HERE, "http://localhost:{elsewhere}", id="https-to-http-elsewhere"),
    pytest.param(HERE, "https://localhost:{elsewhere}", id="to-another-port"),
    pytest.param(HERE, "https://127.0.0.1:{api}", id="to-another-host"),
    pytest.param(HERE, "https://127.0.0.1:{elsewhere}", id="to-another-host-and-port"),
    pytest.param("http://localhost:{api}", HERE, id="http-to-https"),
    pytest.param("http://localhost:{api}", "https://localhost:{elsewhere}", id="http-to-https-and"),
]


@pytest.fixture
def led(api, elsewhere, keeper, ca_file):
    """Return a function that makes a client's call to a place that redirects to another."""
    ports = {"api": api.server_port, "elsewhere": elsewhere.server_port}

    def led(client, first, second, *, named=True):
        origin, target = first.format(**ports), second.format(**ports)
        return client(Call(keeper, ca_file, f"{origin}/to/{target}/end", origin, named))

    return led


@pytest.fixture
def hops(api, elsewhere):
    """Return a function that lists the received requests: their target, token and body."""

    def hops():
        return [(path[:4], *rest) for path, *rest in api.seen + elsewhere.seen]

    return hops


ASKED = ("/to/", "token-1", b"x")
ARRIVED = ("/end", None, b"x")


@each_of(WARY)
@pytest.mark.parametrize(("first", "second"), LEAVES)
def test_a_redirect_away(led, hops, provider, client, first, second):
    """The token is dropped, the caller gets the 401 of the other server, and nothing is renewed."""
    assert led(client, first, second) == 401
    assert hops() == [ASKED, ARRIVED]
    assert provider.asked == 1


@each_of(AZURE)
@pytest.mark.parametrize(("first", "second"), LEAVES)
def test_a_redirect_away_of_azure_core(led, hops, provider, client, first, second):
    """A place that azure-core takes for the same one, because it ignores schemes, is not called."""
    if first.partition(":")[2] != second.partition(":")[2]:
        assert led(partial(client, True), first, second) == 401
        assert hops() == [ASKED, ARRIVED]
    else:
        with pytest.raises(ClientAuthenticationError, match="its token must not be sent to"):
            led(partial(client, True), first, second)
        assert hops() == [ASKED]
    assert provider.asked == 1


@each_of(AZURE)
@pytest.mark.parametrize(("first", "second"), LEAVES)
def test_a_pipeline_that_cleans_nothing(led, hops, provider, client, first, second):
    """If no policy removes the token, a place that may not get it is not called."""
    with pytest.raises(ClientAuthenticationError, match="its token must not be sent to"):
        led(partial(client, False), first, second)
    assert hops() == [ASKED]
    assert provider.asked == 1


UNCLEANED = {name: partial(call, False) for name, call in AZURE.items()}


@each_of(WARY | UNCLEANED)
@pytest.mark.parametrize(("first", "second"), LEAVES)
def test_a_redirect_away_by_default(led, hops, provider, client, first, second):
    """Without allowed_hosts only the origin of the first request gets the token."""
    assert led(client, first, second, named=False) == 401
    assert hops() == [ASKED, ARRIVED]
    assert provider.asked == 1


@each_of(WARY | UNCLEANED)
def test_a_redirect_away_and_on_by_default(led, hops, elsewhere, client):
    """Another server in the middle of a chain of redirects gets no token."""
    beyond = f"https://localhost:{elsewhere.server_port}"
    led(client, HERE, f"{beyond}/to/{beyond}", named=False)
    assert [token for _, token, _ in hops()] == ["token-1", None, None]


@each_of(WARY | UNCLEANED)
def test_a_second_call_has_the_token(led, hops, elsewhere, client):
    """A redirect does not affect the next call."""
    elsewhere.valid.add("token-1")
    led(client, HERE, "https://localhost:{elsewhere}", named=False)
    led(client, "https://localhost:{elsewhere}", "https://localhost:{elsewhere}", named=False)
    assert [token for _, token, _ in hops()] == ["token-1", None, "token-1", "token-1"]


@each_of(WARY | UNCLEANED)
@pytest.mark.parametrize("named", [True, False], ids=["named", "default"])
def test_plain_http_off_this_machine(keeper, ca_file, monkeypatch, client, named):
    """No token is sent to another machine by plain http: the call fails before a name lookup."""
    looked_up = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_, **__: looked_up.append(host))
    call = Call(keeper, ca_file, "http://api.example.com/v1", "https://api.example.com", named)
    if client is by_aiohttp and named:
        return  # called without a token
    with pytest.raises(
        (InvalidConfigurationError, ClientAuthenticationError),
        match=r"not be sent to 'http://api\.example\.com'\. Anyone .* use https",
    ):
        client(call)
    assert looked_up == []


def test_plain_http_that_is_named():
    """A host that is listed with its scheme gets the token by plain http."""
    place = "http://intranet.example:8080"
    assert AllowedHosts("api", [place]).allow(f"{place}/v1")
    assert not AllowedHosts("api", [place]).allow("http://intranet.example/v1")


@each_of(WARY | UNCLEANED)
def test_plain_http_that_is_called(api, keeper, ca_file, monkeypatch, client):
    """Every client sends the token to such a host."""
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda _, *rest, **more: resolve("127.0.0.1", *rest, **more)
    )
    place = f"http://intranet.example:{api.server_port}"
    assert client(Call(keeper, ca_file, f"{place}/end", place)) == 200
    assert api.seen == [("/end", "token-1", b"x")]


@each_of({name: client for name, client in (WARY | UNCLEANED).items() if name != "aiohttp"})
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_no_proxy_on_this_machine(
    api, elsewhere, keeper, ca_file, monkeypatch, client, variable, host
):
    """A token for this machine by plain http is not sent through a proxy."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, f"http://127.0.0.1:{elsewhere.server_port}")
    url = f"http://{host}:{api.server_port}/end"
    call = Call(keeper, ca_file, url, url.removesuffix("/end"), False)
    with pytest.raises(
        (InvalidConfigurationError, ClientAuthenticationError), match=f"NO_PROXY={host}"
    ):
        client(call)
    assert api.seen == elsewhere.seen == []
    monkeypatch.setenv("NO_PROXY", host)
    assert client(call) == 200


def test_no_proxy_of_aiohttp(api, elsewhere, keeper, ca_file):
    """The same holds for a proxy that is passed to a call of aiohttp."""

    async def main():
        async with aiohttp.ClientSession(middlewares=[KeeperMiddleware(keeper, "api")]) as session:
            with pytest.raises(InvalidConfigurationError, match="through a proxy"):
                await session.get(f"{api.url}/end", proxy=elsewhere.url)

    asyncio.run(main())
    assert api.seen == elsewhere.seen == []


@each_of(WARY | {name: partial(call, True) for name, call in AZURE.items()})
@pytest.mark.parametrize("place", [HERE, "http://localhost:{api}"], ids=["https", "http"])
def test_a_redirect_on_the_same_host(led, hops, api, keeper, provider, client, place):
    """A redirect within the origin keeps the token, which is renewed once if refused."""
    keeper.get_token("api")
    api.valid.clear()
    assert led(client, place, place) == 200
    assert hops() == [ASKED, ("/end", "token-1", b"x"), ("/end", "token-2", b"x")]
    assert provider.asked == 2


class _Scripted(requests.adapters.BaseAdapter):
    """Redirects from http to https, and records the requests."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def send(self, request, **options):
        self.seen.append((request.url, request.headers.get("Authorization")))
        answer = requests.Response()
        answer.status_code = 307 if request.url.startswith("http:") else 200
        answer.headers["Location"] = request.url.replace("http:", "https:")
        answer.request, answer.url, answer.raw = request, request.url, io.BytesIO()
        return answer

    def close(self):
        pass


def _up_by_requests(auth, url, seen):
    with requests.Session() as session:
        session.mount("http://", _Scripted(seen))
        session.mount("https://", _Scripted(seen))
        session.get(url, auth=auth)


def _up_by_httpx(httpx, auth, url, seen):
    def answer(request):
        seen.append((str(request.url), request.headers.get("Authorization")))
        above = str(request.url).replace("http:", "https:")
        return httpx.Response(
            307 if request.url.scheme == "http" else 200, headers={"Location": above}
        )

    with httpx.Client(transport=httpx.MockTransport(answer), follow_redirects=True) as client:
        client.get(url, auth=auth)


@pytest.mark.parametrize(
    ("go", "kind"),
    [
        pytest.param(_up_by_requests, RequestsAuth, id="requests"),
        *[
            pytest.param(partial(_up_by_httpx, httpx), auth_for(httpx), id=name)
            for name, httpx in PACKAGES.items()
        ],
    ],
)
def test_a_redirect_up_to_https(keeper, go, kind):
    """A redirect from http to https keeps the token on the default ports only."""
    for port, shown in [("", "Bearer token-1"), (":8080", None)]:
        seen = []
        auth = kind(keeper, "api", allowed_hosts=[f"http://api.example.com{port}"])
        go(auth, f"http://api.example.com{port}/", seen)
        assert seen == [
            (f"http://api.example.com{port}/", "Bearer token-1"),
            (f"https://api.example.com{port}/", shown),
        ]


@each_of(AZURE)
def test_a_url_that_readers_take_differently(api, elsewhere, keeper, ca_file, client):
    """A URL with a backslash after the host is rejected, because clients disagree on its host."""
    origin = f"https://localhost:{api.server_port}"
    url = f"https://127.0.0.1:{elsewhere.server_port}\\@localhost:{api.server_port}/end"
    with pytest.raises(ClientAuthenticationError, match="its token must not be sent to"):
        client(False, Call(keeper, ca_file, url, origin))
    assert elsewhere.seen == api.seen == []
