"""``tokenkeeper doctor`` on a provider without a problem, and its help."""

import os

import pytest

from tokenkeeper.doctor.findings import Step
from tokenkeeper.testing import LoopbackAuthorizationServer


class TestWell:
    """A provider without a problem."""

    def test_every_step_is_shown(self, run, describe, server):
        """A provider without a problem exits with 0 and has a line for each step."""
        server.publish()
        describe()
        result = run("doctor")
        assert result.exit_code == 0, result.output
        assert result.stderr == ""
        assert all(f" {step.label}" in result.stdout for step in Step)
        assert "oauth2: ok" in result.stdout
        assert "accepted: a Bearer token" in result.stdout

    def test_the_loopback_server_passes(self, describe, examine):
        """The server of ``tokenkeeper.testing``, with its metadata, passes every step."""
        with LoopbackAuthorizationServer() as server:
            describe(server.token_url, scope="read write")
            os.environ["OAUTH2_CLIENT_ID"] = server.client_id
            os.environ["OAUTH2_CLIENT_SECRET"] = server.client_secret
            code, seen = examine()
        assert code == 0
        assert "client_credentials is supported" in seen["metadata"].text
        assert seen["scope"].facts == {"asked": ["read", "write"], "granted": ["read", "write"]}
        assert seen["lifetime"].facts["lifetime_seconds"] == pytest.approx(3600, abs=1)
        assert server.stats().token_requests == 1

    def test_any_name_for_the_client_of_the_environment(self, describe, run):
        """Any NAME may be given to the client of the environment."""
        describe()
        assert run("doctor", "billing").stdout.startswith("billing  generic  http://")

    def test_help_has_the_exit_codes(self, run):
        """The help lists each step with its exit code and question."""
        text = run("doctor", "--help").stdout
        assert all(f"{step.value}  {step.label}" in text for step in Step)
        assert all(step.question in text for step in Step)
