"""``tokenkeeper doctor`` on DNS, TCP and the server's clock."""

import socket
import threading

import pytest
from kit.servers.raw import CLOSED_PORT

from tokenkeeper.doctor.findings import Step


class TestNetwork:
    """DNS and TCP."""

    def test_a_name_that_does_not_resolve(self, describe, examine):
        """A host without an address fails DNS."""
        describe("https://id.invalid/token")
        code, seen = examine()
        assert code == Step.DNS
        assert seen["dns"].text.startswith("id.invalid: ")
        assert "spelling" in seen["dns"].advice
        assert seen.skipped_after(Step.DNS)

    def test_an_invalid_name(self, describe, examine):
        """A host that is not a valid name fails DNS."""
        describe(f"https://{'a' * 70}.example/token")
        code, seen = examine()
        assert code == Step.DNS
        assert "not a valid host name" in seen["dns"].text

    def test_a_silent_resolver(self, describe, examine, environment):
        """A resolver that hangs ends after the timeout."""
        describe("https://id.invalid/token")
        gate = threading.Event()
        environment.setattr(socket, "getaddrinfo", lambda *_: gate.wait(20))
        code, seen = examine("--timeout", "0.05")
        gate.set()
        assert code == Step.DNS
        assert "did not answer within 0.05 s" in seen["dns"].text

    def test_a_closed_port(self, describe, examine):
        """A refused connection fails TCP and names the port."""
        port = CLOSED_PORT
        describe(f"https://127.0.0.1:{port}/token")
        code, seen = examine()
        assert code == Step.TCP
        assert seen["tcp"].text == f"127.0.0.1:{port}: the connection was refused"
        assert seen.skipped_after(Step.TCP)

    def test_a_temporary_failure_of_the_resolver(self, describe, examine, environment):
        """A temporary failure of the resolver is not mistaken for an unknown name."""
        describe("https://id.invalid/token")

        def fail(*_):
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

        environment.setattr(socket, "getaddrinfo", fail)
        code, seen = examine()
        assert code == Step.DNS
        assert "the resolver failed" in seen["dns"].text

    def test_a_silent_address(self, describe, examine, environment):
        """An address that does not answer in time fails TCP."""
        describe("https://127.0.0.1/token")

        def late(*_, timeout):
            raise TimeoutError

        environment.setattr(socket, "create_connection", late)
        code, seen = examine("--timeout", "3")
        assert code == Step.TCP
        assert seen["tcp"].text == "127.0.0.1:443: no answer within 3.0 s"

    def test_every_address_is_tried(self, describe, examine, environment, server):
        """An address that refuses, beside one that accepts, is a warning."""
        describe(server.token_url.replace("127.0.0.1", "localhost"))
        found = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", server.server_port, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.server_port)),
        ]
        ours, real = server.server_port, socket.getaddrinfo

        def look_up(host, port, *rest, **options):
            return found if (host, port) == ("localhost", ours) else real(host, port, *rest)

        environment.setattr(socket, "getaddrinfo", look_up)
        code, seen = examine()
        assert code == 0
        assert seen["dns"].facts["addresses"] == ["::1", "127.0.0.1"]
        assert seen["tcp"].status == "warning"
        assert f"[::1]:{ours}: " in seen["tcp"].text
        assert f"127.0.0.1:{ours} accepts connections" in seen["tcp"].text
        assert seen["tls"].text == "not used: plain http, which is allowed on loopback"


class TestClock:
    """The server's clock and ours."""

    @pytest.mark.parametrize(
        ("skew", "words"), [(90, "s behind the server's"), (-90, "s ahead of the server's")]
    )
    def test_clocks_that_differ(self, describe, examine, server, skew, words):
        """A difference of more than half a minute is a warning that says which clock is ahead."""
        server.skew = skew
        describe()
        code, seen = examine()
        assert code == 0
        assert seen["clock"].status == "warning"
        assert words in seen["clock"].text
        assert seen["clock"].facts["skew_seconds"] == pytest.approx(skew, abs=5)

    def test_an_answer_from_a_cache(self, describe, examine, server):
        """The age of a cached response is not mistaken for a difference of the clocks."""
        server.skew = -3600
        server.headers = {"Age": "3600"}
        describe()
        assert examine()[1]["clock"].status == "ok"

    def test_no_date(self, describe, examine, server):
        """A response without a Date skips the clock step."""
        server.skew = None
        describe()
        code, seen = examine()
        assert code == 0
        assert seen["clock"].text == "the server sends no Date header"
