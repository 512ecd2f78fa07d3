"""Unreachable servers: no server listens on the port, or the name does not resolve."""

import socket

import pytest
import trustme
from kit.servers.tls import context_of

from tokenkeeper import TokenAcquisitionError

NAME = "login.tokenkeeper.invalid"  # RFC 6761 §6.4: never resolves


def test_refused_once(client, proxy):
    """If the server is back before the retry, callers get their token."""
    proxy.refuse()
    client.clock.before_retry = proxy.listen
    client.get()
    assert proxy.attempts == 1


def test_refused_for_long(client, proxy, faulty):
    """A refused connection is reported with host and port."""
    proxy.refuse()
    with pytest.raises(TokenAcquisitionError) as caught:
        client.get()
    assert f"127.0.0.1:{proxy.port} failed: the connection was refused" in str(caught.value)
    faulty.assert_clear(caught.value, client)
    assert caught.value.transient
    assert caught.value.attempts == faulty.POLICY.attempts
    proxy.listen()
    client.get(force_refresh=True)


def test_refused_while_a_token_is_valid(client, proxy, kit):
    """An outage during background renewals is not noticed by callers, and neither is its end."""
    first = client.get()
    proxy.refuse()
    client.clock.ahead += 57 * 60
    kit.until(lambda: client.info["failures"] >= 3, "renewals that fail")
    assert client.get() == first
    proxy.listen()
    kit.until(lambda: client.info["renewals"] == 1, "the renewal that works")
    assert client.get() != first


def test_a_name_that_does_not_resolve(make_client, proxy, faulty):
    """The error names DNS and the host, and is transient, because resolvers fail too."""
    client = make_client(url=f"https://{NAME}/oauth/token")
    with pytest.raises(TokenAcquisitionError) as caught:
        client.get()
    assert f"request to {NAME} failed" in str(caught.value)
    assert "DNS: the name could not be resolved" in str(caught.value)
    faulty.assert_clear(caught.value, client)
    assert caught.value.transient
    assert isinstance(caught.value.__cause__, socket.gaierror)
    assert caught.value.attempts == faulty.POLICY.attempts
    assert proxy.connections == 0


def test_a_name_that_resolves_again(make_client, make_proxy, monkeypatch, tmp_path):
    """Once the name resolves, the retry brings a token."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    proxy = make_proxy(context_of(authority, NAME))
    client = make_client(by=proxy, url=proxy.url(host=NAME), verify=str(tmp_path / "ca.pem"))
    resolve = socket.getaddrinfo
    names = {}

    def resolve_here(host, *arguments, **options):
        return resolve(names.get(host, host), *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_here)
    client.clock.before_retry = lambda: names.update({NAME: "127.0.0.1"})
    client.get()
    assert proxy.attempts == 1
