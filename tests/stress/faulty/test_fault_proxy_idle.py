"""Connections are used once, so that none can be closed or lost between two renewals."""

import gc

import pytest
import requests
from kit.servers import fault_proxy as faults
from kit.servers.fault_proxy import Connection


@pytest.fixture
def session():
    """Return a session that keeps its connections open, where requests decides."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture(params=["our own session", "a caller's session"])
def client(request, make_client, session):
    """Return a client with either kind of session."""
    return make_client(**{"session": session} if "caller" in request.param else {})


@pytest.mark.parametrize("how", [Connection.close, Connection.reset], ids=["FIN", "RST"])
def test_nothing_is_idle(kit, client, proxy, how):
    """Between two renewals there is no connection that the server could close."""
    tokens = {client.get()}
    for _ in range(3):
        before = proxy.attempts
        kit.until(lambda: proxy.open == 0, "the connection closed")
        assert proxy.drop_idle(how) == 0
        tokens.add(client.get(force_refresh=True))
        assert proxy.attempts - before == 1
    assert len(tokens) == proxy.connections == client.granted == 4


@pytest.mark.parametrize("fault", [faults.CLOSE_BEFORE, faults.RESET_BEFORE], ids=["FIN", "RST"])
def test_closed_as_the_next_request_comes(client, proxy, fault):
    """A close that crosses a request costs at most one more request, and no caller's error."""
    client.get()
    proxy.plan(fault)
    client.get(force_refresh=True)
    assert proxy.attempts == 3
    assert proxy.connections == 3


def test_dead_at_the_other_end(client, proxy):
    """A connection that is lost after its answer can't make the next request hang."""
    proxy.plan(faults.GO_DEAF)
    first = client.get()
    assert client.get(force_refresh=True) != first
    assert proxy.attempts == proxy.connections == client.granted == 2


def test_no_connection_is_used_twice(client, proxy, kit):
    """Each request has its own connection, which is closed once the answer was read."""
    gc.collect()
    gc.disable()
    try:
        proxy.plan(faults.RESET_BEFORE)
        for _ in range(5):
            client.get(force_refresh=True)
            kit.until(lambda: proxy.open == 0, "the connection closed")
        assert proxy.connections == 6
    finally:
        gc.enable()
