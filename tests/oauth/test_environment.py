"""Proxies and CA bundles from environment variables."""

import pytest
import requests

from tokenkeeper.oauth import environment, sessions

PROXY = "http://proxy.example.com:3128"
URL = "https://id.example.com/token"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in environment._VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def looked_up(monkeypatch):
    """Return the hosts that were looked up in ``NO_PROXY``."""
    hosts = []

    def look_up(url, no_proxy):
        hosts.append(url)
        return requests.utils.should_bypass_proxies(url, no_proxy)

    monkeypatch.setattr(environment, "should_bypass_proxies", look_up)
    return hosts


def settings(url=URL, verify=None):
    return sessions._Session().merge_environment_settings(url, {}, True, verify, None)


def by_requests(url=URL, verify=None):
    found = requests.Session().merge_environment_settings(url, {}, None, verify, None)
    return {name: found[name] for name in ("proxies", "verify", "cert")}


def test_nothing_is_looked_up_without_proxies(looked_up, monkeypatch):
    """Without a proxy variable all hosts share one result."""
    monkeypatch.setattr(environment, "_SYSTEM_HAS_PROXIES", False)
    monkeypatch.setenv("CURL_CA_BUNDLE", "/no/proxy")  # starts with an empty cache
    assert settings()["proxies"] == {}
    assert settings("https://other.example.com/") is settings()
    assert environment.current_environment().bypasses_proxies(URL) is True
    assert not looked_up


def test_a_host_is_looked_up_once(looked_up, monkeypatch):
    """``NO_PROXY`` is searched once for each host, whatever the path and the query."""
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    for path in ("token", "a/b/c/token", "token?secret=x", "other", "?secret=x"):
        assert settings(f"https://id.example.com/{path}")["proxies"]["https"] == PROXY
    assert settings("https://id.example.com?secret=x")["proxies"]["https"] == PROXY
    assert looked_up == ["https://id.example.com"]


def test_hosts_are_forgotten(looked_up, monkeypatch):
    """The cache of hosts is bounded."""
    monkeypatch.setattr(environment, "MOST_HOSTS", 3)
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    for number in range(10):
        settings(f"https://id-{number}.example.com/token")
        assert len(environment.current_environment()._bypassed) <= 3
    assert len(looked_up) == 10


def test_a_change_counts_at_once(monkeypatch):
    """A variable that is set or removed counts for the next request."""
    for change in (
        {"HTTPS_PROXY": PROXY},
        {"NO_PROXY": "id.example.com"},
        {"NO_PROXY": "other.example.com"},
        {"HTTPS_PROXY": "", "all_proxy": PROXY},
        {"REQUESTS_CA_BUNDLE": "/some/ca.pem"},
        {"REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": "/other/ca.pem"},
    ):
        for name, value in change.items():
            monkeypatch.setenv(name, value)
        for verify in (None, True, False, "/mine.pem"):
            assert settings(verify=verify) == by_requests(verify=verify)


def test_requests_with_different_settings(monkeypatch):
    """Hosts with and without a proxy, and different CAs, are kept apart."""
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", "near.example.com")
    for url in (URL, "https://near.example.com/token"):
        for verify in (None, False, "/mine.pem"):
            assert settings(url, verify) == by_requests(url, verify)
            assert settings(url, verify) is settings(url, verify)
