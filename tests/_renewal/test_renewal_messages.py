"""The messages about a renewal that fails while the token is still valid."""

import socket

import pytest
import requests
from kit.servers.raw import CLOSED_PORT

from tokenkeeper import GenericOAuth2Provider, OAuth2Config, RetryPolicy, TokenKeeper
from tokenkeeper.events import RenewalFailed
from tokenkeeper.testing import LoopbackAuthorizationServer, StaticProvider, SteppedClock

ONCE = RetryPolicy(attempts=1)


class Foreign(StaticProvider):
    """Raises the errors that a custom provider may raise."""

    error = None

    def acquire_token(self):
        if self.error is not None:
            raise self.error
        return super().acquire_token()


def fail_by(server, how):
    """Let the next token request fail, and return the expected reason in metrics."""
    if how == "503":
        server.go_down("503")
        return None
    if how == "reset":
        server.go_down("reset")
        return "connection_broken"
    if how == "invalid_client":
        server.refuse("invalid_client")
        return None
    server.go_down("stall")
    return "timeout"


@pytest.mark.parametrize("how", ["503", "reset", "stall", "invalid_client"])
def test_a_valid_token_is_not_denied(how, caplog):
    """No message claims that there is no token while one is served, and each names the failure."""
    events = []
    clock = SteppedClock()
    with (
        LoopbackAuthorizationServer(clock=clock) as server,
        TokenKeeper(background=False, retry=ONCE, clock=clock, hooks=[events.append]) as keeper,
    ):
        keeper.add_provider(server.provider("api", read_timeout=0.2, clock=clock))
        token = keeper.get_token("api")
        clock.step(3400)
        reason = fail_by(server, how)
        assert keeper.get_token("api") == token
        server.come_back()
        (failed,) = [each for each in events if isinstance(each, RenewalFailed)]
        said = [
            failed.reason,
            str(keeper.get_cached_token_info("api")["last_error"]),
            str(keeper.health()["providers"]["api"]["last_error"]),
            caplog.text,
        ]
    assert failed.network_reason == reason
    for text in said:
        assert "no token" not in text
        assert "'api'" in text
    assert said[1] == said[0]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionRefusedError(), "connection_refused"),
        (socket.gaierror(-2, "no"), "dns"),
        (requests.exceptions.SSLError(), "tls"),
        (TimeoutError(), "timeout"),
        (ValueError(), None),
    ],
)
def test_a_provider_s_own_network_errors(error, reason):
    """The errors of a custom provider are named like those of our own."""
    events = []
    clock = SteppedClock()
    provider = Foreign("api", "a token", clock=clock)
    provider.retry = ONCE
    with TokenKeeper(background=False, clock=clock, hooks=[events.append]) as keeper:
        keeper.add_provider(provider)
        keeper.get_token("api")
        clock.step(3400)
        provider.error = error
        keeper.get_token("api")
    (failed,) = [each for each in events if isinstance(each, RenewalFailed)]
    assert failed.network_reason == reason
    assert "no token" not in failed.reason


def test_a_real_connection_that_is_refused():
    """A refused connection is reported with host, port and what to check."""
    events = []
    config = OAuth2Config("api", "me", "secret", f"http://127.0.0.1:{CLOSED_PORT}/token")
    with TokenKeeper(background=False, retry=ONCE, hooks=[events.append]) as keeper:
        keeper.add_provider(GenericOAuth2Provider(config))
        with pytest.raises(Exception, match=r"was refused\. Check host and port"):
            keeper.get_token("api")
    assert events[0].network_reason == "connection_refused"
