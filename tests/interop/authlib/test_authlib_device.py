"""The device flow at Authlib's server, on one clock for both sides."""

import pytest
from kit.polling import PersonsClock
from kit.servers.fault_proxy import Fault, FaultProxy

from tokenkeeper import AuthorizationRequiredError, TokenAcquisitionError
from tokenkeeper.providers.grants.device_code import DeviceCode


@pytest.fixture
def clock(server):
    """Return the clock."""
    return PersonsClock(server.step)


@pytest.fixture
def keeper_of(server, clock, make_keeper, make_provider):
    """Return a function that makes a keeper whose provider "tv" needs a sign-in elsewhere."""

    def make(**config):
        server.add_client("tv", grant_types=[DeviceCode.grant_type, "refresh_token"])
        endpoints = {"device_authorization_endpoint": f"{server.issuer}/oauth/device"}
        provider = make_provider(
            "tv", "tv", config={"endpoints": endpoints, **config}, grant=DeviceCode(), clock=clock
        )
        return make_keeper(provider, clock=clock)

    return make


@pytest.fixture
def keeper(keeper_of):
    """Return a keeper."""
    return keeper_of()


@pytest.fixture
def proxy(server):
    """Return a proxy in front of the server."""
    with FaultProxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def proxied(keeper_of, proxy):
    """Return a keeper that polls through the proxy."""
    return keeper_of(token_url=proxy.url())


def test_approval(server, clock, keeper):
    """A person approves after twelve seconds, and the third poll brings the token."""
    authorization = keeper.authorize("tv")
    assert authorization.url == f"https://id.example.com/device?user_code={authorization.user_code}"
    clock.at(12, lambda: server.decide(authorization.user_code, approved=True))
    authorization.wait()
    assert server.step(0) == [5, 10, 15]
    status, content = server.call(keeper.get_token("tv"))
    assert (status, content["user"], content["grant_type"]) == (200, "alice", DeviceCode.grant_type)
    clock.step(4000)
    assert server.call(keeper.get_token("tv"))[1]["grant_type"] == "refresh_token"


def test_slow_down(server, clock, keeper):
    """After a ``slow_down`` the pauses are 5 s longer for good, as a strict server requires."""
    authorization = keeper.authorize("tv")
    server.decide(authorization.user_code, required_seconds=8)
    clock.at(44, lambda: server.decide(authorization.user_code, approved=True))
    authorization.wait()
    assert server.step(0) == [5, 15, 25, 35, 45]


LOST = Fault("lost", lambda connection, answer: connection.reset())


def test_a_lost_connection(server, clock, proxied, proxy):
    """A poll whose answer is lost is repeated after twice the interval."""
    authorization = proxied.authorize("tv")
    clock.at(1, lambda: proxy.plan(LOST))
    clock.at(14, lambda: server.decide(authorization.user_code, approved=True))
    authorization.wait()
    assert server.step(0) == [5, 15]
    assert server.call(proxied.get_token("tv"))[0] == 200


def test_a_lost_token(server, clock, proxied, proxy):
    """If the answer with the token is lost, the code is used up, and the error says why."""
    authorization = proxied.authorize("tv")
    clock.at(7, lambda: server.decide(authorization.user_code, approved=True))
    clock.at(7, lambda: proxy.plan(LOST))
    with pytest.raises(AuthorizationRequiredError, match="it is lost"):
        authorization.wait()
    assert server.step(0) == [5, 10, 20]


def test_denial(server, clock, keeper):
    """A denial is a final error, and no poll follows."""
    authorization = keeper.authorize("tv")
    clock.at(7, lambda: server.decide(authorization.user_code, approved=False))
    with pytest.raises(AuthorizationRequiredError, match="denied the request"):
        authorization.wait()
    assert server.step(0) == [5, 10]


def test_expiry(server, keeper):
    """The last poll is made before the code expires, after two minutes."""
    authorization = keeper.authorize("tv")
    with pytest.raises(AuthorizationRequiredError, match="was not approved"):
        authorization.wait()
    assert server.step(0) == [*range(5, 120, 5)]


def test_a_code_that_expired_at_the_server(server, clock, keeper):
    """Where the server's clock is ahead, its ``expired_token`` says to begin again."""
    authorization = keeper.authorize("tv")
    server.step(120)
    with pytest.raises(AuthorizationRequiredError, match="in time") as caught:
        authorization.wait()
    assert caught.value.error == "expired_token"
    assert len(server.step(0)) == 1


def test_a_client_that_may_not(server, clock, make_keeper, make_provider):
    """A client without the grant gets a code from Authlib, and one refusal for its poll."""
    server.add_client("other")
    endpoints = {"device_authorization_endpoint": f"{server.issuer}/oauth/device"}
    provider = make_provider(
        "tv", "other", config={"endpoints": endpoints}, grant=DeviceCode(), clock=clock
    )
    with pytest.raises(TokenAcquisitionError, match="unauthorized_client"):
        make_keeper(provider, clock=clock).authorize("tv").wait()
    assert server.stats("other")["token_requests"] == 1
