"""``tokenkeeper doctor`` on one real token request, and on the token that came."""

import socket
from datetime import UTC, datetime, timedelta

import pytest
from servers.ailing import SECRET

from tokenkeeper import BaseOAuth2Provider, OAuth2Token
from tokenkeeper.doctor.examination import examine
from tokenkeeper.doctor.findings import Level, Report, Step, ok
from tokenkeeper.doctor.sources import Patient
from tokenkeeper.doctor.subject import subject_of
from tokenkeeper.testing import LoopbackAuthorizationServer


class TestGrant:
    """One real token request."""

    def test_a_wrong_secret(self, describe, examine, server):
        """A refusal is told in the server's words, with what to do, after one request."""
        server.granted = (
            401,
            {"error": "invalid_client", "error_description": f"no such secret: {SECRET}"},
        )
        describe()
        code, seen = examine()
        assert code == Step.CREDENTIALS
        assert "invalid_client" in seen["credentials"].text
        assert "no such secret: [hidden]" in seen["credentials"].text
        assert "Check client_id and client_secret" in seen["credentials"].text
        assert seen["credentials"].facts["status_code"] == 401
        assert seen.skipped_after(Step.CREDENTIALS)
        assert [method for method, _ in server.seen].count("POST") == 1

    def test_a_secret_that_encoding_changes(self, describe, examine, server):
        """Where Basic is refused and form-encoding changes the secret, both cures are named."""
        server.granted = (401, {"error": "invalid_client"})
        describe(secret=f"{SECRET}+/=")
        code, seen = examine()
        assert code == Step.CREDENTIALS
        assert "form_encode_credentials=False" in seen["credentials"].text
        assert 'token_endpoint_auth_method="client_secret_post"' in seen["credentials"].text

    def test_hints_fit_the_grant(self, describe, examine, server):
        """A client is not told to sign in."""
        server.granted = (400, {"error": "invalid_grant"})
        describe()
        text = examine()[1]["credentials"].text
        assert "sign in" not in text.lower()
        assert "client credentials" in text

    def test_a_configured_client_is_asked_once_too(self, run, server, configure):
        """A provider of a file looks for a rotated secret elsewhere, but not here."""
        server.granted = (503, {"error": "temporarily_unavailable"})
        result = run("--config", configure(server.token_url), "doctor")
        assert result.exit_code == Step.CREDENTIALS
        assert [method for method, _ in server.seen].count("POST") == 1

    def test_a_server_that_says_nothing_at_all(self, describe, examine):
        """What is not answered in time is told by our timeout, and by no setting of the file."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            describe(f"http://127.0.0.1:{silent.getsockname()[1]}/token")
            code, seen = examine("--timeout", "0.3")
        assert code == Step.CREDENTIALS
        assert seen["clock"].text == "the server gave no answer"
        assert seen["metadata"].text == "no answer within 0.3 s"

    def test_a_server_that_says_nothing(self, describe, examine):
        """A token request is given up after the timeout."""
        with LoopbackAuthorizationServer() as server:
            describe(server.token_url)
            with server.outage("stall"):
                code, seen = examine("--timeout", "0.3")
        assert code == Step.CREDENTIALS
        assert "within 0.3 s" in seen["credentials"].text

    def test_a_life_that_the_server_does_not_tell(self, describe, examine, server):
        """A lifetime that is assumed is told as such: the token may be dead long before."""
        del server.granted["expires_in"]
        describe()
        code, seen = examine()
        assert code == 0
        assert seen["lifetime"].status == "warning"
        assert seen["lifetime"].text.startswith("3600 s; renewed after 3240 s: that is assumed")
        assert "default_lifetime_seconds" in seen["lifetime"].advice
        assert seen["lifetime"].facts["assumed"] is True

    @pytest.mark.parametrize(
        ("lifetime", "status", "shrinks"),
        [
            (10, "warning", True),
            (60, "warning", True),
            (90, "ok", True),
            (300, "ok", True),
            (302, "ok", False),
            (3600, "ok", False),
        ],
    )
    def test_a_short_life(self, describe, examine, server, lifetime, status, shrinks):
        """A short life draws a warning where a renewal has no time for a request that hangs."""
        server.granted = {**server.granted, "expires_in": lifetime}
        describe()
        code, seen = examine()
        assert code == 0
        assert seen["lifetime"].status == status
        assert ("shrinks to" in seen["lifetime"].text) is shrinks
        assert (seen["lifetime"].facts["renewal_seconds"] < 30) is (status == "warning")
        assert ("callers wait in any outage" in seen["lifetime"].text) is (status == "warning")

    def test_a_scope_that_is_assumed(self, describe, examine, server):
        """Where the server names no scope, that it granted all is assumed, and told as such."""
        describe(scope="read write")
        code, seen = examine()
        assert code == 0
        assert seen["scope"].status == "note"
        assert seen["scope"].text.startswith("assumed, not granted by name: read write (")
        assert seen["scope"].facts["assumed"] is True
        server.granted = {**server.granted, "scope": "write read"}
        scope = examine()[1]["scope"]
        assert (scope.status, scope.text) == ("ok", "all granted: read write")
        assert "assumed" not in scope.facts

    def test_a_token_that_was_dead_when_it_came(self, describe, examine, server):
        """An answer that took longer than the token lives is no token."""
        server.granted = {**server.granted, "expires_in": 0.001}
        describe()
        code, seen = examine()
        assert code == Step.CREDENTIALS
        assert "expired before it arrived" in seen["credentials"].text

    def test_a_narrowed_scope(self, describe, examine, server):
        """A scope that was not granted fails the last step and is named."""
        server.granted = {**server.granted, "scope": "read list"}
        describe(scope="read write")
        code, seen = examine()
        assert code == Step.SCOPE
        assert "not granted: write" in seen["scope"].text
        assert "granted beyond that: list" in seen["scope"].text

    def test_no_scope(self, describe, examine, server):
        """A client that asks for no scope is told what it was granted."""
        describe(scope="")
        assert examine()[1]["scope"].text == "none asked for, and none named by the server"
        server.granted = {**server.granted, "scope": "read"}
        assert examine()[1]["scope"].text == "granted unasked: read"


class Vault(BaseOAuth2Provider):
    """A provider of somebody's own."""

    def __init__(self, error=None):
        super().__init__("vault")
        self.error = error

    async def acquire_token(self):
        if self.error is not None:
            raise self.error
        return OAuth2Token("t", "Bearer", datetime.now(UTC) + timedelta(hours=1), scope="read")


class TestCustom:
    """A provider that nobody knows the inside of."""

    def examined(self, provider):
        made = Report(Step.VARIABLES, (ok("made by hand"),))
        patient = Patient("vault", subject_of(provider), made)
        return {each.step: each for each in examine(patient, timeout=20)}

    def test_one_that_works(self):
        """What only the provider knows is skipped, and the token is looked at."""
        reports = self.examined(Vault())
        levels = {step: report.level for step, report in reports.items()}
        assert set(levels) == set(Step)
        assert {levels[step] for step in Step if 2 < step <= Step.METADATA} == {Level.SKIPPED}
        assert levels[Step.CREDENTIALS] is levels[Step.LIFETIME] is Level.OK
        assert reports[Step.SCOPE].findings[0].text == "granted unasked: read"

    def test_one_that_raises(self):
        """What a provider raises is told by its kind alone, as its text may hold a secret."""
        (finding,) = self.examined(Vault(ValueError(SECRET)))[Step.CREDENTIALS].findings
        assert finding.level is Level.FAILED
        assert finding.text == "Vault raised ValueError"
