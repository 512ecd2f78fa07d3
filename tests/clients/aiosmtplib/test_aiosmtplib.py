"""aiosmtplib and Dovecot's submission: rejected tokens, revocations, dropped connections."""

import inspect
import traceback

import aiosmtplib
import pytest
from clients.on_dovecot import USER, smtp_server
from kit.guards import ticks_during
from kit.loops import run

from tokenkeeper import InvalidConfigurationError, TokenAcquisitionError
from tokenkeeper.integrations.aiosmtplib import authenticate
from tokenkeeper.testing import Answer

CROWD = 12
MESSAGE = "Subject: {}\r\n\r\nhello"


@pytest.fixture
def client(mail):
    """Return a function that returns a new client."""
    place = {"hostname": "127.0.0.1", "port": mail.submission_port, "timeout": 30}
    return lambda **options: aiosmtplib.SMTP(**{**place, "start_tls": False, **options})


async def send(client, subject):
    """Send a message, and return the refused recipients."""
    refused, _ = await client.sendmail(
        "me@example.com", ["you@example.com"], MESSAGE.format(subject)
    )
    return refused


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER", None])
def test_a_message(client, source, user, mechanism, relay, requests_of):
    """A message is sent after a login by either mechanism."""

    async def main():
        async with client() as connection:
            await authenticate(connection, source, user, mechanism)
            await send(connection, f"async by {mechanism}")

    run(main())
    assert f"Subject: async by {mechanism}" in relay.messages[-1]
    assert requests_of() == 1


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_a_crowd_after_a_revocation(
    client, server, source, user, mechanism, requests_of, crowd_of_tasks
):
    """Many logins with a revoked token succeed, on their connections, after one renewal."""
    source.get_token()
    server.revoke_all()

    async def one():
        async with client() as connection:
            await authenticate(connection, source, user, mechanism)
            return await send(connection, "crowd")

    assert run(crowd_of_tasks(CROWD, one)) == [{}] * CROWD
    assert requests_of() == 2


def test_a_second_rejection(client, server, source, user, requests_of):
    """A second rejection is the caller's error, and no frame of it shows the token."""
    for number in (1, 2):
        body = {"access_token": f"made-up-{number}", "token_type": "Bearer", "expires_in": 60}
        server.script(Answer(200, body))

    async def main():
        async with client() as connection:
            with pytest.raises(aiosmtplib.SMTPAuthenticationError, match="535") as refused:
                await authenticate(connection, source, user)
            frames = [frame.f_locals for frame, _ in traceback.walk_tb(refused.tb)][1:]
            assert "made-up" not in repr(frames)

    run(main())
    assert requests_of() == 2


def test_a_connection_that_drops(client, source, user, requests_of):
    """After a connection was lost, the client connects and logs in with the same token."""

    async def main():
        connection = client()
        await connection.connect()
        await authenticate(connection, source, user)
        connection.close()
        with pytest.raises(aiosmtplib.SMTPServerDisconnected):
            await send(connection, "lost")
        async with connection:
            await authenticate(connection, source, user)
            assert await send(connection, "found") == {}

    run(main())
    assert requests_of() == 1


def test_the_event_loop_is_not_blocked(client, server, source, user):
    """While a token is requested, the event loop goes on."""

    async def main():
        async with client() as connection:
            server.latency_seconds = 0.5
            _, ticks = await ticks_during(authenticate(connection, source, user))
            assert ticks > 5

    try:
        run(main())
    finally:
        server.latency_seconds = 0


def test_without_a_token(client, server, source, user):
    """If there is no token, the keeper's error is raised, and the connection can be used later."""

    async def main():
        async with client() as connection:
            with server.outage(), pytest.raises(TokenAcquisitionError):
                await authenticate(connection, source, user)
            assert (await connection.noop()).code == 250

    run(main())


@pytest.mark.parametrize(
    ("answers", "error", "requests"),
    [
        ([b"235 welcome"], None, 1),
        ([b"535 5.7.8 failed", b"235 welcome"], None, 2),
        ([b"454 4.7.0 try later"], aiosmtplib.SMTPAuthenticationError, 1),
        ([None], aiosmtplib.SMTPServerDisconnected, 1),
        ([b"535 5.7.8 failed", None], aiosmtplib.SMTPServerDisconnected, 2),
    ],
)
def test_what_a_rejection_is(source, answers, error, requests, requests_of):
    """A rejection causes one renewal, and a failure of the server or the network none."""

    async def main(port):
        client = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False)
        await client.connect()
        try:
            if error is None:
                await authenticate(client, source, "me@example.com")
            else:
                with pytest.raises(error):
                    await authenticate(client, source, "me@example.com")
        finally:
            client.close()

    with smtp_server(*answers) as server:
        run(main(server.port))
    assert requests_of() == requests


def test_a_server_without_these_mechanisms(source, requests_of):
    """A server that offers neither mechanism gets no token."""

    async def main(port):
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port) as client:
            with pytest.raises(aiosmtplib.SMTPNotSupported, match="neither"):
                await authenticate(client, source, "me@example.com")

    with smtp_server(mechanisms=b"PLAIN") as server:
        run(main(server.port))
    assert requests_of() == 0


def test_starttls(mail, client, source, user, monkeypatch):
    """After STARTTLS the connection counts as encrypted, wherever the server is."""

    async def main():
        async with client(start_tls=True, tls_context=mail.context) as connection:
            get = connection.get_transport_info
            monkeypatch.setattr(
                connection,
                "get_transport_info",
                lambda key: ("192.0.2.1", 587) if key == "peername" else get(key),
            )
            await authenticate(connection, source, user)
            assert await send(connection, "by TLS") == {}

    run(main())


def test_an_unencrypted_connection(client, source, user, monkeypatch, requests_of):
    """Over a network without encryption, no token is sent."""

    async def main():
        async with client() as connection:
            with monkeypatch.context() as patch:
                known = {"peername": ("192.0.2.1", 587)}
                patch.setattr(connection, "get_transport_info", known.get)
                with pytest.raises(InvalidConfigurationError, match="starttls"):
                    await authenticate(connection, source, user)

    run(main())
    assert requests_of() == 0


@pytest.mark.skipif(
    "oauth_token_generator" not in inspect.signature(aiosmtplib.send).parameters,
    reason="needs aiosmtplib 5",
)
def test_the_library_s_own_way_never_hears_of_a_rejection(mail, server, source, user):
    """``oauth_token_generator`` sends a valid token, and a revoked one until it expires."""

    async def main():
        await aiosmtplib.send(
            MESSAGE.format("plain"),
            sender="me@example.com",
            recipients=["you@example.com"],
            hostname="127.0.0.1",
            port=mail.submission_port,
            start_tls=False,
            username=user,
            oauth_token_generator=source.aio.get_token,
        )

    run(main())
    server.revoke_all()
    for _ in range(2):
        with pytest.raises(aiosmtplib.SMTPAuthenticationError):
            run(main())


def test_the_example(run_example, mail, relay):
    """The program of the page sends a message."""
    place = {"SMTP_HOST": "localhost", "SMTP_PORT": mail.submission_port, "MAILBOX": USER}
    assert "sent" in run_example("aiosmtplib", **place, SSL_CERT_FILE=mail.ca_file)
    assert "hello from aiosmtplib" in relay.messages[-1]
