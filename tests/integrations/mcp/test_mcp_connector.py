"""How the work of connecting is shared, also where something is out of the ordinary."""

import logging
import socket
import threading

import anyio
import pytest
from kit.crowds import at_once, in_thread
from kit.guards import GUARD_SECONDS
from kit.mcp_calls import call
from kit.servers.base import Answer

from tokenkeeper import (
    ClientCredentials,
    GenericOAuth2Provider,
    InvalidConfigurationError,
    OAuth2Config,
    PrivateKeyJwt,
    SigningKey,
    TokenAcquisitionError,
    TokenKeeper,
)
from tokenkeeper._renewal.flight import Flight
from tokenkeeper.integrations import _mcp_turns, _shared_work
from tokenkeeper.integrations._mcp_clients import _free_port
from tokenkeeper.integrations._mcp_connection import Connection, Demand, union
from tokenkeeper.integrations._mcp_turns import turn_of
from tokenkeeper.integrations.mcp import McpAuth
from tokenkeeper.oauth import loopback_listener
from tokenkeeper.testing import SteppedClock


@pytest.fixture
def auth(server, keeper):
    """Return an auth that needs no person."""
    return McpAuth(keeper, server.url, grant=ClientCredentials(), scope="read")


class Held:
    """Answers that wait until they are let go.

    :ivar begun: set when a request has come.
    """

    def __init__(self, answer):
        self.begun, self.go = threading.Event(), threading.Event()
        self._answer = answer

    def __call__(self, request):
        self.begun.set()
        assert self.go.wait(GUARD_SECONDS)
        return self._answer(request) if callable(self._answer) else self._answer


@pytest.fixture
def held(server):
    """Hold up registrations."""
    held = Held(lambda request: server._register({"redirect_uris": [], "scope": "read a b"}))
    server.replies["/register"] = held
    yield held
    held.go.set()


def test_joining_another_need(server, auth, held):
    """A caller that joins work for another scope goes on until it has its own."""
    connector = auth._connector
    one, first = in_thread(connector.connect, Demand(scope=("a",)))
    assert held.begun.wait(GUARD_SECONDS)
    other, second = in_thread(connector.connect, Demand(scope=("b",)))
    third = []

    async def by_task():
        third.append(await connector.connect_async(Demand(scope=("b",))))

    task = threading.Thread(target=anyio.run, args=(by_task,))
    task.start()
    held.go.set()
    for each in (one, other, task):
        each.join(GUARD_SECONDS)
    assert first[0].scope == ("read", "a")
    assert second[0] is third[0]
    assert second[0].scope == ("read", "a", "b")


def test_what_is_met(server, auth):
    """A connection that does is returned at once, also if it was made meanwhile."""
    connection = auth._connector.connect(Demand())
    assert auth._connector.connect(Demand()) is connection

    async def again():
        return await auth._connector.connect_async(Demand())

    assert anyio.run(again) is connection
    assert isinstance(connection, Connection)
    assert not connection.meets(Demand(after=1))
    assert union(("a", "b"), ("b", "c")) == ("a", "b", "c")


def test_a_fork_in_the_middle(server, auth, held):
    """A forked child does not wait for work whose thread stayed with the parent."""
    thread, outcome = in_thread(auth._connector.connect, Demand())
    assert held.begun.wait(GUARD_SECONDS)
    auth._connector.after_fork_in_child()
    held.go.set()
    thread.join(GUARD_SECONDS)
    assert outcome[0].number == 1
    assert auth._connector.current is None
    assert call(auth, server.url).status_code == 200


def test_a_turn_after_a_fork(keeper):
    """A forked child does not wait for a turn that a thread of the parent has."""
    turn = turn_of(keeper, "api", "client")
    assert turn_of(keeper, "api", "client") is turn
    assert turn_of(keeper, "api", "sign-in") is not turn
    assert turn_of(keeper, "other", "client") is not turn
    with turn:
        _mcp_turns._turns.after_fork_in_child()
        assert turn_of(keeper, "api", "client").acquire(blocking=False)


def test_beginning_without_waiting(server, auth, held):
    """Work can be begun for later requests; if it has just failed, it is not."""
    auth._connector.begin(Demand())
    assert held.begun.wait(GUARD_SECONDS)
    server.replies["/register"] = Answer(400)
    held.go.set()
    assert auth._connector.connect(Demand()).number == 1
    with pytest.raises(TokenAcquisitionError):
        auth._connector.connect(Demand(scope=("other",)))
    auth._connector.begin(Demand(scope=("other",)))
    assert len(server.asked("/register")) == 2


@pytest.mark.parametrize(("status", "pause"), [(503, 2.0), (404, 30.0)])
def test_how_long_a_failure_stands(server, status, pause):
    """A failure that may pass is tried again soon, another one later; connect() insists."""
    clock = SteppedClock()
    with TokenKeeper(clock=clock) as keeper:
        auth = McpAuth(keeper, server.url, grant=ClientCredentials())
        server.metadata, good = Answer(status), server.metadata

        def attempt():
            with pytest.raises(TokenAcquisitionError):
                call(auth, server.url)
            return len(server.asked("/.well-known/oauth-protected-resource/mcp"))

        assert attempt() == 1
        clock.step(pause - 0.1)
        assert attempt() == 1
        clock.step(0.1)
        assert attempt() == 2
        clock.step(30)
        server.metadata = good
        auth.connect()


def test_a_host_without_threads(server, auth, monkeypatch):
    """Where no thread can be started, the caller does the work."""

    def refuse(*arguments, **options):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_shared_work.threading, "Thread", refuse)
    flight = Flight()
    _shared_work.start(flight, lambda: 7, "api")
    assert flight.result() == 7


def test_a_fault_of_ours(caplog):
    """A fault in the work is an error for callers that wait, not a wait for ever."""
    flight = Flight()
    with caplog.at_level(logging.ERROR):
        _shared_work.start(flight, lambda: {}["missing"], "api")
        assert flight.wait(GUARD_SECONDS)
    with pytest.raises(TokenAcquisitionError, match="connecting failed with KeyError"):
        flight.result()
    assert "please report this" in caplog.text


def test_a_public_client(server, keeper, person):
    """A client that was registered by hand signs people in at the port that it has."""
    server.clients["mine"] = {"redirect_uris": Anything()}
    auth = McpAuth(keeper, server.url, client_id="mine", on_sign_in=person)
    assert call(auth, server.url).status_code == 200
    assert server.asked("/register") == []
    assert server.forms()[0]["client_id"] == "mine"


class Anything:
    """Contains everything."""

    def __contains__(self, each):
        return True


def test_a_port_of_ones_own(server, keeper, person):
    """A port that is set is the one that is registered and listened on."""
    port = _free_port()
    auth = McpAuth(keeper, server.url, on_sign_in=person, redirect_port=port)
    assert call(auth, server.url).status_code == 200
    (client,) = server.clients.values()
    assert client["redirect_uris"] == [f"http://127.0.0.1:{port}/callback"]


def test_a_key(server, keeper):
    """A client may authenticate with a key."""
    auth = McpAuth(
        keeper,
        server.url,
        client_id="given",
        client_auth=PrivateKeyJwt(SigningKey.generate("ES256")),
        issuer=server.origin,
        grant=ClientCredentials(),
    )
    assert call(auth, server.url).status_code == 200
    assert "client_assertion" in server.forms()[0]


def test_a_client_that_is_refused(server, keeper):
    """A client that was registered by hand is not replaced if the server refuses it."""
    server.replies["/token"] = Answer(401, {"error": "invalid_client"})
    auth = McpAuth(
        keeper,
        server.url,
        client_id="given",
        client_secret="a-secret",
        issuer=server.origin,
        grant=ClientCredentials(),
    )
    with pytest.raises(TokenAcquisitionError) as caught:
        call(auth, server.url)
    assert caught.value.error == "invalid_client"
    assert len(server.asked("/token")) == 1


def test_a_given_client_that_is_refused_later(server, keeper):
    """The same holds later on: its caller gets the error."""
    auth = McpAuth(
        keeper,
        server.url,
        client_id="given",
        client_secret="a-secret",
        issuer=server.origin,
        grant=ClientCredentials(),
    )
    call(auth, server.url)
    server.revoke_tokens()
    server.replies["/token"] = Answer(401, {"error": "invalid_client"})
    with pytest.raises(TokenAcquisitionError):
        call(auth, server.url)
    assert server.asked("/register") == []


def test_without_a_scope(server, keeper):
    """Where no scope is known, none is registered and none is requested."""
    del server.resource["scopes_supported"]
    auth = McpAuth(keeper, server.url, grant=ClientCredentials())
    assert call(auth, server.url).status_code == 200
    (client,) = server.clients.values()
    assert "scope" not in client
    assert "scope" not in server.forms()[0]


def test_beside_other_providers(server, keeper, auth):
    """The keeper's other providers are left alone."""
    other = GenericOAuth2Provider(OAuth2Config("x", "id", "secret", token_url="https://as.test/t"))
    keeper.add_provider(other)
    assert call(auth, server.url).status_code == 200
    assert keeper.list_providers() == ["x", server.url]


def test_the_same_client_added_by_hand(server, keeper):
    """A provider with the same settings that is there already is used."""
    keeper.add_provider(
        GenericOAuth2Provider(
            OAuth2Config(
                "mine",
                "given",
                "a-secret",
                issuer=server.origin,
                additional_params={"resource": server.url},
            )
        )
    )
    auth = McpAuth(
        keeper,
        server.url,
        provider_name="mine",
        client_id="given",
        client_secret="a-secret",
        issuer=server.origin,
        grant=ClientCredentials(),
    )
    assert call(auth, server.url).status_code == 200
    assert keeper.list_providers() == ["mine"]


def test_a_crowd_that_fails(server, auth):
    """A crowd shares one failure."""
    server.replies["/register"] = Answer(400)
    found = at_once(*[lambda: call(auth, server.url)] * 8)
    assert {type(each) for each in found} == {TokenAcquisitionError}
    assert len(server.asked("/register")) == 1


def test_a_fixed_port_that_is_taken(server, keeper, person, monkeypatch):
    """If the port that is set is taken, the error names it."""
    monkeypatch.setattr(loopback_listener, "PROBE_SECONDS", 0.01)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        auth = McpAuth(keeper, server.url, on_sign_in=person, redirect_port=taken.getsockname()[1])
        with pytest.raises(InvalidConfigurationError) as caught:
            call(auth, server.url)
    assert caught.value.field == "redirect_port"
