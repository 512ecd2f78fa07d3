"""``tokenkeeper doctor`` through an HTTP proxy."""

from contextlib import ExitStack

import pytest
from kit.servers.faulty import SECRET, ConnectProxy, FaultyServer

from tokenkeeper.doctor.findings import Step
from tokenkeeper.doctor.route import find_route


class TestProxy:
    """Requests through an HTTP proxy."""

    @pytest.fixture
    def behind(self, context_of, describe, environment):
        """Return a function that puts a server behind a proxy, which alone can resolve its name."""
        with ExitStack() as stack:

            def behind(credentials=None, forbids=False, shown=""):
                context = context_of("id.inside.invalid")
                server = stack.enter_context(FaultyServer(context, name="id.inside.invalid"))
                target = None if forbids else server.server_port
                proxy = stack.enter_context(ConnectProxy(target, credentials))
                environment.setenv("HTTPS_PROXY", f"http://{shown}127.0.0.1:{proxy.port}")
                describe(server.token_url)
                return proxy

            yield behind

    def test_a_good_one(self, behind, examine):
        """DNS and TCP are tried with the proxy itself, TLS and all later steps through it."""
        proxy = behind()
        code, seen = examine()
        assert code == 0, seen
        assert seen["proxy"].text == f"http://127.0.0.1:{proxy.port}, from HTTPS_PROXY"
        assert seen["dns"].facts["host"] == "127.0.0.1"
        assert f"127.0.0.1:{proxy.port} accepts connections" in seen["tcp"].text
        assert seen["tls"].facts["hosts"] == ["id.inside.invalid"]
        assert len(proxy.asked) >= 3  # the handshake, the metadata, the token
        assert {each.partition(":")[0] for each in proxy.asked} == {"id.inside.invalid"}

    def test_credentials(self, behind, examine):
        """A proxy gets its credentials, which are not shown."""
        behind(f"me:{SECRET}", shown=f"me:{SECRET}@")
        code, seen = examine()
        assert code == 0
        assert "with credentials" in seen["proxy"].text
        assert SECRET not in repr(find_route("https://id.inside.invalid", None))

    def test_credentials_that_are_missing(self, behind, examine):
        """A proxy that requires credentials is reported."""
        behind(f"me:{SECRET}")
        code, seen = examine()
        assert code == Step.TLS
        assert seen["tls"].text == "the proxy requires credentials"

    def test_one_that_forbids_the_host(self, behind, examine):
        """A proxy that rejects the host is reported with its status."""
        behind(forbids=True)
        code, seen = examine()
        assert code == Step.TLS
        assert "rejected the connection to the server (HTTP 403)" in seen["tls"].text

    def test_a_refused_certificate_behind_it(self, behind, examine, environment):
        """The certificate of a server behind a proxy is read if it is rejected."""
        behind()
        environment.delenv("REQUESTS_CA_BUNDLE")
        code, seen = examine()
        assert code == Step.TLS
        assert "issued by an unknown CA" in seen["tls"].text
        assert "for id.inside.invalid" in seen["tls"].text

    def test_a_host_without_proxy(self, secure, examine, environment):
        """A host in NO_PROXY is reached directly, and the finding says so."""
        secure()
        environment.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
        environment.setenv("NO_PROXY", "127.0.0.1")
        code, seen = examine()
        assert code == 0
        assert seen["proxy"].text == "none: NO_PROXY names 127.0.0.1"

    def test_an_unknown_proxy(self, describe, examine, environment):
        """A proxy whose name does not resolve fails DNS."""
        describe("https://id.example.com/token")
        environment.setenv("https_proxy", "proxy.invalid:3128")
        code, seen = examine()
        assert code == Step.DNS
        assert seen["proxy"].text == "http://proxy.invalid:3128, from https_proxy"
        assert seen["dns"].text.startswith("proxy.invalid: the name of the proxy")

    @pytest.mark.parametrize("proxy", ["http://proxy:port", f"http://{SECRET}@:1", "http://[::1"])
    def test_an_invalid_url(self, describe, examine, environment, proxy):
        """A proxy with an invalid URL fails; its variable is named, and the URL is not shown."""
        describe("https://id.example.com/token")
        environment.setenv("HTTPS_PROXY", proxy)
        code, seen = examine()
        assert code == Step.PROXY
        assert "HTTPS_PROXY is not a valid URL of a proxy" in seen["proxy"].text

    def test_one_by_tls(self, describe, examine, environment, server):
        """Through a proxy that uses TLS itself, the handshake is left to later requests."""
        describe("https://id.example.com/token")
        environment.setenv("HTTPS_PROXY", f"https://127.0.0.1:{server.server_port}")
        code, seen = examine()
        assert "the request for the metadata does" in seen["tls"].text
        assert "proxy" in seen["metadata"].text
        assert code == Step.CREDENTIALS

    def test_one_that_needs_a_library(self, describe, examine, environment):
        """A SOCKS proxy fails if the library that requests needs for it is missing."""
        describe("https://id.example.com/token")
        environment.setenv("HTTPS_PROXY", "socks5h://127.0.0.1:1080")
        environment.setattr("tokenkeeper.doctor.network.find_spec", lambda name: None)
        code, seen = examine()
        assert code == Step.PROXY
        assert "requests[socks]" in seen["proxy"].advice
