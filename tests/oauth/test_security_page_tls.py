"""The rules on certificates and proxies, for every provider that we ship."""

import pytest
import trustme
from kit.servers.tunnels import connect, tunnel

from tokenkeeper.exceptions import InvalidConfigurationError


@pytest.fixture(scope="session")
def other_ca_file(tmp_path_factory):
    """Return the file of a CA that issued nothing; it loads faster than all that are public."""
    path = tmp_path_factory.mktemp("other") / "ca.pem"
    trustme.CA().cert_pem.write_to_path(path)
    return str(path)


def assert_untrusted(error):
    """Assert that *error* is about a certificate of an unknown CA."""
    assert "certificate was not accepted" in str(error)
    assert error.network_reason == "tls"
    assert error.transient is False


def test_a_ca_file(asked, grant):
    """The CA file of a provider is used for its requests."""
    server, error = asked(grant, secure=True)
    assert server.requests
    assert getattr(error, "network_reason", None) is None


def test_an_unknown_ca(asked, grant):
    """A server with a certificate of an unknown CA gets no request."""
    server, error = asked(grant, secure=True, verify=None)
    assert_untrusted(error)
    assert server.requests == []


@pytest.mark.parametrize("verify", ["", 0, b"ca.pem"], ids=repr)
def test_an_empty_verify(shipped, verify):
    """A value that requests reads as "verify nothing", or that it can't use, is rejected."""
    with pytest.raises(InvalidConfigurationError, match="verify must be") as raised:
        shipped.make("https://id.example.com/token", verify=verify)
    assert raised.value.field == "verify"
    assert raised.value.provider_name == "api"


@pytest.mark.parametrize("trusting_first", [True, False])
@pytest.mark.parametrize("lax", ["ca", pytest.param("nothing", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_another_provider_at_one_url(asked, grant, ca_file, other_ca_file, trusting_first, lax):
    """What one provider trusts, another at the same URL does not, whichever comes first."""
    server = None
    trusted = ca_file if lax == "ca" else False
    for verify in [trusted, other_ca_file] if trusting_first else [other_ca_file, trusted]:
        before = len(server.requests) if server else 0
        server, error = asked(grant, secure=True, server=server, verify=verify)
        if verify is other_ca_file:
            assert_untrusted(error)
            assert len(server.requests) == before
        else:
            assert len(server.requests) > before


PROXIES = {"http": connect, "socks5h": tunnel}


@pytest.fixture(params=PROXIES)
def proxy(request, make_server, monkeypatch):
    """Return a proxy that the environment names for https."""
    proxy = make_server(*[PROXIES[request.param]] * 3)
    proxy.clients = []
    monkeypatch.setenv("HTTPS_PROXY", f"{request.param}://127.0.0.1:{proxy.port}")
    return proxy


def test_a_proxy(asked, grant, proxy):
    """Requests go through the proxy, one over each connection."""
    server, error = asked(grant, secure=True)
    assert getattr(error, "network_reason", None) is None
    assert len(server.requests) == server.connections == proxy.connections


def test_an_unknown_ca_behind_a_proxy(asked, grant, other_ca_file, proxy):
    """A proxy does not make a certificate trusted."""
    server, error = asked(grant, secure=True, verify=other_ca_file)
    assert_untrusted(error)
    assert server.requests == []
    assert proxy.connections == 1


@pytest.mark.slow
def test_a_redirect_behind_a_proxy(asked, make_server, proxy):
    """A redirect behind a proxy is not followed."""
    other = make_server()
    redirect = make_server.reply(b"", status="307 Moved", headers=[f"Location: {other.url}"])
    server, error = asked(redirect, secure=True)
    assert "307" in str(error)
    assert len(server.requests) == proxy.connections
    assert other.connections == 0


@pytest.mark.slow
def test_the_longest_answer_behind_a_proxy(asked, make_server, proxy):
    """A response of more than 1 MiB is refused behind a proxy as well."""
    _, error = asked(make_server.reply(b"x" * (1024 * 1024 + 1)), secure=True)
    assert error.transient is False
    assert "1 MiB" in str(error)


@pytest.mark.slow
def test_total_time_behind_a_proxy(asked, make_server, proxy):
    """A slow response behind a proxy is abandoned after the total timeout."""
    slow = make_server.drip(b"HTTP/1.1 200 " + b"O" * 10_000)
    _, error = asked(slow, secure=True, read_timeout=8, total_timeout=0.5)
    assert error.transient is True
    assert "total_timeout" in str(error)
