"""URLs and clients that a store is made from, and what is said about those that can't work."""

import sys

import pytest
import redis
import redis.asyncio

from tokenkeeper import InvalidConfigurationError
from tokenkeeper.stores import TokenStore
from tokenkeeper.stores._redis_url import parse
from tokenkeeper.stores.redis import RedisTokenStore

PASSWORD = "hush-hush"

URLS = [
    ("redis://cache", "", False, [("cache", 6379)], "", {}),
    ("redis://cache:1/", "", False, [("cache", 1)], "", {}),
    ("REDIS://cache:1/0", "", False, [("cache", 1)], "", {}),
    ("redis://[::1]:7/3", "", False, [("::1", 7)], "", {"db": 3}),
    ("redis://u:p%40%2F@c", "", False, [("c", 6379)], "", {"username": "u", "password": "p@/"}),
    ("redis://:p@s@c", "", False, [("c", 6379)], "", {"password": "p@s"}),
    ("redis://c?db=4&health_check_interval=5", "", False, [("c", 6379)], "",
     {"db": 4, "health_check_interval": 5}),
    ("redis://c?socket_timeout=99&protocol=3", "", False, [("c", 6379)], "", {}),
    ("rediss://c", "", True, [("c", 6379)], "", {"ssl_check_hostname": True}),
    ("rediss://c?ssl_cert_reqs=none", "", True, [("c", 6379)], "",
     {"ssl_check_hostname": False, "ssl_cert_reqs": "none"}),
    ("redis+sentinel://a,b:7/main", "sentinel", False, [("a", 26379), ("b", 7)], "main", {}),
    ("redis+sentinel://:p@a/main/2?sentinel_password=s", "sentinel", False, [("a", 26379)], "main",
     {"db": 2, "password": "p"}),
    ("redis+cluster://a:1,[::1]:2/0", "cluster", False, [("a", 1), ("::1", 2)], "", {}),
    ("rediss+cluster://a", "cluster", True, [("a", 6379)], "", {"ssl_check_hostname": True}),
]  # fmt: skip


@pytest.mark.parametrize(("url", "kind", "tls", "hosts", "service", "options"), URLS)
def test_urls(url, kind, tls, hosts, service, options):
    """A URL names servers, a database, the way to find the primary, and options."""
    target = parse(url, {})
    assert (target.kind, target.uses_tls, target.service) == (kind, tls, service)
    assert list(target.hosts) == hosts
    assert target.options == options


def test_options_of_sentinels():
    """Sentinels get their own password, the options of TLS, and not the primary's password."""
    url = "rediss+sentinel://u:p@a/main?ssl_cert_reqs=none&sentinel_username=x&sentinel_password=s"
    target = parse(url, {})
    tls = {"ssl_cert_reqs": "none", "ssl_check_hostname": False}
    assert target.sentinel_options == {"username": "x", "password": "s", **tls}
    assert target.options == {"username": "u", "password": "p", **tls}


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (f"redis://:{PASSWORD}/x@cache", "Percent-encode"),
        (f"redis://:{PASSWORD}#x@cache", "Percent-encode"),
        (f"redis://:{PASSWORD}?x@cache", "host"),
        (f"redis://:{PASSWORD}@cache:port", "host"),
        (f"redis://:{PASSWORD}@cache:99999", "host"),
        (f"redis://:{PASSWORD}@a b", "host"),
        (f"redis://:{PASSWORD}@", "redis://user:password@host"),
        (f"http://:{PASSWORD}@cache", "redis://user:password@host"),
        (f"redis://:{PASSWORD}@cache/name", "not a number"),
        (f"redis://:{PASSWORD}@a,b", "redis\\+sentinel"),
        (f"redis+sentinel://:{PASSWORD}@a", "name of the primary"),
        (f"redis+sentinel://:{PASSWORD}@a/main/x", "not a number"),
        (f"redis+cluster://:{PASSWORD}@a/1", "only the database 0"),
        (f"redis://:{PASSWORD}@a?db=x", "'db'"),
        (f"redis://:{PASSWORD}@a?colour=red", "unknown option in its query: 'colour'"),
        (f"redis://:{PASSWORD}@a?ssl_ca_certs=ca.pem", "unknown .* 'ssl_ca_certs'"),
        (f"rediss://:{PASSWORD}@a?ssl_cert_reqs={PASSWORD}", "invalid option"),
    ],
)
def test_invalid_urls(url, problem):
    """An invalid URL is an error that says what is wrong, and doesn't quote a password."""
    with pytest.raises(InvalidConfigurationError, match=problem) as caught:
        RedisTokenStore.from_url(url)
    assert PASSWORD not in str(caught.value)
    assert caught.value.field == "url"


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), "1", True])
def test_invalid_timeouts(seconds):
    """The timeout must be a positive number."""
    with pytest.raises(InvalidConfigurationError, match="timeout_seconds"):
        RedisTokenStore.from_url("redis://cache", timeout_seconds=seconds)


def test_labels_without_secrets():
    """Neither label nor repr shows user, password or query."""
    url = f"rediss://me:{PASSWORD}@cache:1/2?ssl_password={PASSWORD}"
    store = RedisTokenStore.from_url(url)
    assert store.label == "rediss://cache:1/2"
    assert repr(store) == "RedisTokenStore('rediss://cache:1/2')"
    assert PASSWORD not in repr(store._target)
    assert store.is_private is False
    assert isinstance(store, TokenStore)


def test_without_the_library(monkeypatch):
    """If redis is not installed, the error says how to install it."""
    monkeypatch.delitem(sys.modules, "tokenkeeper.stores._redis_url")
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.setitem(sys.modules, "redis.connection", None)
    with pytest.raises(InvalidConfigurationError, match=r"tokenkeeper-oauth2\[redis\]"):
        RedisTokenStore.from_url(f"redis://:{PASSWORD}@cache")


def test_labels_of_clients():
    """The label of a store with a given client is a URL without user and password."""
    sentinel = redis.sentinel.Sentinel([("a", 1)], socket_timeout=1).master_for("main")
    clients = {
        "redis://cache:7/3": redis.Redis("cache", 7, 3, password=PASSWORD, socket_timeout=1),
        "rediss://[::1]:6379/0": redis.Redis("::1", ssl=True, socket_timeout=1),
        "redis+sentinel://main": sentinel,
        "unix:///run/redis": redis.Redis(unix_socket_path="/run/redis", socket_timeout=1),
    }
    for label, client in clients.items():
        assert RedisTokenStore(client).label == label


@pytest.mark.parametrize(
    ("client", "problem"),
    [
        (object(), "not a client"),
        (redis.asyncio.Redis(), "asyncio"),
        (redis.Redis(socket_timeout=None), "no socket_timeout"),
    ],
)
def test_clients_that_cannot_be_used(client, problem):
    """A client must be a blocking one, and must not wait without end."""
    with pytest.raises(InvalidConfigurationError, match=problem):
        RedisTokenStore(client)
