"""Loopback servers that send scripted bytes, and a transport to test against them."""

from contextlib import ExitStack

import pytest
from kit.servers.raw import Scripted, drip, reply

from tokenkeeper._support.network import NETWORK_REASONS
from tokenkeeper.exceptions import TokenAcquisitionError
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
