"""imaplib and Dovecot: rejected tokens, revocations, and connections that drop."""

import imaplib
import socket
import traceback

import pytest
from clients.on_dovecot import USER
from kit.servers.raw import Scripted

from tokenkeeper import InvalidConfigurationError, TokenAcquisitionError
from tokenkeeper.integrations.imaplib import authenticate
from tokenkeeper.testing import Answer

CROWD = 12


@pytest.fixture
def connect(mail):
    """Return a function that opens a connection, which is closed after the test."""
    opened = []

    def connect():
        opened.append(imaplib.IMAP4("127.0.0.1", mail.port, timeout=30))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.shutdown()


def inbox(connection):
    """Open the inbox, and return the server's status."""
    return connection.select("INBOX")[0]


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER", None])
def test_a_login(connect, source, user, mechanism, requests_of):
    """A mailbox is open after a login by either mechanism."""
    connection = connect()
    authenticate(connection, source, user, mechanism)
    assert inbox(connection) == "OK"
    assert requests_of() == 1


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_a_crowd_after_a_revocation(connect, server, source, user, mechanism, requests_of, crowd):
    """Many logins with a revoked token succeed, on their connections, after one renewal."""
    source.get_token()
    server.revoke_all()

    def one():
        connection = connect()
        authenticate(connection, source, user, mechanism)
        return inbox(connection)

    assert crowd(CROWD, one) == ["OK"] * CROWD
    assert requests_of() == 2


def test_a_second_rejection(connect, server, source, user, requests_of):
    """A second rejection is the caller's error, and no frame of it shows the token."""
    for number in (1, 2):
        body = {"access_token": f"made-up-{number}", "token_type": "Bearer", "expires_in": 60}
        server.script(Answer(200, body))
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED") as refused:
        authenticate(connect(), source, user)
    frames = [frame.f_locals for frame, _ in traceback.walk_tb(refused.tb)][1:]
    assert "made-up" not in repr(frames)
    assert requests_of() == 2


def test_an_open_connection_after_a_revocation(connect, server, source, user, requests_of):
    """Dovecot checks a token at the login only, so an open connection goes on."""
    connection = connect()
    authenticate(connection, source, user)
    server.revoke_all()
    assert inbox(connection) == "OK"
    assert requests_of() == 1


def test_a_connection_that_drops(connect, source, user, requests_of):
    """After a connection was lost, another one logs in with the same token."""
    connection = connect()
    authenticate(connection, source, user)
    connection.socket().shutdown(socket.SHUT_RDWR)
    with pytest.raises(imaplib.IMAP4.abort):
        inbox(connection)
    connection = connect()
    authenticate(connection, source, user)
    assert inbox(connection) == "OK"
    assert requests_of() == 1


def test_without_a_token(connect, server, source, user):
    """If there is no token, the keeper's error is raised, and the connection can be used later."""
    connection = connect()
    with server.outage(), pytest.raises(TokenAcquisitionError):
        authenticate(connection, source, user)
    assert connection.noop()[0] == "OK"


def imap_server(*answers, mechanisms=b"AUTH=XOAUTH2"):
    """Return the script of a server that gives *answers* to AUTHENTICATE, one after the other."""

    def script(server, sock):
        with sock.makefile("rb") as lines:
            sock.sendall(b"* OK ready\r\n")
            left = list(answers)
            for line in lines:
                tag, command = line.split()[:2]
                if command == b"CAPABILITY":
                    sock.sendall(b"* CAPABILITY IMAP4rev1 " + mechanisms + b"\r\n")
                elif command == b"AUTHENTICATE":
                    sock.sendall(b"+ \r\n")
                    lines.readline()
                    answer = left.pop(0)
                    if answer is None:
                        return
                    sock.sendall(tag + b" " + answer + b"\r\n")
                    continue
                sock.sendall(tag + b" OK done\r\n")

    return Scripted(always=script)


@pytest.mark.parametrize(
    ("answers", "error", "requests"),
    [
        ([b"OK done"], None, 1),
        ([b"NO AUTHENTICATE failed.", b"OK done"], None, 2),  # Outlook sends no code
        ([b"NO AUTHENTICATE failed."] * 2, imaplib.IMAP4.error, 2),
        ([b"NO [UNAVAILABLE] try later"], imaplib.IMAP4.error, 1),  # the server's own failure
        ([None], imaplib.IMAP4.abort, 1),
        ([b"NO failed", None], imaplib.IMAP4.abort, 2),  # the next connection has the new token
    ],
)
def test_what_a_rejection_is(source, answers, error, requests, requests_of):
    """A rejection causes one renewal, and a failure of the server or the network none."""
    with imap_server(*answers) as server:
        connection = imaplib.IMAP4("127.0.0.1", server.port)
        try:
            authenticate(connection, source, "me@example.com")
            outcome = None
        except imaplib.IMAP4.error as raised:
            outcome = type(raised)  # abort is a subclass
        finally:
            connection.shutdown()
    assert outcome is error
    assert requests_of() == requests


def test_a_server_without_these_mechanisms(source, requests_of):
    """A server that offers neither mechanism gets no token."""
    with (
        imap_server(mechanisms=b"AUTH=PLAIN") as server,
        imaplib.IMAP4("127.0.0.1", server.port) as connection,
        pytest.raises(imaplib.IMAP4.error, match="neither"),
    ):
        authenticate(connection, source, "me@example.com")
    assert requests_of() == 0


def test_starttls(connect, mail, source, user, monkeypatch):
    """After STARTTLS the connection counts as encrypted, wherever the server is."""
    connection = connect()
    connection.starttls(mail.context)
    kind = type(connection.socket())
    monkeypatch.setattr(kind, "getpeername", lambda _: ("192.0.2.1", 143))
    authenticate(connection, source, user)
    assert inbox(connection) == "OK"


def test_an_unencrypted_connection(connect, source, user, monkeypatch, requests_of):
    """Over a network without encryption, no token is sent."""
    connection = connect()

    class Remote:
        def getpeername(self):
            return "192.0.2.1", 143

    monkeypatch.setattr(connection, "socket", Remote)
    with pytest.raises(InvalidConfigurationError, match="starttls"):
        authenticate(connection, source, user)
    assert requests_of() == 0


def test_the_example(run_example, mail):
    """The program of the page prints how many messages there are."""
    place = {"IMAP_HOST": "localhost", "IMAP_PORT": mail.imaps_port, "MAILBOX": USER}
    assert "0 messages" in run_example("imaplib", **place, SSL_CERT_FILE=mail.ca_file)
