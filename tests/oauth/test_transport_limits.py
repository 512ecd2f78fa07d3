"""Responses that are too long or too slow."""

import gzip

import pytest
import requests

from tokenkeeper.oauth import sessions


class TestLimits:
    """Responses that are too long or too slow."""

    def test_the_longest_body(self, transport, make_server):
        """A body of 1 MiB is read; one byte more is refused."""
        longest = sessions.LONGEST_BODY
        server = make_server(
            make_server.reply(b"x" * longest), make_server.reply(b"x" * (longest + 1))
        )
        assert len(transport.post(server).body) == longest
        assert server.hung_up.acquire(timeout=10)
        error = transport.failure(server)
        assert "longer than 1 MiB" in str(error)
        assert error.transient is False

    @pytest.mark.slow
    def test_a_bomb(self, transport, make_server):
        """A small body that decompresses into a huge one is refused early."""
        bomb = gzip.compress(bytes(200_000_000), compresslevel=9)
        server = make_server(make_server.reply(bomb, headers=["Content-Encoding: gzip"]))
        assert "longer than 1 MiB" in str(transport.failure(server))

    @pytest.mark.parametrize(
        "content",
        [
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000,
            b"HTTP/1.1 200 " + b"O" * 10_000,
            b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 1000,
        ],
        ids=["headers", "status line", "body", "chunks"],
    )
    def test_a_drip(self, make_transport, make_server, content):
        """A server that sends one byte at a time is abandoned after the total timeout."""
        transport = make_transport(read_timeout=5, total_timeout=0.3)
        error = transport.failure(make_server(make_server.drip(content)))
        assert "timed out (total_timeout of 0.3 s)" in str(error)
        assert error.transient is True

    def test_a_drip_to_a_callers_session(self, make_transport, make_server):
        """The total timeout also applies to a caller's session."""
        with requests.Session() as session:
            transport = make_transport(read_timeout=5, total_timeout=0.3, session=session)
            content = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000
            error = transport.failure(make_server(make_server.drip(content)))
        assert "the response timed out" in str(error)

    def test_silence(self, make_transport, make_server):
        """A silent server is abandoned after the read timeout."""
        transport = make_transport(read_timeout=0.1)
        server = make_server(lambda server, sock: server.stopping.wait(10))
        error = transport.failure(server)
        assert "timed out (read_timeout of 0.1 s)" in str(error)
        assert isinstance(error.__cause__, TimeoutError)
        server.stopping.set()
