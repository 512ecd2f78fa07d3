"""``tokenkeeper doctor`` on TLS handshakes, but for the certificates."""

import socket
import ssl
import threading

import pytest

from tokenkeeper.doctor.findings import Step


class TestHandshakes:
    """Where there is no certificate to look at."""

    def test_a_port_without_tls(self, describe, examine, server):
        """A port that speaks plain HTTP is told from one whose certificate is bad."""
        describe(server.token_url.replace("http:", "https:"))
        code, seen = examine()
        assert code == Step.TLS
        assert seen["tls"].text == f"port {server.server_port} of 127.0.0.1 does not speak TLS"

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_a_protocol_of_yore(self, secure, examine):
        """A server that knows old versions of TLS alone is told so."""
        server = secure()
        server._context.set_ciphers("ALL:@SECLEVEL=0")
        server._context.minimum_version = ssl.TLSVersion.TLSv1
        server._context.maximum_version = ssl.TLSVersion.TLSv1_1
        code, seen = examine()
        assert code == Step.TLS
        assert "no version of TLS in common" in seen["tls"].text

    def test_a_server_that_says_nothing(self, describe, examine):
        """A handshake that nobody answers is given up after the timeout."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            describe(f"https://127.0.0.1:{listener.getsockname()[1]}/token")
            code, seen = examine("--timeout", "0.2")
        assert code == Step.TLS
        assert "no handshake within 0.2 s" in seen["tls"].text

    def test_an_address_that_refuses(self, secure, examine, environment):
        """The handshake goes to the address that accepted, and not to the first one."""
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

    def test_ciphers_that_nobody_shares(self, secure, examine):
        """A server that wants ciphers we do not have is told so."""
        server = secure()
        server._context.maximum_version = ssl.TLSVersion.TLSv1_2
        server._context.set_ciphers("AES128-SHA")
        code, seen = examine()
        assert code == Step.TLS
        assert "no parameters of TLS in common" in seen["tls"].text

    def test_a_server_that_hangs_up(self, describe, examine):
        """A connection that ends in the handshake points at what stands between."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            describe(f"https://127.0.0.1:{listener.getsockname()[1]}/token")

            def hang_up():
                for _ in range(2):  # TCP, then TLS
                    connection, _ = listener.accept()
                    connection.recv(1)
                    connection.close()

            thread = threading.Thread(target=hang_up)
            thread.start()
            code, seen = examine()
            thread.join(20)
        assert code == Step.TLS
        assert seen["tls"].text == "the connection was closed in the handshake"
