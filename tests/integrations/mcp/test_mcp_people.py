"""MCP clients that a person signs in for: once, and not again after a restart."""

import socket
import threading

import anyio
import anyio.to_thread
import httpx2
import pytest
from kit.crowds import at_once, in_thread, tasks_at_once
from kit.guards import GUARD_SECONDS
from kit.mcp_calls import call
from kit.servers.base import Answer, LoopbackServer
from kit.servers.mcp_stand_in import RESOURCE, Person

from tokenkeeper import (
    AuthorizationRequiredError,
    KeeperClosedError,
    TokenAcquisitionError,
    TokenKeeper,
)
from tokenkeeper.exceptions import TokenWaitTimeoutError
from tokenkeeper.integrations import _mcp_sign_in
from tokenkeeper.integrations._mcp_sign_in import open_browser
from tokenkeeper.integrations.mcp import McpAuth
from tokenkeeper.oauth import loopback_listener
from tokenkeeper.testing import SteppedClock

CROWD = 8


@pytest.fixture
def make_auth(server, keeper, person):
    """Return a factory of auths."""

    def make(in_keeper=keeper, **options):
        return McpAuth(in_keeper, server.url, **({"on_sign_in": person} | options))

    return make


def test_the_whole_way(server, auth, person):
    """A client is registered, a person signs in, and the request is sent again with the token."""
    assert call(auth, server.url, method="POST", json={"a": 1}).json() == {"ok": "read"}
    assert [(each.method, each.path) for each in server.received] == [
        ("POST", "/mcp"),
        ("GET", "/.well-known/oauth-protected-resource/mcp"),
        ("GET", "/.well-known/oauth-authorization-server"),
        ("POST", "/register"),
        ("GET", "/authorize"),
        ("POST", "/token"),
        ("POST", "/mcp"),
    ]
    (client,) = server.clients.values()
    assert client["grant_types"] == ["authorization_code", "refresh_token"]
    assert client["application_type"] == "native"
    assert client["token_endpoint_auth_method"] == "none"
    asked, form = dict(server.asked("/authorize")[0].query), server.forms()[0]
    assert asked["resource"] == form["resource"] == server.url
    assert asked["redirect_uri"] == form["redirect_uri"] == client["redirect_uris"][0]
    assert (asked["scope"], asked["code_challenge_method"]) == ("read", "S256")
    assert len(person.urls) == 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_crowd_of_tasks(server, auth, backend):
    """A crowd of refused tasks makes one discovery, one registration and one sign-in."""

    async def task():
        async with httpx2.AsyncClient(auth=auth, verify=False) as client:
            return (await client.get(server.url)).status_code

    assert tasks_at_once(backend, CROWD, task) == [200] * CROWD
    assert server.counts() == (1, 1, 1, 1)


def test_a_crowd_of_threads(server, auth):
    """So does a crowd of threads."""
    assert at_once(*[lambda: call(auth, server.url).status_code] * CROWD) == [200] * CROWD
    assert server.counts() == (1, 1, 1, 1)


def test_a_token_that_is_revoked(server, auth):
    """A revoked token is renewed by the refresh token, for the same resource."""
    call(auth, server.url)
    server.revoke_tokens()
    assert call(auth, server.url).status_code == 200
    assert server.counts() == (1, 1, 1, 2)
    assert server.forms()[-1]["grant_type"] == "refresh_token"
    assert server.forms()[-1]["resource"] == server.url


def test_tokens_that_are_always_refused(server, auth, person):
    """A token for another audience is renewed once, and no one signs in for another one."""
    server.replies["/mcp"] = Answer(401)
    assert call(auth, server.url).status_code == 401
    assert call(auth, server.url).status_code == 401
    assert len(person.urls) == 1
    assert len(server.forms()) <= 3


@pytest.mark.anyio
async def test_signing_in_again_in_advance(server, auth, person):
    """A program may make sure of a token before its calls: a lost one means a sign-in then."""
    for sign_ins in (1, 2):
        await auth.connect_async()
        await auth.connect_async()
        assert len(person.urls) == sign_ins
        lose(auth, server)
    await anyio.to_thread.run_sync(auth.connect)
    await anyio.to_thread.run_sync(auth.connect)
    assert len(person.urls) == 3


def test_signing_in_again_where_the_client_was_forgotten(server, auth, person):
    """So does a server that lost its registrations: another client is registered."""
    call(auth, server.url)
    server.forget_clients()
    source = auth._connector.current.source
    with pytest.raises(TokenAcquisitionError):
        source.renew_refused(source())
    auth.connect()
    assert call(auth, server.url).status_code == 200
    assert (len(server.asked("/register")), len(person.urls)) == (2, 2)


def lose(auth, server):
    """Have all tokens revoked, and the keeper find that out."""
    server.revoke_tokens()
    server.refresh_tokens.clear()
    source = auth._connector.current.source
    with pytest.raises(AuthorizationRequiredError):
        source.renew_refused(source())


def test_tokens_that_end_at_once(server, make_auth, person):
    """A server that refuses what it has just granted can't have a person sign in for ever."""
    server.replies["/mcp"] = Answer(401)
    clock = SteppedClock()
    with TokenKeeper(clock=clock) as keeper:
        auth = make_auth(keeper)

        def attempt():
            server.refresh_tokens.clear()
            with pytest.raises(AuthorizationRequiredError) as caught:
                call(auth, server.url)
            return str(caught.value)

        server.replies["/token"] = without_refreshing(server)
        attempt()
        assert len(person.urls) == 2  # the first one, and one more for the same request
        attempt()
        assert len(person.urls) == 3
        assert "refused again and again" in attempt()
        assert len(person.urls) == 3
        clock.step(600)
        attempt()
        assert len(person.urls) == 4


def without_refreshing(server):
    """Return a function that grants tokens, and refuses each refresh token."""

    def answer(request):
        form = dict(request.form)
        if form["grant_type"] == "refresh_token":
            return Answer(400, {"error": "invalid_grant"})
        return server._token(form)

    return answer


def test_a_restart(server, make_auth, tmp_path, person):
    """With a store, another process neither registers a client nor opens a browser."""
    store = f"sqlite:///{tmp_path}/tokens.db"
    for _ in range(3):
        with TokenKeeper(store=store) as keeper:
            assert call(make_auth(keeper), server.url).status_code == 200
    assert len(server.asked("/register")) == len(person.urls) == 1


def test_a_restart_with_a_custody(server, make_auth, tmp_path, person):
    """A custody does the same for one server alone, by the refresh token."""
    for _ in range(2):
        with TokenKeeper() as keeper:
            auth = make_auth(keeper, custody=f"sqlite:///{tmp_path}/custody.db")
            assert call(auth, server.url).status_code == 200
            server.revoke_tokens()
            assert call(auth, server.url).status_code == 200
    assert len(server.asked("/register")) == len(person.urls) == 1


def test_a_refresh_token_that_is_revoked(server, auth, person):
    """If the refresh token is revoked too, the person signs in again, as the same client."""
    call(auth, server.url)
    server.revoke_tokens()
    server.refresh_tokens.clear()
    assert at_once(*[lambda: call(auth, server.url).status_code] * CROWD) == [200] * CROWD
    assert len(person.urls) == 2
    assert len(server.clients) == 1


def test_metadata_at_a_place_of_its_own(server, auth, person):
    """Where only the challenge says where the metadata is, that is remembered for later."""
    place = f"{server.origin}/described"
    server.replies["/described"] = lambda request: Answer(200, server.resource)
    server.replies[RESOURCE] = Answer(404)
    challenge = {"WWW-Authenticate": f'Bearer resource_metadata="{place}"'}
    server.replies["/mcp"] = lambda request: (
        Answer(200) if request.bearer in server.tokens else Answer(401, b"", challenge)
    )
    call(auth, server.url)
    server.revoke_tokens()
    server.refresh_tokens.clear()
    assert call(auth, server.url).status_code == 200
    assert len(person.urls) == 2
    assert len(server.asked("/described")) == 2
    assert server.asked(RESOURCE) == []


def test_a_server_that_forgot_everything(server, auth, person):
    """A server that lost its registrations gets another one, and another sign-in."""
    call(auth, server.url)
    server.forget_clients()
    assert at_once(*[lambda: call(auth, server.url).status_code] * CROWD) == [200] * CROWD
    assert len(person.urls) == 2
    assert len(server.asked("/register")) == 2


def test_a_wider_scope(server, auth, person):
    """A wider scope is a new sign-in for all scopes so far, by a client that may ask for them."""
    call(auth, server.url)
    found = at_once(*[lambda: call(auth, f"{server.url}/admin").status_code] * CROWD)
    assert found == [200] * CROWD
    assert call(auth, server.url).status_code == 200
    assert len(person.urls) == 2
    asked = [dict(each.query)["scope"] for each in server.asked("/authorize")]
    assert asked == ["read", "read admin"]
    assert [each["scope"] for each in server.clients.values()] == ["read", "read admin"]


def test_a_wider_scope_after_a_restart(server, make_auth, tmp_path):
    """After a restart, the scope that was granted before counts as well."""
    store = f"sqlite:///{tmp_path}/tokens.db"
    with TokenKeeper(store=store) as keeper:
        auth = make_auth(keeper)
        call(auth, server.url)
        call(auth, f"{server.url}/admin")
    with TokenKeeper(store=store) as keeper:
        assert call(make_auth(keeper), f"{server.url}/write").status_code == 200
    asked = [dict(each.query)["scope"] for each in server.asked("/authorize")]
    assert asked == ["read", "read admin", "read admin write"]


def test_access_that_lasts(server, auth):
    """Where the server knows the scope, the sign-in asks for a refresh token."""
    server.metadata["scopes_supported"] = ["read", "offline_access"]
    call(auth, server.url)
    asked = dict(server.asked("/authorize")[0].query)
    assert asked["scope"] == "read offline_access"
    assert asked["prompt"] == "consent"


def test_people_of_one_keeper(server, keeper, make_auth):
    """Several people's tokens are kept apart by account."""
    ada, grace = make_auth(account="ada"), make_auth(account="grace")
    call(ada, server.url)
    call(grace, server.url)
    assert len(server.asked("/authorize")) == 2
    assert len({each.bearer for each in server.asked("/mcp") if each.bearer}) == 2
    assert len(server.clients) == 1


def test_people_at_once(server, make_auth):
    """Several people may be asked at once: they share one client, and each signs in once."""
    auths = [make_auth(account=name) for name in ("ada", "grace", "mary")]
    found = at_once(*[lambda auth=auth: call(auth, server.url).status_code for auth in auths])
    assert found == [200] * 3
    assert len(server.clients) == 1
    assert len(server.asked("/authorize")) == 3


def test_a_person_who_takes_long(server, make_auth, tmp_path):
    """While one person is asked, accounts that have signed in before are connected at once."""
    store, shown = f"sqlite:///{tmp_path}/tokens.db", threading.Event()
    with TokenKeeper(store=store) as keeper:
        call(make_auth(keeper, account="ada"), server.url)
    with TokenKeeper(store=store) as keeper:
        slow = make_auth(keeper, account="grace", on_sign_in=lambda url: shown.set())
        thread, outcome = in_thread(call, slow, server.url)
        assert shown.wait(GUARD_SECONDS)
        ada = make_auth(keeper, account="ada", timeout=GUARD_SECONDS)
        assert call(ada, server.url).status_code == 200
        assert outcome == []
    thread.join(GUARD_SECONDS)
    assert isinstance(outcome[0], KeeperClosedError)


def test_auths_for_one_person_at_once(server, make_auth, person):
    """Several auths for one person ask once."""
    auths = [make_auth() for _ in range(3)]
    found = at_once(*[lambda auth=auth: call(auth, server.url).status_code for auth in auths])
    assert found == [200] * 3
    assert len(server.asked("/register")) == len(person.urls) == 1


def failure(auth, url):
    with pytest.raises(TokenAcquisitionError) as caught:
        call(auth, url)
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_server_without_pkce(server, auth, person):
    """No sign-in begins at a server that does not support PKCE."""
    del server.metadata["code_challenge_methods_supported"]
    assert "does not support PKCE with S256" in str(failure(auth, server.url))
    assert person.urls == []


@pytest.mark.parametrize("value", [5, True, {"S256": 1}], ids=["number", "bool", "mapping"])
def test_lists_that_are_none(server, auth, value):
    """Metadata that lists nothing where it should is without that, not a fault of ours."""
    server.metadata["scopes_supported"] = value
    assert call(auth, server.url).status_code == 200


@pytest.mark.parametrize("value", [5, True, "plain"], ids=["number", "bool", "text"])
def test_methods_of_pkce_that_are_none(server, auth, value):
    """A server whose methods of PKCE are not a list does not support S256."""
    server.metadata["code_challenge_methods_supported"] = value
    assert "does not support PKCE with S256" in str(failure(auth, server.url))


def test_a_foreign_answer(server, make_auth):
    """An answer that another server gave is not accepted (RFC 9207)."""

    def elsewhere(request):
        back = dict(request.query)
        where = f"{back['redirect_uri']}?code=stolen&state={back['state']}&iss=https://other.test"
        return Answer(302, b"", {"Location": where})

    person = Person()
    auth = make_auth(on_sign_in=lambda url: person(url.replace("/authorize?", "/evil?")))
    server.replies = Redirecting(elsewhere)
    failure(auth, server.url)
    person.leave()
    assert server.forms() == []


class Redirecting(dict):
    """Answers every request below ``/evil`` with one function."""

    def __init__(self, answer):
        super().__init__()
        self._answer = answer

    def __contains__(self, target):
        return target.startswith("/evil?")

    def __getitem__(self, target):
        return self._answer


class Elsewhere(LoopbackServer):
    """Another server, which demands what it wants.

    :ivar reply: its answer to every request.
    """

    def answer(self, request):
        return self.reply


def test_a_redirect_to_another_server(server, auth, person):
    """A server that a redirect leads to can't have a person sign in, nor for a wider scope."""
    with Elsewhere() as other, httpx2.Client(auth=auth, follow_redirects=True) as client:
        server.replies["/mcp/away"] = Answer(307, b"", {"Location": f"{other.origin}/a"})
        where = f'Bearer resource_metadata="{other.origin}/metadata"'
        other.reply = Answer(401, b"", {"WWW-Authenticate": where})
        assert client.get(f"{server.url}/away").status_code == 401
        assert person.urls == []
        call(auth, server.url)
        needs = 'Bearer error="insufficient_scope", scope="admin"'
        other.reply = Answer(403, b"", {"WWW-Authenticate": needs})
        assert client.get(f"{server.url}/away").status_code == 403
        assert len(person.urls) == 1
        assert len(other.received) == 2
        assert {each.bearer for each in other.received} == {None}


def test_a_denial(server, make_auth):
    """A person who declines is not asked again for each request."""

    def declined(request):
        back = dict(request.query)
        where = (
            f"{back['redirect_uri']}?error=access_denied&state={back['state']}&iss={server.origin}"
        )
        return Answer(302, b"", {"Location": where})

    person = Person()
    auth = make_auth(on_sign_in=lambda url: person(url.replace("/authorize?", "/evil?")))
    server.replies = Redirecting(declined)
    assert failure(auth, server.url).error == "access_denied"
    assert failure(auth, server.url).error == "access_denied"
    person.leave()
    assert len(person.urls) == 1


def test_no_one_to_ask(server, make_auth, keeper):
    """Without on_sign_in no one is asked."""
    auth = make_auth(on_sign_in=None)
    error = failure(auth, server.url)
    assert isinstance(error, AuthorizationRequiredError)
    assert "No one is asked, because on_sign_in is None" in str(error)


def test_no_browser(server, make_auth, monkeypatch):
    """Where no browser can be opened, the error says so, without the URL."""
    monkeypatch.setattr("webbrowser.open", lambda url: False)
    error = failure(make_auth(on_sign_in=open_browser), server.url)
    assert isinstance(error, AuthorizationRequiredError)
    assert "on_sign_in raised OSError" in str(error)
    assert "state" not in str(error)


def test_the_browser(server, make_auth, monkeypatch, person):
    """By default the browser is opened."""
    monkeypatch.setattr("webbrowser.open", lambda url: person(url) or True)
    assert call(make_auth(on_sign_in=open_browser), server.url).status_code == 200


def test_waiting_no_longer(server, make_auth, person):
    """A request waits for a person no longer than its timeout; the sign-in goes on."""
    urls = []
    auth = make_auth(on_sign_in=urls.append, timeout=0.01)
    error = failure(auth, server.url)
    assert isinstance(error, TokenWaitTimeoutError)
    later = make_auth()
    assert later is not auth


@pytest.mark.anyio
async def test_waiting_no_longer_in_a_task(server, make_auth):
    """The same holds for a task."""
    auth = make_auth(on_sign_in=lambda url: None, timeout=0.01)
    async with httpx2.AsyncClient(auth=auth, verify=False) as client:
        with pytest.raises(TokenWaitTimeoutError):
            await client.get(server.url)


def test_a_port_that_is_taken(server, make_auth, tmp_path, person, monkeypatch):
    """If the registered port is taken, a client with another one is registered."""
    monkeypatch.setattr(loopback_listener, "PROBE_SECONDS", 0.01)
    store = f"sqlite:///{tmp_path}/tokens.db"
    with TokenKeeper(store=store) as keeper:
        call(make_auth(keeper), server.url)
    server.revoke_tokens()
    server.refresh_tokens.clear()
    (client,) = server.clients.values()
    port = int(client["redirect_uris"][0].rsplit(":", 1)[1].partition("/")[0])
    with Taken(port), TokenKeeper(store=store) as keeper:
        assert call(make_auth(keeper), server.url).status_code == 200
    assert len(server.clients) == 2
    assert len(person.urls) == 2


class TwoProcesses:
    """Two keepers that share a store and begin together; the first one's person is asked.

    :ivar first: the auth of the first, whose person signs in once the second has noticed that.
    :ivar second: the auth of the second.
    :ivar asked: set when the first one's person was asked.
    :ivar noticed: set when the second has noticed.
    """

    def __init__(self, keepers, make_auth, person, monkeypatch):
        self.asked, self.noticed = threading.Event(), threading.Event()
        self._person = person
        self.first = make_auth(keepers[0], scope="read", on_sign_in=self._ask)
        self.second = make_auth(keepers[1], scope="read")
        monkeypatch.setattr(_mcp_sign_in, "is_listening", self._is_listening)

    def _ask(self, url):
        self.asked.set()
        assert self.noticed.wait(GUARD_SECONDS)
        self._person(url)

    def _is_listening(self, port):
        self.noticed.set()
        return loopback_listener.is_listening(port)


@pytest.fixture
def two(make_auth, tmp_path, person, monkeypatch):
    """Return two processes with a store between them."""
    store = f"sqlite:///{tmp_path}/tokens.db"
    with TokenKeeper(store=store) as one, TokenKeeper(store=store) as other:
        yield TwoProcesses((one, other), make_auth, person, monkeypatch)


def test_processes_that_begin_together(server, two, person):
    """Of processes with an empty store, one has a person sign in; the others wait for it."""
    thread, outcome = in_thread(call, two.first, server.url)
    assert two.asked.wait(GUARD_SECONDS)
    assert call(two.second, server.url).status_code == 200
    thread.join(GUARD_SECONDS)
    assert outcome[0].status_code == 200
    assert len(person.urls) == len(server.asked("/register")) == 1


def test_processes_that_need_a_wider_scope_together(server, two, person):
    """A process that needs a wider scope waits until the port is free, and has a person asked."""
    server.resource["scopes_supported"] = ["read", "admin"]  # so one client will do
    two.noticed.set()
    for each in (two.first, two.second):
        assert call(each, server.url).status_code == 200
    two.asked.clear()
    two.noticed.clear()
    thread, outcome = in_thread(call, two.first, f"{server.url}/admin")
    assert two.asked.wait(GUARD_SECONDS)
    assert call(two.second, f"{server.url}/admin").status_code == 200
    thread.join(GUARD_SECONDS)
    assert outcome[0].status_code == 200
    assert len(person.urls) == 3
    assert len(server.clients) == 1


def test_another_sign_in_that_never_ends(keeper, server, make_auth, monkeypatch):
    """A process waits for another one's sign-in no longer than its own would last."""
    monkeypatch.setattr(_mcp_sign_in, "is_listening", lambda port: True)
    settings = make_auth(sign_in_timeout_seconds=300)._settings
    clock = SteppedClock(auto_step=True)
    began_at = clock.monotonic()
    assert not _mcp_sign_in.wait_for_others(settings, 8400, clock)
    assert clock.monotonic() - began_at == 300
    keeper.close()
    _mcp_sign_in.wait_for_others(settings, 8400, clock)
    assert clock.monotonic() - began_at == 300


class Taken:
    """Listens on a port for the length of a block."""

    def __init__(self, port):
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self._socket.listen()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._socket.close()


def test_nothing_is_locked_during_a_call(server, auth):
    """Calls of one auth run in parallel: each waits for the others here, and none for a lock."""
    call(auth, server.url)
    together = threading.Barrier(6)

    def slow(request):
        together.wait(GUARD_SECONDS)
        return Answer(200)

    server.replies["/mcp/slow"] = slow
    found = at_once(*[lambda: call(auth, f"{server.url}/slow").status_code] * 6)
    assert found == [200] * 6


def test_a_sign_in_holds_up_nobody(server, make_auth):
    """While a person is asked for a wider scope, other calls go on."""
    server.resource["scopes_supported"] = ["read", "admin"]
    shown, urls = threading.Event(), []
    person = Person()

    def ask(url):
        if not urls:
            person(url)
        urls.append(url)
        shown.set()

    auth = make_auth(on_sign_in=ask, scope="read")
    call(auth, server.url)
    shown.clear()
    thread, outcome = in_thread(call, auth, f"{server.url}/admin")
    assert shown.wait(GUARD_SECONDS)
    assert call(auth, server.url).status_code == 200
    person(urls[1])
    thread.join(GUARD_SECONDS)
    person.leave()
    assert outcome[0].status_code == 200


def test_a_page_that_does_not_know_the_client(server, make_auth, tmp_path):
    """If no answer comes for an old registration, the next sign-in is that of a new client."""
    store = f"sqlite:///{tmp_path}/tokens.db"
    with TokenKeeper(store=store) as keeper, pytest.raises(AuthorizationRequiredError):
        call(make_auth(keeper, on_sign_in=None), server.url)
    server.forget_clients()
    clock, person = SteppedClock(), Person()

    def look_and_leave(url):
        person(url)
        if len(person.urls) == 1:
            person.leave()
            clock.step(301)

    with TokenKeeper(store=store, clock=clock) as keeper:
        auth = make_auth(keeper, on_sign_in=look_and_leave)
        assert "took too long" in str(failure(auth, server.url))
        auth.connect()
    person.leave()
    assert len(server.asked("/register")) == 2
