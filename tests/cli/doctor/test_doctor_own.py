"""``tokenkeeper doctor`` on token requests that differ, and on classes of one's own."""

import json
import sys

import pytest
from servers.ailing import SECRET

MODULE = '''
from datetime import UTC, datetime, timedelta
from tokenkeeper import BaseOAuth2Provider, OAuth2Token


class Own(BaseOAuth2Provider):
    """Says of itself what it is given, its secret included."""

    closed = 0

    def __init__(self, provider_name, description, api_key=None, error=None):
        super().__init__(provider_name)
        self.description, self.api_key, self.error = description, api_key, error

    async def acquire_token(self):
        if self.error:
            raise ValueError(self.api_key)
        return OAuth2Token(
            "the-token-of-the-test", "Bearer", datetime.now(UTC) + timedelta(hours=1), "read"
        )

    def describe(self):
        if self.description is None:
            raise ValueError(self.api_key)
        return {**self.description, "key was": self.api_key, "api_key": "in-clear"}

    async def close(self):
        Own.closed += 1
'''


@pytest.fixture
def own(tmp_path, monkeypatch, environment):
    """Return what describes a provider of a class of one's own by a file."""
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


class TestRequestsThatDiffer:
    """The doctor asks as the provider does, and compares what the provider does."""

    def test_a_public_client_with_a_grant_of_its_own(self, run, configure, server, environment):
        """Method and grant are those of the configuration, in its findings as on the wire."""
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
    def test_a_life_that_is_configured(self, run, configure, server, option):
        """A lifetime that the configuration says is not called assumed."""
        server.granted = {"access_token": "the-token-of-the-test", "token_type": "Bearer"}
        result = run("doctor", "--json", "--config", configure(server.token_url, option))
        (provider,) = json.loads(result.stdout)["providers"]
        (lifetime,) = [each for each in provider["steps"] if each["step"] == "lifetime"]
        assert "assumed" not in str(lifetime)


class TestClassesOfOnesOwn:
    """The doctor knows of them what they say of themselves."""

    def examine(self, run, path):
        result = run("doctor", "--json", "--config", path)
        (provider,) = json.loads(result.stdout)["providers"]
        return provider, {each["step"]: each for each in provider["steps"]}

    def test_one_that_names_its_server(self, run, own, server):
        """The way to its ``token_url`` is examined, and its ``scope`` compared."""
        description = {"token_url": f"{server.token_url}?key=abc", "scope": "read write"}
        provider, steps = self.examine(run, own(description=description))
        assert steps["tcp"]["status"] == "ok"
        assert steps["metadata"]["status"] == "note"
        assert "not granted: write" in str(steps["scope"]["findings"])
        assert provider["url"] == server.token_url
        assert "key=abc" not in str(provider)

    def test_one_that_keeps_it_to_itself(self, run, own):
        """What only a known server can be asked is skipped; its token is looked at, and closed."""
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

    def test_secrets_in_what_it_says(self, run, own):
        """What the class should not have said is hidden: its secret, and secrets by their name."""
        provider, _ = self.examine(run, own(description={"a": "b"}))
        assert provider["description"] == {"a": "b", "key was": "[hidden]", "api_key": "[hidden]"}
        assert "in-clear" not in run("doctor", "--config", own(description={"a": "b"})).output

    @pytest.mark.parametrize("description", [None, {"token_url": "http://id.example.com/x"}])
    def test_one_that_says_nonsense(self, run, own, description):
        """A ``describe`` that raises, or names a URL that no secret may go to, is survived."""
        provider, steps = self.examine(run, own(description=description))
        assert provider["exit_code"] == 0
        assert steps["dns"]["status"] == "skipped"

    def test_escape_sequences(self, run, own):
        """Nothing that it says reaches the terminal raw."""
        path = own(description={"\x1b[31mname": "\x1b]0;title\x07", "list": ["\x1b[2J"]})
        assert "\x1b" not in run("doctor", "--config", path).output

    def test_one_that_fails(self, run, own):
        """What it raises is named by its kind, without its text."""
        provider, steps = self.examine(run, own(description={}, error="yes"))
        assert steps["credentials"]["status"] == "failed"
        assert "Own raised ValueError" in str(steps["credentials"]["findings"])
        assert provider["exit_code"] == 17
