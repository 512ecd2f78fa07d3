"""TLS: which servers are trusted with a secret."""

import os
import socket
import ssl
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from kit.servers.tls import context_of
from urllib3.exceptions import InsecureRequestWarning

from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.oauth.transport import HttpTransport


class TestTLS:
    """Certificates."""

    @pytest.fixture
    def secure(self, authority, make_server):
        def make(*scripts, name="127.0.0.1", **validity):
            context = context_of(authority, name, **validity)
            server = make_server(
                *scripts, wrap=lambda sock: context.wrap_socket(sock, server_side=True)
            )
            server.url = server.url.replace("http:", "https:")
            return server

        return make

    def test_a_custom_ca(self, make_transport, secure, ca_file, make_server, monkeypatch):
        """A CA file as an argument overrides the environment."""
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", os.devnull)
        server = secure(*[make_server.reply(b"secure")] * 2)
        transport = make_transport(verify=ca_file)
        assert [transport.post(server).body for _ in range(2)] == [b"secure"] * 2

    @pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
    def test_a_ca_by_the_environment(self, transport, secure, ca_file, monkeypatch, variable):
        """Without an argument the usual variables apply."""
        monkeypatch.setenv(variable, ca_file)
        assert transport.post(secure()).status == 200

    def test_an_unknown_ca(self, transport, secure):
        """An unverifiable certificate is a final error that says how to fix it."""
        error = transport.failure(secure())
        assert "certificate was not accepted" in str(error)
        assert "verify or REQUESTS_CA_BUNDLE" in str(error)
        assert error.network_reason == "tls"
        assert error.transient is False
        assert isinstance(error.__cause__, ssl.SSLCertVerificationError)

    def test_another_host_s_certificate(self, make_transport, secure, ca_file):
        """A certificate of another host is reported as such."""
        error = make_transport(verify=ca_file).failure(secure(name="other.example"))
        assert "Check the host" in str(error)
        assert error.transient is False

    def test_an_expired_certificate(self, make_transport, secure, ca_file):
        """The error for an expired certificate mentions this machine's clock."""
        past = datetime(2020, 1, 1, tzinfo=UTC)
        error = make_transport(verify=ca_file).failure(secure(not_after=past))
        assert "this machine's clock" in str(error)

    def test_no_tls_at_all(self, transport, make_server):
        """A port that does not speak TLS is reported as such."""
        server = make_server(lambda server, sock: sock.sendall(b"HTTP/1.1 400 Bad\r\n\r\n"))
        error = transport.failure(url=server.url.replace("http:", "https:"))
        assert "TLS failed" in str(error)
        assert error.network_reason == "tls"

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_a_server_that_wants_a_certificate(
        self, make_transport, authority, make_server, ca_file, version
    ):
        """A server that requires a client certificate is reported as such, and asked once."""
        context = context_of(authority, "127.0.0.1")
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        context.maximum_version = version

        def wrap(sock):
            secured = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            try:
                secured.do_handshake()
            except ssl.SSLError:
                # The alert has been sent. Read on, or a reset would overtake it.
                with secured, suppress(OSError):
                    while socket.socket.recv(secured, 65536):
                        pass
                raise
            return secured

        server = make_server(wrap=wrap)
        url = server.url.replace("http:", "https:")
        error = make_transport(verify=ca_file).failure(url=url)
        assert error.network_reason == "tls"
        if version is ssl.TLSVersion.TLSv1_3:
            assert "TLS: client certificate required" in str(error)
            assert error.transient is False

    @pytest.mark.parametrize(
        "reason",
        [
            "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required",
            "[SSL: TLSV1_ALERT_CERTIFICATE_REQUIRED] tlsv1 alert certificate required",
            "[SSL: SSLV3_ALERT_BAD_CERTIFICATE] sslv3 alert bad certificate",
            "[SSL: PEER_DID_NOT_RETURN_A_CERTIFICATE] peer did not return a certificate",
        ],
    )
    def test_alerts_of_a_server_that_wants_a_certificate(self, transport, monkeypatch, reason):
        """Each of OpenSSL's texts for it is recognized."""

        def connect(*_, **__):
            raise ssl.SSLError(1, reason)

        monkeypatch.setattr(socket.socket, "connect", connect)
        error = transport.failure(url="https://127.0.0.1/token")
        assert "TLS: client certificate required" in str(error)
        assert error.transient is False

    def test_a_ca_file_that_is_not_there(self, make_transport):
        """A missing CA file is a final error that names it."""
        error = make_transport(verify="/no/such/file").failure(url="https://127.0.0.1:1/token")
        assert "CA certificate file was not found" in str(error)
        assert error.transient is False

    @pytest.mark.parametrize(
        "content",
        [b"", b"no PEM", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
    )
    def test_a_ca_file_without_a_ca(self, make_transport, secure, tmp_path, content):
        """A CA file without a certificate is a final error that names it."""
        path = tmp_path / "odd.pem"
        path.write_bytes(content)
        error = make_transport(verify=path).failure(secure())
        assert "CA certificate file contains no certificates" in str(error)
        assert error.transient is False

    @pytest.mark.parametrize("verify", ["", " ", 0, [], b"ca.pem", 7])
    def test_nothing_switches_verification_off_by_accident(self, verify):
        """An empty value is refused, as requests would turn off verification."""
        with pytest.raises(InvalidConfigurationError) as caught:
            HttpTransport(verify=verify)
        assert caught.value.field == "verify"
        assert str(caught.value) == (
            "verify must be a file or directory of CA certificates, True, False or None. "
            "requests would verify nothing with an empty value."
        )

    @pytest.mark.parametrize("trusting_first", [True, False])
    @pytest.mark.parametrize("lax", ["ca", "nothing"])
    @pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
    def test_two_providers_at_one_url(
        self, make_transport, secure, ca_file, make_server, trusting_first, lax
    ):
        """One provider's trust does not extend to another at the same URL, in either order."""
        server = secure(*[make_server.reply(b"secure")] * 4)
        trusting = make_transport(verify=ca_file if lax == "ca" else False)
        wary = make_transport()

        def refuse():
            assert "certificate was not accepted" in str(wary.failure(server))

        if not trusting_first:
            refuse()
        for _ in range(2):
            assert trusting.post(server).body == b"secure"
            refuse()

    def test_a_connection_is_used_once(self, make_transport, secure, ca_file, make_server):
        """A TLS connection is used for one request, like any other."""
        server = secure(make_server.reply(b"1", times=2), make_server.reply(b"2"))
        transport = make_transport(verify=ca_file)
        assert transport.post(server).body == b"1"
        assert server.hung_up.acquire(timeout=10)
        assert transport.post(server).body == b"2"
        assert server.connections == 2

    def test_false_does(self, make_transport, secure):
        """Only False turns off verification."""
        with pytest.warns(InsecureRequestWarning):
            assert make_transport(verify=False).post(secure()).status == 200
