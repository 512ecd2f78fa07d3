"""``tokenkeeper doctor`` on unusual token requests, and on custom providers."""

import json
import sys

import pytest
from kit.servers.faulty import SECRET

MODULE = '''
from datetime import UTC, datetime, timedelta
from tokenkeeper import BaseOAuth2Provider, OAuth2Token


class Own(BaseOAuth2Provider):
    """Describes what it is given, its secret included."""

    requests = closed = 0

    def __init__(self, provider_name, description, api_key=None, error=None):
        super().__init__(provider_name)
        self.description, self.api_key, self.error = description, api_key, error

    async def acquire_token(self):
        Own.requests += 1
        if self.error:
            raise ValueError(self.api_key)
        return OAuth2Token(
            "the-token-of-the-test", "Bearer", datetime.now(UTC) + timedelta(hours=1), "read"
        )

    def describe(self):
        if self.description is None:
            raise ValueError(self.api_key)
        omitted = ["scope"] if Own.requests else []
        secrets = {"key was": self.api_key, "api_key": "in-clear"}
        return {**self.description, "omitted": omitted, **secrets}

    async def close(self):
        Own.closed += 1
'''


@pytest.fixture
def own(tmp_path, monkeypatch, environment):
    """Return a function that writes a file for a provider of a custom class."""
    name = f"doctors_class_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    environment.setenv("SECRET", SECRET)

    def own(**options):
        file = tmp_path / "own.yaml"
        block = {
            "provider_name": "mine",
            "provider_type": f"{name}:Own",
            "api_key": "${SECRET}",
            **options,
        }
        file.write_text(json.dumps({"oauth2": block}))
        file.chmod(0o600)
        return str(file)

    yield own
    sys.modules.pop(name, None)


class TestUnusualRequests:
    """The doctor makes the provider's own request, and compares it with the metadata."""

    def test_a_public_client_with_a_custom_grant(self, run, configure, server, environment):
        """Client authentication and grant are those of the configuration, also on the wire."""
        server.publish(
            token_endpoint_auth_methods_supported=["none"], grant_types_supported=["own_grant"]
        )
        path = configure(
            server.token_url,
            "token_endpoint_auth_method: none, grant_type: own_grant, request_format: query,"
            " headers: {X-Key: '${SECRET}'}, scope: read",
        )
        result = run("doctor", "--json", "--config", path)
        (provider,) = json.loads(result.stdout)["providers"]
        steps = {each["step"]: each for each in provider["steps"]}
        texts = [each["text"] for each in steps["metadata"]["findings"]]
        assert "none is supported" in texts
        assert "own_grant is supported" in texts
        assert provider["description"]["headers"] == ["X-Key"]
        assert ("POST", "/oauth/token?grant_type=own_grant&scope=read&client_id=an-id") in (
            server.seen
        )
        shown = run("doctor", "--config", path).output
        assert "grant_type: own_grant" in shown
        assert "headers: X-Key" in shown
        assert "refresh_tokens" not in shown

    @pytest.mark.parametrize("option", ["lifetime_seconds: 1000", "never_expires: true"])
    def test_a_configured_lifetime(self, run, configure, server, option):
        """A configured lifetime does not count as assumed."""
        server.granted = {"access_token": "the-token-of-the-test", "token_type": "Bearer"}
        result = run("doctor", "--json", "--config", configure(server.token_url, option))
        (provider,) = json.loads(result.stdout)["providers"]
        (lifetime,) = [each for each in provider["steps"] if each["step"] == "lifetime"]
        assert "assumed" not in str(lifetime)


class TestCustomClasses:
    """The doctor knows what custom providers describe."""

    def examine(self, run, path):
        result = run("doctor", "--json", "--config", path)
        (provider,) = json.loads(result.stdout)["providers"]
        return provider, {each["step"]: each for each in provider["steps"]}

    def test_one_that_describes_its_server(self, run, own, server):
        """The network up to its ``token_url`` is examined, and its ``scope`` compared."""
        description = {"token_url": f"{server.token_url}?key=abc", "scope": "read write"}
        provider, steps = self.examine(run, own(description=description))
        assert steps["tcp"]["status"] == "ok"
        assert steps["metadata"]["status"] == "note"
        assert "not granted: write" in str(steps["scope"]["findings"])
        assert provider["url"] == server.token_url
        assert "key=abc" not in str(provider)

    def test_one_that_describes_its_issuer(self, run, own, server):
        """The metadata of its ``issuer`` is requested, and no other place is guessed."""
        issuer = f"{server.origin}/tenants/7"
        server.publish(
            "/.well-known/oauth-authorization-server/tenants/7", issuer=issuer, jwks_uri="x"
        )
        description = {"token_url": server.token_url, "issuer": issuer}
        _, steps = self.examine(run, own(description=description))
        assert steps["metadata"]["facts"]["issuer"] == issuer
        assert server.seen == [("GET", "/.well-known/oauth-authorization-server/tenants/7")]

    @pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
    def test_one_that_verifies_nothing(self, run, own, secure):
        """Its ``verify`` is that of the TLS step."""
        server = secure("other.example")
        description = {"token_url": server.token_url, "verify": False}
        _, steps = self.examine(run, own(description=description))
        assert "the certificate is not verified" in str(steps["tls"]["findings"])

    def test_one_whose_server_omits_the_scope(self, run, own):
        """What it describes as ``omitted`` after the request counts as assumed."""
        provider, steps = self.examine(run, own(description={"scope": "read"}))
        assert steps["scope"]["facts"]["assumed"] is True
        assert "omitted" not in provider["description"]

    def test_one_that_describes_no_server(self, run, own):
        """Steps that need a URL are skipped; the token is examined and the provider closed."""
        provider, steps = self.examine(run, own(description={"path": "a/b", "number": 3}))
        assert provider["exit_code"] == 0
        assert {steps[name]["status"] for name in ("proxy", "dns", "tcp", "tls", "clock")} == {
            "skipped"
        }
        assert provider["description"]["path"] == "a/b"
        assert provider["description"]["number"] == 3
        assert [
            module.Own.closed
            for name, module in sys.modules.items()
            if name.startswith("doctors_class_")
        ] == [1]

    def test_secrets_in_a_description(self, run, own):
        """The provider's secret is hidden, and so are values whose names suggest a secret."""
        provider, _ = self.examine(run, own(description={"a": "b"}))
        assert provider["description"] == {"a": "b", "key was": "[hidden]", "api_key": "[hidden]"}
        assert "in-clear" not in run("doctor", "--config", own(description={"a": "b"})).output

    @pytest.mark.parametrize("description", [None, {"token_url": "http://id.example.com/x"}])
    def test_an_invalid_description(self, run, own, description):
        """A ``describe`` that raises, or names an insecure URL, is ignored."""
        provider, steps = self.examine(run, own(description=description))
        assert provider["exit_code"] == 0
        assert steps["dns"]["status"] == "skipped"

    def test_escape_sequences(self, run, own):
        """Escape sequences in a description do not reach the terminal."""
        path = own(description={"\x1b[31mname": "\x1b]0;title\x07", "list": ["\x1b[2J"]})
        assert "\x1b" not in run("doctor", "--config", path).output

    def test_one_that_fails(self, run, own):
        """An error of the class is named without its text."""
        provider, steps = self.examine(run, own(description={}, error="yes"))
        assert steps["credentials"]["status"] == "failed"
        assert "Own raised ValueError" in str(steps["credentials"]["findings"])
        assert provider["exit_code"] == 17
