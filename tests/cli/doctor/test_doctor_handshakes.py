"""``tokenkeeper doctor`` on TLS handshakes that fail for other reasons than the certificate."""

import socket
import ssl

import pytest
from kit.servers.raw import Scripted, hang_up, silence

from tokenkeeper.doctor.findings import Step


class TestHandshakes:
    """Handshakes that do not get to a certificate."""

    def test_a_port_without_tls(self, describe, examine, server):
        """A port that speaks plain HTTP is not mistaken for one with a bad certificate."""
        describe(server.token_url.replace("http:", "https:"))
        code, seen = examine()
        assert code == Step.TLS
        assert seen["tls"].text == f"port {server.server_port} of 127.0.0.1 does not speak TLS"

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_old_protocol_versions(self, secure, examine):
        """A server that supports only old versions of TLS is reported."""
        server = secure()
        server.tls.set_ciphers("ALL:@SECLEVEL=0")
        server.tls.minimum_version = ssl.TLSVersion.TLSv1
        server.tls.maximum_version = ssl.TLSVersion.TLSv1_1
        code, seen = examine()
        assert code == Step.TLS
        assert "no version of TLS in common" in seen["tls"].text

    def test_a_silent_server(self, describe, examine):
        """A handshake without an answer ends after the timeout."""
        with Scripted(always=silence) as server:
            describe(f"https://127.0.0.1:{server.port}/token")
            code, seen = examine("--timeout", "0.2")
        assert code == Step.TLS
        assert "no handshake within 0.2 s" in seen["tls"].text

    def test_an_address_that_refuses(self, secure, examine, environment):
        """The handshake uses the address that accepted a connection, not the first address."""
        port = secure("localhost", name="localhost").server_port
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in ("127.0.0.2", "127.0.0.1")
        ]
        real = socket.getaddrinfo

        def look_up(host, *rest, **options):
            return found if host == "localhost" else real(host, *rest, **options)

        environment.setattr(socket, "getaddrinfo", look_up)
        code, seen = examine()
        assert code == 0
        assert seen["tcp"].status == "warning"
        assert seen["tls"].facts["hosts"] == ["localhost"]

    def test_no_cipher_in_common(self, secure, examine):
        """A server that supports none of our ciphers is reported."""
        server = secure()
        server.tls.maximum_version = ssl.TLSVersion.TLSv1_2
        server.tls.set_ciphers("AES128-SHA")
        code, seen = examine()
        assert code == Step.TLS
        assert "no parameters of TLS in common" in seen["tls"].text

    def test_a_server_that_closes_the_connection(self, describe, examine):
        """A connection that is closed during the handshake points at a firewall or proxy."""
        with Scripted(always=hang_up) as server:
            describe(f"https://127.0.0.1:{server.port}/token")
            code, seen = examine()
        assert code == Step.TLS
        assert seen["tls"].text == "the connection was closed during the handshake"

    @pytest.mark.parametrize("alert", [42, 116])  # bad_certificate and certificate_required
    def test_a_server_that_wants_a_certificate(self, describe, examine, alert):
        """An alert that asks for a client certificate is reported with what to do."""

        def refuse(server, sock):
            sock.recv(65536)  # the ClientHello
            sock.sendall(bytes([21, 3, 3, 0, 2, 2, alert]))
            server.stopping.wait()

        with Scripted(always=refuse) as server:
            describe(f"https://127.0.0.1:{server.port}/token")
            code, seen = examine()
        assert code == Step.TLS
        assert seen["tls"].text.startswith("TLS certificate required")
        assert "session" in seen["tls"].advice
