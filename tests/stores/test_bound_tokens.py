"""Tokens that are bound to a key, as processes share them through a store."""

import json
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from kit.processes import Child
from kit.servers.dpop import DPoPServer

from tokenkeeper import (
    GenericOAuth2Provider,
    InvalidConfigurationError,
    OAuth2Config,
    OAuth2Token,
    TokenKeeper,
)
from tokenkeeper.oauth import dpop
from tokenkeeper.oauth.dpop import DPoPKey
from tokenkeeper.stores.contents import StoredToken
from tokenkeeper.stores.sealed import UnreadableError


def given_key():
    return DPoPKey(ec.generate_private_key(ec.SECP256R1()))


def record_of(key):
    ends = datetime.now(UTC) + timedelta(hours=1)
    token = OAuth2Token("abc", "DPoP", ends, dpop_key=key)
    return StoredToken(token, "api", 1.0, "host:1").to_bytes()


def test_a_generated_key_travels_with_the_token(monkeypatch):
    """A process that has not generated the key gets it with the token."""
    key = DPoPKey()
    record = record_of(key)
    assert StoredToken.from_bytes(record).token.dpop_key is key
    monkeypatch.setattr(dpop, "_known", {})
    found = StoredToken.from_bytes(record)
    assert found.token.dpop_key is not key
    assert found.token.dpop_key.thumbprint == key.thumbprint
    assert StoredToken.from_bytes(found.to_bytes()).token.dpop_key is found.token.dpop_key
    assert key.exported() not in repr(found)


def test_a_given_key_stays_where_it_is(monkeypatch):
    """A key that was given is not in the record; a process that lacks it gets a clear error."""
    key = given_key()
    record = record_of(key)
    assert "dpop_key" not in json.loads(record)
    assert StoredToken.from_bytes(record).token.dpop_key is key
    monkeypatch.setattr(dpop, "_known", {})
    token = StoredToken.from_bytes(record).token
    with pytest.raises(InvalidConfigurationError, match="which this process does not have"):
        token.dpop_key.proof("GET", "https://api.example.com/")


@pytest.mark.parametrize("pem", ["no-key", 7, DPoPKey().exported()], ids=["text", "number", "key"])
def test_a_damaged_key(monkeypatch, pem):
    """A record whose key can't be read, or is another one, is not a token."""
    record = json.loads(record_of(DPoPKey()))
    monkeypatch.setattr(dpop, "_known", {})
    with pytest.raises(UnreadableError):
        StoredToken.from_bytes(json.dumps({**record, "dpop_key": pem}).encode())


@pytest.fixture
def server():
    with DPoPServer() as server:
        yield server


@pytest.fixture
def member(server, tmp_path):
    """Return a context manager: a keeper of the fleet, whose provider binds tokens to a key."""
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)

    @contextmanager
    def member(key=True):
        config = OAuth2Config("api", "worker", "hunter2", server.token_url)
        with TokenKeeper(store=f"sqlite:///{folder}/tokens.db") as keeper:
            keeper.add_provider(GenericOAuth2Provider(config, dpop=key))
            yield keeper

    return member


def test_processes_share_token_and_key(server, member):
    """Processes call the API with the token and the key of one of them, which requested it."""

    def call():
        with member() as keeper:
            response = requests.get(server.api_url, auth=keeper.auth("api"), timeout=20)
            return [response.status_code, keeper.get_token("api")]

    assert [Child(call).result() for _ in range(3)] == [[200, "token-1"]] * 3
    assert server.log == [("/token", 200), *[("/api", 200)] * 3]


def test_different_keys_do_not_share(server, member):
    """Processes with keys of their own have tokens of their own; those with one key share them."""
    key = given_key()
    with member(key) as first, member(key) as second, member(given_key()) as third:
        tokens = [keeper.get_token("api") for keeper in (first, second, third)]
    assert tokens == ["token-1", "token-1", "token-2"]
