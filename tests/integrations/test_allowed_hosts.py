"""Which URLs ``allowed_hosts`` allows."""

import pytest

from tokenkeeper import InvalidConfigurationError
from tokenkeeper.integrations._hosts import AllowedHosts

ALLOWED = [
    ("api.example.com", "https://api.example.com/v1?q=1"),
    ("api.example.com", "https://API.example.com.:443"),
    ("API.Example.com", "https://api.example.com"),
    ("api.example.com", "wss://api.example.com/feed"),
    ("https://api.example.com/", "https://api.example.com"),
    ("api.example.com:8443", "https://api.example.com:8443/v1"),
    (".example.com", "https://a.b.example.com"),
    (".example.com:8443", "https://api.example.com:8443"),
    ("http://api.internal:8080", "http://api.internal:8080/v1"),
    ("http://api.internal", "ws://api.internal"),
    ("127.0.0.1", "http://127.0.0.1/v1"),
    ("localhost:8000", "http://localhost:8000"),
    ("[::1]:8000", "http://[::1]:8000"),
]
NOT_ALLOWED = [
    ("api.example.com", "https://evil.example"),
    ("api.example.com", "https://api.example.com.evil.example"),
    ("api.example.com", "https://api.example.com@evil.example"),
    ("api.example.com", "https://v2.api.example.com"),
    (".example.com", "https://example.com"),
    (".example.com", "https://evilexample.com"),
    ("api.example.com", "http://api.example.com"),
    ("api.example.com", "ws://api.example.com"),
    ("api.example.com", "http://api.example.com:443"),
    ("api.example.com", "https://api.example.com:8443"),
    ("api.example.com:8443", "https://api.example.com"),
    ("api.example.com:8443", "http://api.example.com:8443"),
    (".example.com", "https://api.example.com:8443"),
    ("https://127.0.0.1:8000", "http://127.0.0.1:8000"),
    ("http://api.internal:8080", "https://api.internal:8080"),
    ("127.0.0.1:8000", "http://127.0.0.1:8001"),
    ("api.example.com", "ftp://api.example.com"),
    ("api.example.com", "https:///v1"),
    ("api.example.com", "https://api.example.com:port"),
    ("api.example.com", "https://evil.example\\@api.example.com"),
]


@pytest.mark.parametrize(("host", "url"), ALLOWED)
def test_allowed(host, url):
    """A host allows https on the default port, and other ports or schemes if they are given."""
    assert AllowedHosts("api", [host]).allow(url)
    AllowedHosts("api", host).check(url)


@pytest.mark.parametrize(("host", "url"), NOT_ALLOWED)
def test_not_allowed(host, url):
    """Other hosts, other ports and plain http are not allowed."""
    hosts = AllowedHosts("api", [host])
    assert not hosts.allow(url)
    with pytest.raises(InvalidConfigurationError, match="'api': its token must not be sent to"):
        hosts.check(url)


def test_all_and_none():
    """Without a list every encrypted or local URL is allowed; with an empty list none is."""
    assert AllowedHosts("api", None).allow("https://api.example.com")
    assert AllowedHosts("api", None).allow("http://127.0.0.1:8000")
    assert not AllowedHosts("api", None).allow("http://api.example.com")
    assert not AllowedHosts("api", None).allow("ftp://api.example.com")
    assert not AllowedHosts("api", []).allow("https://api.example.com")


@pytest.mark.parametrize(("_", "url"), NOT_ALLOWED[:-4])
def test_the_advice(_, url):
    """The error names the host to add to the list."""
    with pytest.raises(InvalidConfigurationError) as raised:
        AllowedHosts("api", []).check(url)
    assert raised.value.field == "allowed_hosts"
    advice = str(raised.value).split("'")[3]
    assert AllowedHosts("api", [advice]).allow(url)


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".",
        "*.example.com",
        "https://api.example.com/v1",
        "api.example.com/v1",
        "api.example.com?",
        "ftp://api.example.com",
        "api.example.com:port",
        "api.example.com:99999",
        "api example.com",
        "bücher.example",
        "https://",
        7,
        None,
    ],
)
def test_not_a_host(host):
    """An item that can never match is an error when the list is read."""
    with pytest.raises(InvalidConfigurationError, match=r"allowed_hosts contains .* is not a host"):
        AllowedHosts("api", [host])


def test_a_password_is_not_shown():
    """Credentials in a host are not shown in the message."""
    with pytest.raises(
        InvalidConfigurationError, match=r"'api\.example\.com', which is not a host"
    ) as raised:
        AllowedHosts("api", ["https://user:secret@api.example.com"])
    assert "secret" not in str(raised.value)
