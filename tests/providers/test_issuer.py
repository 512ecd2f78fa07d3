"""Tokens from a server that is known by its issuer."""

import gc
import logging
import pickle
import socket
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
from kit.crowds import at_once
from kit.servers.base import Answer
from kit.servers.issuer import OAUTH, OPENID, IssuerServer

from tokenkeeper import (
    GenericOAuth2Provider,
    OAuth2Config,
    RetryPolicy,
    TokenAcquisitionError,
    TokenKeeper,
)
from tokenkeeper.testing.stores import MemoryTokenStore

ISSUER = "https://id.example.com/tenant1"
THREADS = 24


@pytest.fixture
def server():
    with IssuerServer() as server:
        yield server


def provider(issuer, name="api", *, endpoints=None, **options):
    config = OAuth2Config(name, "me", "secret", issuer=issuer, endpoints=endpoints)
    return GenericOAuth2Provider(config, **options)


def test_the_issuer_is_enough(server, clock):
    """A client that knows only the issuer gets a token, and reads the metadata once an hour."""
    issuer = server.publish("/t1", at=f"/t1{OPENID}")
    api = provider(issuer, clock=clock)
    with TokenKeeper(clock=clock, background=False) as keeper:
        keeper.add_provider(api)
        assert keeper.get_token("api") == "a"
        keeper.get_token("api", force_refresh=True)
        assert server.metadata_requests == [f"{OAUTH}/t1", f"{OPENID}/t1", f"/t1{OPENID}"]
        assert server.token_requests == ["/token", "/token"]
        clock.step(3600)
        keeper.get_token("api")
        assert len(server.metadata_requests) == 6


def test_a_cold_crowd(server):
    """Many threads with a token each, and none of them granted yet, read the metadata once."""
    issuer = server.publish()
    with TokenKeeper(max_workers=THREADS) as keeper:
        names = [f"api-{number}" for number in range(THREADS)]
        for name in names:
            keeper.add_provider(provider(issuer, name))
        assert at_once(*[lambda name=name: keeper.get_token(name) for name in names]) == (
            ["a"] * THREADS
        )
    assert server.metadata_requests == [OAUTH]
    assert len(server.token_requests) == THREADS


def test_a_failure_that_passes(server, clock):
    """A failure to get the metadata that may pass is retried, without a token request."""
    issuer = server.publish()
    served = server.published[OAUTH]
    server.published[OAUTH] = [Answer(503), Answer(503), served]
    with TokenKeeper(clock=clock, background=False) as keeper:
        keeper.add_provider(provider(issuer, clock=clock))
        assert keeper.get_token("api") == "a"
    assert server.metadata_requests == [OAUTH, OPENID] * 2 + [OAUTH]
    assert len(server.token_requests) == 1


def test_every_retry_is_a_request(server, clock):
    """A retry waits until the metadata may be requested again, so that none is wasted."""
    server.published[OAUTH] = Answer(503)
    retry = RetryPolicy(attempts=4)
    with TokenKeeper(clock=clock, background=False, retry=retry) as keeper:
        keeper.add_provider(provider(server.origin, clock=clock))
        with pytest.raises(TokenAcquisitionError, match="the metadata of http") as caught:
            keeper.get_token("api")
    assert (caught.value.attempts, caught.value.transient) == (4, True)
    assert server.metadata_requests == [OAUTH, OPENID] * 4


def test_a_final_failure(server, clock):
    """A wrong issuer is one attempt, and no token request."""
    server.publish(issuer=f"{server.origin}/")
    with TokenKeeper(clock=clock, background=False) as keeper:
        keeper.add_provider(provider(server.origin, clock=clock))
        with pytest.raises(TokenAcquisitionError, match="Set issuer exactly") as caught:
            keeper.get_token("api")
    assert (caught.value.attempts, caught.value.transient) == (1, False)
    assert server.token_requests == []


def test_unsupported_things_are_one_warning(server, clock, caplog):
    """A provider and all of its tokens warn once of what the server does not list."""
    issuer = server.publish(grant_types_supported=["authorization_code"])
    with TokenKeeper(clock=clock, background=False) as keeper:
        keeper.add_provider(provider(issuer, clock=clock))
        for scope in (None, "a", "b"):
            keeper.source("api", scope=scope)()
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "client_credentials is not supported by the server" in warnings[0]


def test_how_long_a_request_may_take():
    """A request for the metadata may precede that for the token, and both count for a claim."""
    assert provider(ISSUER).longest_request_seconds == 60
    assert provider(ISSUER, total_timeout=5).longest_request_seconds == 10
    other = OAuth2Config("api", "me", "secret", "https://id.example.com/token")
    assert GenericOAuth2Provider(other).longest_request_seconds == 30


def test_a_claim_lasts_for_both_requests(server, clock, monkeypatch):
    """A claim that is older than one request may take, because of the metadata, is still young."""
    issuer = server.publish()
    resolve = socket.getaddrinfo
    waits = [29.0, 0.0, 10.0, 0.0]  # two for each request, which may take 30 seconds

    def slow(*args, **options):
        clock.step(waits.pop(0))
        return resolve(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with TokenKeeper(store=MemoryTokenStore(clock), clock=clock, background=False) as keeper:
        keeper.add_provider(provider(issuer, clock=clock))
        assert keeper.get_token("api") == "a"
    assert waits == []
    assert len(server.token_requests) == 1


def test_what_a_provider_says_of_itself():
    """A provider names its issuer, and a token endpoint only if that is configured."""
    api = provider(ISSUER)
    assert repr(api) == f"<GenericOAuth2Provider 'api' at {ISSUER}>"
    assert api.identity()["issuer"] == api.describe()["issuer"] == ISSUER
    assert not {"token_url"} & {*api.identity(), *api.describe()}
    stated = provider(ISSUER, endpoints={"token_endpoint": f"{ISSUER}/token?key=k"})
    assert stated.describe()["token_url"] == f"{ISSUER}/token"
    assert stated.identity() == api.identity()
    other = provider(f"{ISSUER}/")
    assert other.identity() != api.identity()


def test_in_another_process(server):
    """A provider that is sent to another process reads the metadata there."""
    issuer = server.publish()
    config = OAuth2Config(
        "api", "me", "secret", issuer=issuer, additional_params={"refresh_token": "r"}
    )
    api = GenericOAuth2Provider(config, grant_type="refresh_token")
    again = pickle.loads(pickle.dumps(api.for_another_process()))()
    assert again.acquire_token().access_token == "a"
    assert server.metadata_requests == [OAUTH]


def test_a_provider_is_small():
    """A provider with an issuer takes little more memory than one with a token endpoint."""
    keep = [provider(ISSUER)]
    gc.collect()
    tracemalloc.start()
    try:
        keep += [provider(ISSUER, f"api-{number}") for number in range(500)]
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held / 500 < 650


def test_clients_with_other_settings_share_nothing(server):
    """A client with other settings of HTTP reads the metadata itself."""
    issuer = server.publish()
    settings = [{}, {}, {"read_timeout": 7}, {"read_timeout": 7}]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda each: provider(issuer, **each).acquire_token(), settings))
    assert server.metadata_requests == [OAUTH] * 2
