"""MCP clients that act on their own: where their tokens come from, and how often."""

import httpx2
import pytest
from kit.crowds import at_once, tasks_at_once
from kit.mcp_calls import call
from kit.servers.base import Answer

from tokenkeeper import (
    ClientCredentials,
    GenericOAuth2Provider,
    InvalidConfigurationError,
    OAuth2Config,
    TokenAcquisitionError,
    TokenKeeper,
)
from tokenkeeper.integrations.mcp import McpAuth
from tokenkeeper.providers.grants.authorization_code import AuthorizationCode

CROWD = 8


@pytest.fixture
def make_auth(server, keeper):
    """Return a factory of auths of a client that was registered by hand."""

    def make(**options):
        given = {
            "client_id": "given",
            "client_secret": "a-secret",
            "issuer": server.origin,
            "grant": ClientCredentials(),
        }
        return McpAuth(keeper, server.url, **(given | options))

    return make


def test_from_a_401_to_a_token(server, auth):
    """The first request is refused, its metadata leads to a token, and it is sent again."""
    assert call(auth, server.url, method="POST", json={"a": 1}).json() == {"ok": "read"}
    assert [(each.method, each.path) for each in server.received] == [
        ("POST", "/mcp"),
        ("GET", "/.well-known/oauth-protected-resource/mcp"),
        ("GET", "/.well-known/oauth-authorization-server"),
        ("POST", "/token"),
        ("POST", "/mcp"),
    ]
    assert [each.body for each in server.asked("/mcp")] == [b'{"a":1}'] * 2
    (form,) = server.forms()
    assert form["grant_type"] == "client_credentials"
    assert form["resource"] == server.url
    assert form["scope"] == "read"


def test_the_resource_is_sent_verbatim(server, make_auth):
    """The token is requested for the resource as the server spells it."""
    server.resource["resource"] = spelled = f"{server.origin}/"
    server.replies["/mcp"] = Answer(401)
    call(make_auth(), server.url)
    assert server.forms()[0]["resource"] == spelled


def test_a_second_request_has_the_token(server, auth):
    """What was found out is used for all later requests."""
    call(auth, server.url)
    call(auth, server.url)
    assert server.counts() == (1, 0, 0, 1)
    assert len(server.asked("/mcp")) == 3


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_crowd_of_tasks(server, auth, backend):
    """Tasks that are all refused cause one discovery and one token request, in any event loop."""

    async def crowd():
        async with httpx2.AsyncClient(auth=auth, verify=False) as client:
            return (await client.get(server.url)).status_code

    assert tasks_at_once(backend, CROWD, crowd) == [200] * CROWD
    server.revoke_tokens()
    assert tasks_at_once(backend, CROWD, crowd) == [200] * CROWD
    assert server.counts() == (1, 0, 0, 2)


def test_a_crowd_of_threads(server, auth):
    """So do threads."""
    assert [each.status_code for each in at_once(*[lambda: call(auth, server.url)] * CROWD)] == [
        200
    ] * CROWD
    assert server.counts() == (1, 0, 0, 1)


def test_threads_and_event_loops(server, auth):
    """One auth serves threads and several event loops at the same time."""

    async def task():
        async with httpx2.AsyncClient(auth=auth, verify=False) as client:
            return (await client.get(server.url)).status_code

    def loop(backend):
        return lambda: tasks_at_once(backend, 3, task)

    found = at_once(
        loop("asyncio"), loop("trio"), loop("asyncio"), lambda: call(auth, server.url).status_code
    )
    assert found == [[200] * 3] * 3 + [200]
    assert server.counts() == (1, 0, 0, 1)


def test_a_token_that_is_revoked(server, auth):
    """A revoked token is renewed once, without another discovery."""
    call(auth, server.url)
    server.revoke_tokens()
    assert call(auth, server.url).status_code == 200
    assert server.counts() == (1, 0, 0, 2)


def test_tokens_that_are_always_refused(server, auth):
    """A token for another audience is renewed once; then the caller gets the 401."""
    server.replies["/mcp"] = Answer(401)
    assert call(auth, server.url).status_code == 401
    assert len(server.asked("/mcp")) == 3  # without a token, with one, with another one
    assert server.counts() == (1, 0, 0, 2)


def test_a_server_without_authorization(server, auth):
    """A server that needs no token gets none, and nothing is requested elsewhere."""
    server.replies["/mcp"] = Answer(200)
    assert call(auth, server.url).status_code == 200
    assert server.counts() == (0, 0, 0, 0)


@pytest.mark.parametrize("names_scope", [True, False])
def test_a_wider_scope(server, auth, names_scope):
    """A 403 for want of a scope leads to a token with the union of all, once."""
    server.names_scope = names_scope
    if not names_scope:
        server.resource["scopes_supported"] = ["read", "admin"]
        auth = auth_with_scope(auth, "read")
    call(auth, server.url)
    assert call(auth, f"{server.url}/admin").status_code == 200
    assert call(auth, server.url).status_code == 200
    assert [set(each["scope"].split()) for each in server.forms()] == [
        {"read"},
        {"read", "admin"},
    ]


def auth_with_scope(auth, scope):
    """Return an auth like *auth* that begins with *scope*."""
    settings = auth._settings
    return McpAuth(
        settings.keeper,
        settings.url,
        client_id=settings.client_id,
        client_secret=settings.client_secret,
        issuer=settings.issuer,
        grant=settings.grant,
        scope=scope,
    )


def test_two_wider_scopes_at_once(server, auth):
    """Requests that need different scopes at once end with a token that has them all."""
    call(auth, server.url)
    paths = ["admin", "write", "admin", "write"]
    found = at_once(*[lambda path=path: call(auth, f"{server.url}/{path}") for path in paths])
    assert [each.status_code for each in found] == [200] * 4
    assert set(server.forms()[-1]["scope"].split()) == {"read", "admin", "write"}


def test_a_scope_that_is_not_enough(server, auth):
    """A server that goes on refusing what was granted is not asked for ever."""
    needs = Answer(403, b"", {"WWW-Authenticate": 'Bearer error="insufficient_scope", scope="x"'})
    server.replies["/mcp/a"] = needs
    call(auth, server.url)
    assert call(auth, f"{server.url}/a").status_code == 403
    assert len(server.asked("/mcp/a")) == 2
    assert call(auth, f"{server.url}/a").status_code == 403
    assert len(server.asked("/mcp/a")) == 3


def test_scopes_that_never_end(server, auth):
    """A server that demands another scope each time is not followed for ever."""

    def another(request):
        scope = f"x{len(server.received)}"
        challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
        return Answer(403, b"", {"WWW-Authenticate": challenge})

    server.replies["/mcp/a"] = another
    call(auth, server.url)
    assert call(auth, f"{server.url}/a").status_code == 403
    assert len(server.asked("/mcp/a")) == 3


@pytest.mark.parametrize(
    "header", ["", 'Bearer error="access_denied"', "Bearer"], ids=["none", "another", "no error"]
)
def test_another_403(server, auth, header):
    """A 403 for another reason is the caller's."""
    server.replies["/mcp/a"] = Answer(403, b"", {"WWW-Authenticate": header})
    call(auth, server.url)
    assert call(auth, f"{server.url}/a").status_code == 403
    assert len(server.forms()) == 1


def test_a_body_that_is_sent_once(server, auth):
    """A body that is a stream is not sent again, but the next request has a token."""

    def body():
        yield b"{}"

    assert call(auth, server.url, method="POST", content=body()).status_code == 401
    auth.connect()
    assert call(auth, server.url, method="POST", content=body()).status_code == 200
    assert call(auth, f"{server.url}/admin", method="POST", content=body()).status_code == 403
    assert len(server.asked("/mcp/admin")) == 1


def test_other_hosts(server, auth):
    """The token is sent to the origin of the MCP server alone; other requests are not sent."""
    with pytest.raises(InvalidConfigurationError, match="must not be sent"):
        call(auth, "https://other.test/mcp")
    call(auth, server.url)
    with pytest.raises(InvalidConfigurationError, match="must not be sent"):
        call(auth, "https://other.test/mcp")


def test_connected_in_advance(server, auth):
    """A program may connect before its first call, which then has a token."""
    source = auth.connect()
    assert source.name.provider_name == server.url
    assert auth.connect() is source
    assert call(auth, server.url).status_code == 200
    assert len(server.asked("/mcp")) == 1


@pytest.mark.anyio
async def test_connected_in_advance_by_a_task(server, auth):
    """So may a task."""
    source = await auth.connect_async()
    assert await auth.connect_async() is source
    assert server.counts() == (1, 0, 0, 1)


def failure(auth, url):
    with pytest.raises(TokenAcquisitionError) as caught:
        call(auth, url)
    assert "\n" not in str(caught.value)
    assert "a-secret" not in str(caught.value)
    return caught.value


def test_metadata_of_another_resource(server, auth):
    """If the metadata is that of another resource, no server gets the client's secret."""
    server.resource["resource"] = "https://victim.test/mcp"
    assert "is that of 'https://victim.test/mcp'" in str(failure(auth, server.url))
    assert server.forms() == []


def test_a_server_that_is_not_listed(server, make_auth):
    """If the MCP server does not list the issuer, it gets no token of that."""
    auth = make_auth(issuer="https://as.example.com")
    error = failure(auth, server.url)
    assert (
        f"does not accept tokens of the issuer https://as.example.com. It lists: {server.origin}"
        in (str(error))
    )
    assert server.counts() == (1, 0, 0, 0)


def test_a_token_endpoint_in_the_open(server, auth):
    """A token endpoint that anyone on the way could read gets no request."""
    server.metadata["token_endpoint"] = "http://as.test/token"
    assert "must be https:// unless the host is loopback" in str(failure(auth, server.url))


def test_an_issuer_by_its_slash(server, make_auth):
    """An issuer that the MCP server lists with a slash is the one that is configured without."""
    server.resource["authorization_servers"] = [f"{server.origin}/"]
    assert call(make_auth(), server.url).status_code == 200


def test_a_failure_is_shared(server, auth):
    """A failure is the answer to all requests for a while, so a server is not asked for each."""
    server.metadata = Answer(404)
    failure(auth, server.url)
    failure(auth, server.url)
    assert server.counts() == (1, 0, 0, 0)


def test_a_server_without_metadata(server, keeper):
    """A server of the first specification grants tokens itself, for its own URL."""
    server.resource = Answer(404)
    auth = McpAuth(
        keeper,
        server.url,
        client_id="given",
        client_secret="a-secret",
        issuer=server.origin,
        grant=ClientCredentials(),
        scope="read",
    )
    assert call(auth, server.url).status_code == 200
    assert server.forms()[0]["resource"] == server.url


def test_two_auths_of_one_keeper(server, make_auth):
    """Two auths for one server share the provider and its token."""
    call(make_auth(), server.url)
    assert call(make_auth(), server.url).status_code == 200
    assert len(server.forms()) == 1


def test_a_name_that_is_taken(server, make_auth, keeper):
    """A provider of the same name is not replaced."""
    keeper.add_provider(
        GenericOAuth2Provider(OAuth2Config("mine", "id", "secret", token_url="https://as.test/t"))
    )
    auth = make_auth(provider_name="mine")
    with pytest.raises(InvalidConfigurationError) as caught:
        call(auth, server.url)
    assert caught.value.field == "provider_name"


def test_registered_without_a_person(server, keeper):
    """Without a client_id, a client is registered for the grant, without redirect URIs."""
    auth = McpAuth(keeper, server.url, grant=ClientCredentials(), client_name="robot")
    assert call(auth, server.url).status_code == 200
    (client,) = server.clients.values()
    assert client["grant_types"] == ["client_credentials"]
    assert (client["client_name"], client["scope"]) == ("robot", "read")
    assert "redirect_uris" not in client
    assert client["token_endpoint_auth_method"] == "client_secret_basic"
    assert "authorization" in server.asked("/token")[0].headers


def test_a_client_that_the_server_forgot(server, keeper):
    """A server that lost its registrations registers the client again, once for a crowd."""
    auth = McpAuth(keeper, server.url, grant=ClientCredentials())
    call(auth, server.url)
    server.forget_clients()
    found = at_once(*[lambda: call(auth, server.url).status_code] * CROWD)
    assert found == [200] * CROWD
    assert len(server.asked("/register")) == 2


def test_kept_for_the_next_process(server, tmp_path):
    """With a store, another process uses the client that was registered."""
    store = f"sqlite:///{tmp_path}/tokens.db"
    for _ in range(2):
        with TokenKeeper(store=store) as keeper:
            auth = McpAuth(keeper, server.url, grant=ClientCredentials())
            assert call(auth, server.url).status_code == 200
    assert len(server.clients) == 1


def test_a_custody_of_its_own(server, tmp_path):
    """So it does with a custody, without a store."""
    for _ in range(2):
        with TokenKeeper() as keeper:
            custody = f"sqlite:///{tmp_path}/custody.db"
            auth = McpAuth(keeper, server.url, grant=ClientCredentials(), custody=custody)
            assert call(auth, server.url).status_code == 200
    assert len(server.clients) == 1


def test_a_store_that_fails(server, keeper, tmp_path):
    """While the store can't be read, no other client is registered."""
    (tmp_path / "taken").write_text("not a directory")
    auth = McpAuth(
        keeper,
        server.url,
        grant=ClientCredentials(),
        custody=f"sqlite:///{tmp_path}/taken/custody.db",
    )
    assert "could not be read or stored" in str(failure(auth, server.url))
    assert server.clients == {}


def test_no_registration(server, keeper):
    """A server that registers no clients is named, and what to do."""
    del server.metadata["registration_endpoint"]
    error = failure(McpAuth(keeper, server.url, grant=ClientCredentials()), server.url)
    assert "has no registration_endpoint. Register a client by hand and set client_id" in str(error)


def test_a_registration_elsewhere(server, keeper):
    """A registration endpoint of another origin over plain http is not trusted."""
    server.metadata["registration_endpoint"] = "http://127.0.0.1:1/register"
    error = failure(McpAuth(keeper, server.url, grant=ClientCredentials()), server.url)
    assert "which is not trusted" in str(error)
    assert ".." not in str(error)


def test_a_registration_that_is_refused(server, keeper):
    """A refusal is shown, and not repeated for each request."""
    server.replies["/register"] = Answer(400, {"error": "invalid_client_metadata"})
    auth = McpAuth(keeper, server.url, grant=ClientCredentials())
    error = failure(auth, server.url)
    assert error.error == "invalid_client_metadata"
    failure(auth, server.url)
    assert len(server.asked("/register")) == 1


@pytest.mark.parametrize(
    ("methods", "sent"),
    [(None, "basic"), (["client_secret_post"], "post"), (["client_secret_basic"], "basic")],
)
def test_how_a_secret_is_sent(server, auth, methods, sent):
    """A secret is sent as the server lists it; with HTTP Basic, beside the client_id."""
    if methods is not None:
        server.metadata["token_endpoint_auth_methods_supported"] = methods
    call(auth, server.url)
    (request,) = server.asked("/token")
    form = dict(request.form)
    assert form["client_id"] == "given"
    assert ("authorization" in request.headers) == (sent == "basic")
    assert ("client_secret" in form) == (sent == "post")


def test_a_document_as_client(server, keeper):
    """Where the server supports it, the client is the URL of its own metadata."""
    server.metadata["client_id_metadata_document_supported"] = True
    document = "https://app.test/client.json"
    server.clients[document] = {}
    auth = McpAuth(keeper, server.url, grant=ClientCredentials(), client_metadata_url=document)
    assert call(auth, server.url).status_code == 200
    assert server.forms()[0]["client_id"] == document
    assert server.asked("/register") == []


def test_a_document_that_is_not_supported(server, keeper):
    """Otherwise a client is registered."""
    auth = McpAuth(
        keeper,
        server.url,
        grant=ClientCredentials(),
        client_metadata_url="https://app.test/client.json",
    )
    assert call(auth, server.url).status_code == 200
    assert len(server.asked("/register")) == 1


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("keeper", {"keeper": 7}),
        ("url", {"url": "http://mcp.example.com"}),
        ("url", {"url": "mcp.example.com"}),
        ("url", {"url": "https://bücher.example.com/mcp"}),
        ("url", {"url": "https://*.example.com/mcp"}),
        ("provider_name", {"provider_name": ""}),
        ("account", {"account": ""}),
        ("scope", {"scope": 'a"b'}),
        ("client_id", {"client_id": ""}),
        ("client_secret", {"client_id": "a", "client_secret": "", "issuer": "https://as.test"}),
        ("client_id", {"client_secret": "a"}),
        ("issuer", {"client_id": "a", "client_secret": "b"}),
        ("issuer", {"issuer": "http://as.test"}),
        ("client_metadata_url", {"client_metadata_url": "http://127.0.0.1/a"}),
        ("client_name", {"client_name": ""}),
        ("grant", {"grant": "client_credentials"}),
        ("grant", {"grant": AuthorizationCode()}),
        ("redirect_port", {"redirect_port": 0}),
        ("redirect_port", {"redirect_port": True}),
        ("on_sign_in", {"on_sign_in": "print"}),
        ("sign_in_timeout_seconds", {"sign_in_timeout_seconds": 0}),
        ("timeout", {"timeout": -1}),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_can_not_work(keeper, field, options):
    """A parameter that can't work is named at once."""
    given = {"keeper": keeper, "url": "https://mcp.example.com/mcp"} | options
    with pytest.raises(InvalidConfigurationError) as caught:
        McpAuth(given.pop("keeper"), given.pop("url"), **given)
    assert caught.value.field == field


def test_shown(server, auth):
    """The auth shows which server it is for, and no secret."""
    assert repr(auth) == f"<McpAuth of {server.url!r}>"
    assert "a-secret" not in repr(auth._settings)
