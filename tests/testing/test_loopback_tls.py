"""The loopback server by https, with a CA of its own."""

import socket
import ssl
import subprocess

import pytest
import requests

from tokenkeeper import TokenKeeper
from tokenkeeper.testing import LoopbackAuthorizationServer


@pytest.fixture
def ca_file(tmp_path):
    """Return where the certificate of the CA is written."""
    return tmp_path / "ca.pem"


@pytest.fixture
def server(ca_file):
    """Return a running server that speaks https."""
    with LoopbackAuthorizationServer(ca_file=ca_file, max_connections=4) as server:
        yield server


def port_of(server):
    """Return the port that the server listens on."""
    return int(server.issuer.rpartition(":")[2])


def test_a_keeper_that_trusts_the_ca(server, ca_file):
    """A provider of the server trusts its CA, and so does a client that is given the file."""
    assert server.issuer.startswith("https://")
    with TokenKeeper() as keeper:
        keeper.add_provider(server.provider("api"))
        auth = keeper.auth("api")
        for host in ("127.0.0.1", "localhost"):
            url = server.api_url.replace("127.0.0.1", host)
            assert requests.get(url, auth=auth, verify=ca_file, timeout=10).ok


def test_a_client_that_does_not_trust_it(server):
    """Without the file, no client accepts the certificate."""
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(server.api_url, timeout=10)


def test_strict_verification(server, ca_file):
    """The certificates satisfy the strict rules of Python 3.13 and later."""
    context = ssl.create_default_context(cafile=ca_file)
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    with (
        socket.create_connection(("127.0.0.1", port_of(server)), 10) as raw,
        context.wrap_socket(raw, server_hostname="127.0.0.1") as connection,
    ):
        assert connection.version() == "TLSv1.3"


def test_faults_over_tls(server, ca_file, session):
    """Outages work over TLS as without."""
    session.verify = str(ca_file)
    server.go_down("reset")
    with pytest.raises(requests.ConnectionError):
        session.post(server.token_url, timeout=10)
    server.go_down("stall")
    with pytest.raises(requests.ReadTimeout):
        session.post(server.token_url, timeout=0.2)
    server.come_back()
    assert session.post(server.token_url, timeout=10).status_code == 400


def test_plain_http_and_silence_disturb_no_others(server, ca_file, capfd):
    """Clients that speak no TLS, or don't speak at all, don't hold up the others."""
    silent = [socket.create_connection(("127.0.0.1", port_of(server))) for _ in range(3)]
    with socket.create_connection(("127.0.0.1", port_of(server)), 10) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        plain.settimeout(10)
        while plain.recv(100):
            pass
    for _ in range(3):
        assert requests.get(server.issuer, verify=ca_file, timeout=10).status_code == 404
    for each in silent:
        each.close()
    server.stop()
    assert capfd.readouterr().err == ""


def test_the_file_of_a_running_server_is_kept(server, ca_file):
    """A second server that can't have the port leaves the file of the first one alone."""
    before = ca_file.read_bytes()
    with pytest.raises(OSError, match="in use"):
        LoopbackAuthorizationServer(ca_file=ca_file, port=port_of(server)).start()
    assert ca_file.read_bytes() == before
    assert b"PRIVATE" not in before


def test_a_file_that_can_not_be_written(tmp_path):
    """A file that can't be written is an error, and leaves the port free."""
    server = LoopbackAuthorizationServer(ca_file=tmp_path / "nowhere" / "ca.pem")
    with pytest.raises(FileNotFoundError):
        server.start()
    with pytest.raises(RuntimeError, match="before it is started"):
        _ = server.issuer


def test_openssl_agrees(server, ca_file):
    """OpenSSL verifies the chain."""
    try:
        done = subprocess.run(
            [
                *("openssl", "s_client", "-connect", f"127.0.0.1:{port_of(server)}"),
                *("-CAfile", ca_file, "-verify_ip", "127.0.0.1", "-x509_strict"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
    except FileNotFoundError:
        pytest.skip("openssl is missing")
    assert "Verify return code: 0 (ok)" in done.stdout
