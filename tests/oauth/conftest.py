"""Loopback servers that send scripted bytes; a transport and our providers to test with them."""

import json
from contextlib import ExitStack

import pytest
import trustme
from kit.servers.raw import Scripted, drip, reply
from kit.servers.tls import context_of
from oauth.guarded import GRANT, SHIPPED

from tokenkeeper._support.network import NETWORK_REASONS
from tokenkeeper.exceptions import OAuth2Error, TokenAcquisitionError
from tokenkeeper.oauth.transport import HttpTransport


@pytest.fixture
def make_server():
    """Return a factory for scripted servers."""
    with ExitStack() as stack:

        def make(*scripts, wrap=None):
            return stack.enter_context(Scripted(*scripts, wrap=wrap))

        make.reply, make.drip = reply, drip
        yield make


class Transport(HttpTransport):
    """A transport with shortcuts for tests."""

    def post(self, server=None, **request):
        """Post a form to *server*, or to *url*."""
        url = request.pop("url", None) or server.url
        return self.request("POST", url, provider_name="api", data={"a": "b c"}, **request)

    def failure(self, server=None, **request):
        """Do the same, expect it to fail, and return the error."""
        with pytest.raises(TokenAcquisitionError) as caught:
            self.post(server, **request)
        error = caught.value
        assert str(error).startswith("provider 'api': request to ")
        assert "\n" not in str(error)
        assert error.__context__ is None  # its frames would contain the secret
        assert (
            error.network_reason in NETWORK_REASONS
            or "InvalidURL" in str(error)
            or ("LocationParseError" in str(error))
        )
        return error


@pytest.fixture
def make_transport():
    """Return a factory for transports."""
    return Transport


@pytest.fixture
def transport(make_transport):
    """Return a transport with default options."""
    return make_transport()


@pytest.fixture(scope="session")
def authority():
    """Return a CA that no machine knows."""
    return trustme.CA()


@pytest.fixture
def ca_file(authority, tmp_path):
    """Return the file of its certificate."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture
def grant(make_server):
    """Return a script that grants a token."""
    return make_server.reply(json.dumps(GRANT).encode())


@pytest.fixture(params=SHIPPED)
def shipped(request):
    """Return one of our providers."""
    return SHIPPED[request.param]


@pytest.fixture
def asked(shipped, make_server, authority, ca_file):
    """Return a function that requests a token from a scripted server, with TLS if *secure*.

    It returns the server, which *server* reuses, and the error, or ``None`` if a token was granted.
    """

    def start(secure):
        if not secure:
            return make_server()
        context = context_of(authority, "127.0.0.1")
        server = make_server(wrap=lambda sock: context.wrap_socket(sock, server_side=True))
        server.url = server.url.replace("http:", "https:")
        return server

    def ask(*scripts, url=None, times=1, secure=shipped.scheme == "https", server=None, **options):
        server = server or start(secure)
        server.scripts[:] = [*shipped.before(server, make_server.reply), *scripts]
        if server.url.startswith("https:"):
            options.setdefault("verify", ca_file)
        try:
            provider = shipped.make(url or server.url, **options)
            for _ in range(times):
                shipped.ask(provider)
        except OAuth2Error as failure:
            return server, failure
        return server, None

    return ask
