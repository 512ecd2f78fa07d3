"""The device flow at Authlib's server, on one clock for both sides."""

import pytest
from kit.polling import PersonsClock

from tokenkeeper import AuthorizationRequiredError, TokenAcquisitionError
from tokenkeeper.providers.grants.device_code import DeviceCode


@pytest.fixture
def clock(server):
    """Return the clock."""
    return PersonsClock(server.step)


@pytest.fixture
def keeper(server, clock, make_keeper, make_provider):
    """Return a keeper whose provider "tv" needs a sign-in on another device."""
    server.add_client("tv", grant_types=[DeviceCode.grant_type, "refresh_token"])
    endpoints = {"device_authorization_endpoint": f"{server.issuer}/oauth/device"}
    provider = make_provider(
        "tv", "tv", config={"endpoints": endpoints}, grant=DeviceCode(), clock=clock
    )
    return make_keeper(provider, clock=clock)


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
