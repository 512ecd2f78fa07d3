"""Connections that a server closes, or forgets, while they are idle between two renewals.

Tokenkeeper's own session uses each connection once, so there are none. A session of the caller's
own may keep them.
"""

import gc

import pytest
import requests
from servers import fault_proxy as faults
from servers.fault_proxy import Visit


@pytest.fixture
def session():
    """Return a session that keeps its connections open."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture
def client(make_client, session):
    """Return a client of the caller's own session."""
    return make_client(session=session)


@pytest.mark.parametrize("how", [Visit.close, Visit.reset], ids=["FIN", "RST"])
def test_closed_while_idle(kit, client, proxy, how):
    """The next renewal takes a new connection; nobody sees anything of it."""
    tokens = {client.get()}
    for _ in range(5):
        before = proxy.tries
        assert proxy.drop_idle(how) == 1
        tokens.add(client.get(force_refresh=True))
        assert proxy.tries - before in (1, 2)
    assert len(tokens) == 6
    assert proxy.connections == 6
    assert client.granted == 6


@pytest.mark.parametrize("fault", [faults.CLOSE_BEFORE, faults.RESET_BEFORE], ids=["FIN", "RST"])
def test_closed_as_the_next_request_comes(client, proxy, fault):
    """A close that crosses the next request costs one request too many, and no caller."""
    client.get()
    proxy.plan(fault)
    client.get(force_refresh=True)
    assert proxy.tries == 3
    assert proxy.connections == 2


def test_half_open(make_client, session, proxy, kit):
    """A connection that is dead at the other end costs the read timeout once, and no caller."""
    client = make_client(read_timeout=0.5, session=session)
    proxy.plan(faults.GO_DEAF)
    first = client.get()
    assert proxy.open == 1
    assert client.get(force_refresh=True) != first
    assert proxy.connections == 2
    assert proxy.tries == 2  # what a deaf connection gets counts nowhere
    assert client.granted == 2
    kit.until(lambda: proxy.open == 1, "the dead connection closed")


def test_half_open_in_the_background(make_client, session, proxy, kit):
    """The renewal in the background finds out, tries again, and the token is served all along."""
    client = make_client(read_timeout=0.5, session=session)
    proxy.plan(faults.GO_DEAF)
    first = client.get()
    client.clock.ahead += 57 * 60
    while client.info["renewals"] == 0:
        assert client.keeper.get_token(client.name) == first or client.info["renewals"] == 1
    assert client.get() != first
    assert client.granted == 2


def test_keep_alive_is_used(client, proxy):
    """Without a fault all requests share one connection, so the tests above are about something."""
    for _ in range(5):
        client.get(force_refresh=True)
    assert proxy.connections == 1


def test_our_own_session_uses_no_connection_twice(make_client, proxy, kit):
    """Each request has a connection of its own, closed as soon as the answer was read."""
    client = make_client()
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
