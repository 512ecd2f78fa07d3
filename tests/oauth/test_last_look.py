"""The last look at a claim: right before bytes are sent, after the connection was made."""

import socket

import pytest
import requests
import requests.adapters
from kit.servers.base import Answer, LoopbackServer
from kit.servers.entra import CLIENT_ID, SECRET, TENANT, Entra

from tokenkeeper import AzureADProvider, GenericOAuth2Provider, OAuth2Config, TokenKeeper
from tokenkeeper.oauth.claims import LookAgain, claimed, is_claimed, may_send, without_claim
from tokenkeeper.oauth.transport import HttpTransport
from tokenkeeper.testing.stores import MemoryTokenStore


class TokenServer(LoopbackServer):
    """Grants a token to everyone."""

    def answer(self, request):
        return Answer(200, {"access_token": "a", "token_type": "Bearer", "expires_in": 3600})


@pytest.fixture
def server():
    with TokenServer() as server:
        yield server


def post(server, **options):
    transport = HttpTransport(**options)
    return transport.request("POST", f"{server.origin}/token", provider_name="api", data={"a": "b"})


def test_nothing_is_sent_with_an_old_claim(server):
    """A claim that grows too old while the connection is made sends nothing over it."""
    looks = iter([True, False])
    with claimed(lambda: next(looks)), pytest.raises(LookAgain):
        post(server)
    assert server.received == []


def test_the_body_is_not_sent_either(server):
    """A claim that grows too old after the headers leaves the request incomplete."""
    looks = iter([True, True, False])
    with claimed(lambda: next(looks)), pytest.raises(LookAgain):
        post(server)
    assert not any(request.body for request in server.received)


def test_a_young_claim_sends(server):
    """With a young claim, and without any, the request is sent."""
    for context in (claimed(lambda: True), without_claim()):
        with context:
            assert post(server).status == 200
            assert may_send()
    assert len(server.received) == 2
    assert is_claimed() is None


class OwnAdapter(requests.adapters.BaseAdapter):
    """Sends in its own way."""

    def send(self, *args, **options):
        raise AssertionError("it was sent")

    def close(self):
        pass


def test_an_adapter_of_its_own(server):
    """An adapter that connects in its own way is not called with an old claim."""
    with requests.Session() as session:
        session.mount("http://", OwnAdapter())
        with claimed(lambda: False), pytest.raises(LookAgain):
            post(server, session=session)


def test_msal_sends_nothing(tmp_path):
    """No request of msal is sent with an old claim, and msal does not replace the exception."""
    with Entra(tmp_path) as entra:
        provider = AzureADProvider(
            "azure", CLIENT_ID, SECRET, TENANT, authority=entra.authority, verify=entra.ca_file
        )
        looks = iter([True, False])
        with claimed(lambda: next(looks)), pytest.raises(LookAgain):
            provider.acquire_token()
        assert entra.requests == []


def test_a_process_that_was_stopped_starts_over(server, clock, monkeypatch):
    """A request that was stopped between claim and sending is not sent: the attempt starts over."""
    config = OAuth2Config("api", "id", "secret", f"{server.origin}/token")
    resolve, sleeps = socket.getaddrinfo, iter([40.0])

    def stopped_meanwhile(*args, **options):
        clock.step(next(sleeps, 0.0))
        return resolve(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", stopped_meanwhile)
    provider = GenericOAuth2Provider(config, clock=clock, total_timeout=60)
    provider.longest_request_seconds = 30.0
    with TokenKeeper(store=MemoryTokenStore(clock), clock=clock) as keeper:
        keeper.add_provider(provider)
        assert keeper.get_token("api") == "a"
    assert len(server.received) == 1
    assert next(sleeps, None) is None
