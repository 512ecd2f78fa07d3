"""smtplib and Dovecot's submission: rejected tokens, revocations, and connections that drop."""

import smtplib
import socket
import traceback

import pytest
from clients.on_dovecot import USER, smtp_server

from tokenkeeper import InvalidConfigurationError, TokenAcquisitionError
from tokenkeeper.integrations.smtplib import authenticate
from tokenkeeper.testing import Answer

CROWD = 12


@pytest.fixture
def connect(mail):
    """Return a function that opens a connection, which is closed after the test."""
    opened = []

    def connect():
        opened.append(smtplib.SMTP("127.0.0.1", mail.submission_port, timeout=30))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


def send(connection, subject):
    """Send a message, and return it as it arrives at the relay."""
    text = f"Subject: {subject}\r\n\r\nhello"
    return connection.sendmail("me@example.com", ["you@example.com"], text)


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER", None])
def test_a_message(connect, source, user, mechanism, relay, requests_of):
    """A message is sent after a login by either mechanism."""
    connection = connect()
    authenticate(connection, source, user, mechanism)
    send(connection, f"by {mechanism}")
    assert f"Subject: by {mechanism}" in relay.messages[-1]
    assert requests_of() == 1


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_a_crowd_after_a_revocation(connect, server, source, user, mechanism, requests_of, crowd):
    """Many logins with a revoked token succeed, on their connections, after one renewal."""
    source.get_token()
    server.revoke_all()

    def one():
        connection = connect()
        authenticate(connection, source, user, mechanism)
        return send(connection, "crowd")

    assert crowd(CROWD, one) == [{}] * CROWD
    assert requests_of() == 2


def test_a_second_rejection(connect, server, source, user, requests_of):
    """A second rejection is the caller's error, and no frame of it shows the token."""
    for number in (1, 2):
        body = {"access_token": f"made-up-{number}", "token_type": "Bearer", "expires_in": 60}
        server.script(Answer(200, body))
    with pytest.raises(smtplib.SMTPAuthenticationError, match="535") as refused:
        authenticate(connect(), source, user)
    frames = [frame.f_locals for frame, _ in traceback.walk_tb(refused.tb)][1:]
    assert "made-up" not in repr(frames)
    assert requests_of() == 2


def test_an_open_connection_after_a_revocation(connect, server, source, user, requests_of):
    """Dovecot checks a token at the login only, so an open connection goes on."""
    connection = connect()
    authenticate(connection, source, user)
    server.revoke_all()
    assert send(connection, "later") == {}
    assert requests_of() == 1


def test_a_connection_that_drops(connect, source, user, requests_of):
    """After a connection was lost, another one logs in with the same token."""
    connection = connect()
    authenticate(connection, source, user)
    connection.sock.shutdown(socket.SHUT_RDWR)
    with pytest.raises(smtplib.SMTPServerDisconnected):
        send(connection, "lost")
    connection = connect()
    authenticate(connection, source, user)
    assert send(connection, "found") == {}
    assert requests_of() == 1


def test_without_a_token(connect, server, source, user):
    """If there is no token, the keeper's error is raised, and the connection can be used later."""
    connection = connect()
    with server.outage(), pytest.raises(TokenAcquisitionError):
        authenticate(connection, source, user)
    assert connection.noop()[0] == 250


@pytest.mark.parametrize(
    ("answers", "error", "requests"),
    [
        ([b"235 welcome"], None, 1),
        ([b"535 5.7.8 failed", b"235 welcome"], None, 2),
        ([b"535 5.7.8 failed"] * 2, smtplib.SMTPAuthenticationError, 2),
        ([b"454 4.7.0 try later"], smtplib.SMTPAuthenticationError, 1),
        ([None], smtplib.SMTPServerDisconnected, 1),
        ([b"535 5.7.8 failed", None], smtplib.SMTPServerDisconnected, 2),
    ],
)
def test_what_a_rejection_is(source, answers, error, requests, requests_of):
    """A rejection causes one renewal, and a failure of the server or the network none."""
    with smtp_server(*answers) as server, smtplib.SMTP("127.0.0.1", server.port) as connection:
        if error is None:
            authenticate(connection, source, "me@example.com")
        else:
            with pytest.raises(error):
                authenticate(connection, source, "me@example.com")
    assert requests_of() == requests


def test_a_server_without_these_mechanisms(source, requests_of):
    """A server that offers neither mechanism gets no token."""
    with (
        smtp_server(mechanisms=b"PLAIN") as server,
        smtplib.SMTP("127.0.0.1", server.port) as connection,
        pytest.raises(smtplib.SMTPNotSupportedError, match="neither"),
    ):
        authenticate(connection, source, "me@example.com")
    assert requests_of() == 0


def test_names_that_smtplib_can_not_send(connect, source, requests_of):
    """A name that is not ASCII is refused before a token is put next to it."""
    with pytest.raises(ValueError, match="ASCII"):
        authenticate(connect(), source, "jürgen@example.com")
    assert requests_of() == 0


def test_starttls(connect, mail, source, user, monkeypatch):
    """After STARTTLS the connection counts as encrypted, wherever the server is."""
    connection = connect()
    connection.starttls(context=mail.context)
    kind = type(connection.sock)
    monkeypatch.setattr(kind, "getpeername", lambda _: ("192.0.2.1", 587))
    authenticate(connection, source, user)
    assert send(connection, "by TLS") == {}


def test_an_unencrypted_connection(connect, source, user, monkeypatch, requests_of):
    """Over a network without encryption, no token is sent."""
    connection = connect()
    connection.ehlo()

    class Remote:
        def getpeername(self):
            return "192.0.2.1", 587

    with monkeypatch.context() as patch:
        patch.setattr(connection, "sock", Remote())
        with pytest.raises(InvalidConfigurationError, match="starttls"):
            authenticate(connection, source, user)
    assert requests_of() == 0


def test_the_example(run_example, mail, relay):
    """The program of the page sends a message."""
    place = {"SMTP_HOST": "localhost", "SMTP_PORT": mail.submission_port, "MAILBOX": USER}
    assert "sent" in run_example("smtplib", **place, SSL_CERT_FILE=mail.ca_file)
    assert "hello from smtplib" in relay.messages[-1]
