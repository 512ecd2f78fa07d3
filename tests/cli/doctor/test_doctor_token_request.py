"""``tokenkeeper doctor`` on the token request, and on the lifetime and scope of the token."""

from datetime import UTC, datetime, timedelta

import pytest
from kit.servers.faulty import SECRET
from kit.servers.raw import Scripted, silence

from tokenkeeper import BaseOAuth2Provider, OAuth2Token
from tokenkeeper.doctor.examine import examine
from tokenkeeper.doctor.findings import Level, Report, Step, ok
from tokenkeeper.doctor.provider_facts import read_facts
from tokenkeeper.doctor.targets import Target
from tokenkeeper.testing import LoopbackAuthorizationServer


class TestGrant:
    """One real token request."""

    def test_a_wrong_secret(self, describe, examine, server):
        """A refusal is shown in the server's words, with advice, after one request."""
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
        """If Basic is refused and form-encoding changes the secret, both solutions are named."""
        server.granted = (401, {"error": "invalid_client"})
        describe(secret=f"{SECRET}+/=")
        code, seen = examine()
        assert code == Step.CREDENTIALS
        assert "form_encode_credentials=False" in seen["credentials"].text
        assert 'token_endpoint_auth_method="client_secret_post"' in seen["credentials"].text

    def test_advice_fits_the_grant(self, describe, examine, server):
        """Advice for client credentials does not ask anyone to sign in."""
        server.granted = (400, {"error": "invalid_grant"})
        describe()
        text = examine()[1]["credentials"].text
        assert "sign in" not in text.lower()
        assert "client credentials" in text

    def test_a_configured_client_makes_one_request(self, run, server, configure):
        """A provider from a file does not look for a rotated secret and retry here."""
        server.granted = (503, {"error": "temporarily_unavailable"})
        result = run("--config", configure(server.token_url), "doctor")
        assert result.exit_code == Step.CREDENTIALS
        assert [method for method, _ in server.seen].count("POST") == 1

    def test_a_server_that_never_responds(self, describe, examine):
        """A server that never responds is reported with the timeout of the command."""
        with Scripted(always=silence) as server:
            describe(server.url)
            code, seen = examine("--timeout", "0.3")
        assert code == Step.CREDENTIALS
        assert seen["clock"].text == "the server did not respond"
        assert seen["metadata"].text == "no response within 0.3 s"

    def test_a_token_endpoint_that_never_responds(self, describe, examine):
        """A token request ends after the timeout."""
        with LoopbackAuthorizationServer() as server:
            describe(server.token_url)
            with server.outage("stall"):
                code, seen = examine("--timeout", "0.3")
        assert code == Step.CREDENTIALS
        assert "within 0.3 s" in seen["credentials"].text

    def test_an_assumed_lifetime(self, describe, examine, server):
        """An assumed lifetime is a warning, as the token may expire long before."""
        del server.granted["expires_in"]
        describe()
        code, seen = examine()
        assert code == 0
        assert seen["lifetime"].status == "warning"
        assert seen["lifetime"].text.startswith(
            "3600 s; renewed after 3240 s. This lifetime is assumed"
        )
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
    def test_a_short_lifetime(self, describe, examine, server, lifetime, status, shrinks):
        """A lifetime too short for a request that hangs during a renewal is a warning."""
        server.granted = {**server.granted, "expires_in": lifetime}
        describe()
        code, seen = examine()
        assert code == 0
        assert seen["lifetime"].status == status
        assert ("shrinks to" in seen["lifetime"].text) is shrinks
        assert (seen["lifetime"].facts["renewal_seconds"] < 30) is (status == "warning")
        assert ("callers wait during any longer outage" in seen["lifetime"].text) is (
            status == "warning"
        )

    def test_an_assumed_scope(self, describe, examine, server):
        """If the server names no scope, the requested one is assumed, and the finding says so."""
        describe(scope="read write")
        code, seen = examine()
        assert code == 0
        assert seen["scope"].status == "note"
        assert seen["scope"].text.startswith("assumed to be granted: read write. ")
        assert seen["scope"].facts["assumed"] is True
        server.granted = {**server.granted, "scope": "write read"}
        scope = examine()[1]["scope"]
        assert (scope.status, scope.text) == ("ok", "all granted: read write")
        assert "assumed" not in scope.facts

    def test_a_token_that_has_expired_on_arrival(self, describe, examine, server):
        """A response that takes longer than the token lives fails the token request."""
        server.granted = {**server.granted, "expires_in": 0.001}
        describe()
        code, seen = examine()
        assert code == Step.CREDENTIALS
        assert "expired before it arrived" in seen["credentials"].text

    def test_a_narrowed_scope(self, describe, examine, server):
        """A scope that was not granted fails the last step, which names it."""
        server.granted = {**server.granted, "scope": "read list"}
        describe(scope="read write")
        code, seen = examine()
        assert code == Step.SCOPE
        assert "not granted: write" in seen["scope"].text
        assert "granted in addition: list" in seen["scope"].text

    def test_no_scope(self, describe, examine, server):
        """If no scope is requested, the granted one is shown."""
        describe(scope="")
        assert examine()[1]["scope"].text == "none requested, and none named by the server"
        server.granted = {**server.granted, "scope": "read"}
        assert examine()[1]["scope"].text == "granted without a request: read"


class Vault(BaseOAuth2Provider):
    """A custom provider that describes nothing."""

    def __init__(self, error=None):
        super().__init__("vault")
        self.error = error

    async def acquire_token(self):
        if self.error is not None:
            raise self.error
        return OAuth2Token("t", "Bearer", datetime.now(UTC) + timedelta(hours=1), scope="read")


class TestCustom:
    """A custom provider."""

    def examined(self, provider):
        variables = Report(Step.VARIABLES, (ok("made in a test"),))
        target = Target("vault", read_facts(provider), variables)
        return {each.step: each for each in examine(target, timeout=20)}

    def test_one_that_works(self):
        """Steps that need a URL are skipped, and the token is examined."""
        reports = self.examined(Vault())
        levels = {step: report.level for step, report in reports.items()}
        assert set(levels) == set(Step)
        assert {levels[step] for step in Step if 2 < step <= Step.METADATA} == {Level.SKIPPED}
        assert levels[Step.CREDENTIALS] is levels[Step.LIFETIME] is Level.OK
        assert reports[Step.SCOPE].findings[0].text == "granted without a request: read"

    def test_one_that_raises(self):
        """An error of the provider is named without its text, which may contain a secret."""
        (finding,) = self.examined(Vault(ValueError(SECRET)))[Step.CREDENTIALS].findings
        assert finding.level is Level.FAILED
        assert finding.text == "Vault raised ValueError"
