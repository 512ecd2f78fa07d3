"""``tokenkeeper doctor`` at servers without TLS: variables, network, clock, metadata, grant."""

import json
import os
import socket
import threading
from datetime import UTC, datetime, timedelta

import pytest
from servers.ailing import SECRET

from tokenkeeper import BaseOAuth2Provider, OAuth2Token
from tokenkeeper.doctor.examination import examine
from tokenkeeper.doctor.findings import Level, Report, Step, ok
from tokenkeeper.doctor.sources import Patient
from tokenkeeper.doctor.subject import subject_of
from tokenkeeper.testing import LoopbackAuthorizationServer


class TestWell:
    """A provider without a fault."""

    def test_every_step_is_told(self, run, describe, server):
        """A provider that is well ends with 0 and a line for each step."""
        server.publish()
        describe()
        result = run("doctor")
        assert result.exit_code == 0, result.output
        assert result.stderr == ""
        assert all(f" {step.label}" in result.stdout for step in Step)
        assert "oauth2: fit" in result.stdout
        assert "accepted: a Bearer token" in result.stdout

    def test_the_loopback_server_is_well(self, describe, examine):
        """The server of the testing kit, with its metadata, passes."""
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

    def test_a_name_is_taken_as_get_takes_it(self, describe, run):
        """A NAME of the caller's own goes for the client of the environment."""
        describe()
        assert run("doctor", "billing").stdout.startswith("billing  generic  http://")

    def test_help_has_the_exit_codes(self, run):
        """The help names each step with its exit code and what it asks."""
        told = run("doctor", "--help").stdout
        assert all(f"{step.value}  {step.label}" in told for step in Step)
        assert all(step.question in told for step in Step)


class TestVariables:
    """What the provider is made from."""

    def test_what_is_missing_in_the_environment(self, describe, examine, environment):
        """A missing variable fails the first step, and those that are set are told."""
        describe()
        environment.delenv("OAUTH2_TOKEN_URL")
        code, seen = examine()
        assert code == Step.VARIABLES == 2
        assert "OAUTH2_TOKEN_URL is not set" in seen["variables"].text
        assert "OAUTH2_CLIENT_ID is set" in seen["variables"].text
        assert seen.skipped_after(Step.VARIABLES)

    def test_an_empty_environment(self, examine):
        """Where nothing is described, all that could be set is named."""
        code, seen = examine()
        assert code == 2
        assert "AZURE_TENANT_ID" in seen["variables"].text
        assert "OAUTH2_TOKEN_URL" in seen["variables"].text

    def test_one_name_of_two_is_not_described(self, describe, run, environment):
        """The second name is looked at though the first one failed, and the first one counts."""
        describe()
        environment.setenv("AZURE_CLIENT_ID", "an-id")
        result = run("doctor", "--json", "azure", "oauth2")
        first, second = json.loads(result.stdout)["providers"]
        assert (first["provider"], first["exit_code"]) == ("azure", 2)
        assert (second["provider"], second["exit_code"]) == ("oauth2", 0)
        assert result.exit_code == 2

    def test_a_file_with_its_variables(self, examine, environment, server, tmp_path):
        """Each variable and secret file of a provider is told, and a default that counts."""
        (tmp_path / "secret").write_text(SECRET)
        (tmp_path / "secret").chmod(0o600)
        (tmp_path / "tokens.yaml").write_text(
            "oauth2:\n"
            "  provider_name: api\n"
            "  provider_type: generic\n"
            "  client_id: ${API_ID}\n"
            "  client_secret_file: secret\n"
            f"  token_url: ${{API_URL:-{server.token_url}}}\n"
        )
        environment.setenv("API_ID", "an-id")
        environment.delenv("API_URL", raising=False)
        environment.setenv("TOKENKEEPER_CONFIG", str(tmp_path / "tokens.yaml"))
        code, seen = examine("api")
        assert code == 0
        assert seen["variables"].text == (
            "tokens.yaml read; API_ID is set; API_URL is not set: its default counts; "
            "secret file secret read"
        )

    def test_a_broken_file(self, examine, environment, tmp_path):
        """Each mistake of a file is a finding of the step that failed."""
        (tmp_path / "tokens.yaml").write_text(
            "oauth2:\n"
            "  provider_name: api\n"
            "  provider_type: generic\n"
            "  client_id: ${NOT_THERE}\n"
            "  client_secret_file: nowhere\n"
            "  token_url: http://id.example.com\n"
        )
        environment.delenv("NOT_THERE", raising=False)
        environment.setenv("TOKENKEEPER_CONFIG", str(tmp_path / "tokens.yaml"))
        code, seen = examine()
        assert code == 2
        assert seen["variables"].text.count("; ") == 2
        assert "NOT_THERE, which is not set" in seen["variables"].text
        assert "client_secret_file can't be read" in seen["variables"].text
        assert "token_url must be https://" in seen["variables"].text

    def test_a_secret_in_clear_draws_a_warning(self, run, server, tmp_path):
        """What the configuration warns of, the doctor tells, and --strict makes a failure of."""
        file = tmp_path / "tokens.yaml"
        file.write_text(
            "oauth2:\n"
            "  provider_name: api\n"
            "  provider_type: generic\n"
            "  client_id: an-id\n"
            f"  client_secret: {SECRET}\n"
            f"  token_url: {server.token_url}\n"
        )
        file.chmod(0o600)
        result = run("--config", str(file), "doctor")
        assert "is written in clear" in result.stdout
        assert "with warnings: variables" in result.stdout
        assert result.exit_code == 0
        assert run("--config", str(file), "doctor", "--strict").exit_code == 2

    @pytest.fixture
    def three(self, environment, server, tmp_path):
        """Write a file with three providers: no DNS, a refused client, and one that is well."""
        block = (
            "  - {{provider_name: {}, provider_type: generic, client_id: i,"
            " client_secret: '${{SECRET}}', token_url: '{}'}}\n"
        )
        server.documents["/refused"] = 401, {"error": "invalid_client"}
        urls = {
            "astray": "https://id.invalid/token",
            "refused": server.origin + "/refused",
            "well": server.token_url,
        }
        blocks = "".join(block.format(*each) for each in urls.items())
        (tmp_path / "tokens.yaml").write_text("oauth2:\n" + blocks)
        environment.setenv("SECRET", SECRET)
        environment.setenv("TOKENKEEPER_CONFIG", str(tmp_path / "tokens.yaml"))

    def test_several_providers(self, three, run):
        """All are looked at, and the exit code is of the first one that failed."""
        result = run("doctor", "--json")
        providers = json.loads(result.stdout)["providers"]
        codes = {each["provider"]: each["exit_code"] for each in providers}
        assert codes == {"astray": Step.DNS, "refused": Step.CREDENTIALS, "well": 0}
        assert result.exit_code == Step.DNS

    def test_some_of_several_providers(self, three, run):
        """Those that are named are looked at, in the order of the file, and no others."""
        result = run("doctor", "well", "refused")
        assert [line for line in result.stdout.splitlines() if ": " in line and line[0] != " "] == [
            "refused: credentials failed",
            "well: fit",
            "1 of 2 fit; failed: refused (credentials)",
        ]
        assert " of 1 fit" not in run("doctor", "well").stdout
        assert result.exit_code == Step.CREDENTIALS

    def test_a_name_that_the_file_does_not_have(self, run, server, tmp_path):
        """An unknown name is one line on standard error that has the known ones."""
        file = tmp_path / "tokens.yaml"
        file.write_text(
            "oauth2: {provider_name: api, provider_type: generic, client_id: i,"
            f" client_secret: '{SECRET}', token_url: '{server.token_url}'}}\n"
        )
        result = run("--config", str(file), "doctor", "apis")
        assert result.exit_code == 2
        assert result.stdout == ""
        assert "no provider 'apis', but: 'api'" in result.stderr


class TestNetwork:
    """The way to the server."""

    def test_a_name_that_does_not_resolve(self, describe, examine):
        """A host without an address fails DNS."""
        describe("https://id.invalid/token")
        code, seen = examine()
        assert code == Step.DNS
        assert seen["dns"].text.startswith("id.invalid: ")
        assert "spelling" in seen["dns"].advice
        assert seen.skipped_after(Step.DNS)

    def test_a_name_that_can_not_be(self, describe, examine):
        """A host that is no name at all fails DNS too."""
        describe(f"https://{'a' * 70}.example/token")
        code, seen = examine()
        assert code == Step.DNS
        assert "can't be looked up" in seen["dns"].text

    def test_a_resolver_that_says_nothing(self, describe, examine, environment):
        """A resolver that hangs costs the timeout and no more."""
        describe("https://id.invalid/token")
        gate = threading.Event()
        environment.setattr(socket, "getaddrinfo", lambda *_: gate.wait(20))
        code, seen = examine("--timeout", "0.05")
        gate.set()
        assert code == Step.DNS
        assert "did not answer within 0.05 s" in seen["dns"].text

    def test_a_port_where_nobody_listens(self, describe, examine):
        """A refused connection fails TCP and names the port."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        describe(f"https://127.0.0.1:{port}/token")
        code, seen = examine()
        assert code == Step.TCP
        assert seen["tcp"].text == f"127.0.0.1:{port}: the connection was refused"
        assert seen.skipped_after(Step.TCP)

    def test_a_resolver_that_fails_for_now(self, describe, examine, environment):
        """A resolver that can't answer now is told from a name that is not there."""
        describe("https://id.invalid/token")

        def fail(*_):
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

        environment.setattr(socket, "getaddrinfo", fail)
        code, seen = examine()
        assert code == Step.DNS
        assert "the resolver failed" in seen["dns"].text

    def test_an_address_that_says_nothing(self, describe, examine, environment):
        """An address that lets the time go by fails TCP."""
        describe("https://127.0.0.1/token")

        def late(*_, timeout):
            raise TimeoutError

        environment.setattr(socket, "create_connection", late)
        code, seen = examine("--timeout", "3")
        assert code == Step.TCP
        assert seen["tcp"].text == "127.0.0.1:443: no answer within 3.0 s"

    def test_every_address_is_tried(self, describe, examine, environment, server):
        """An address that refuses is told beside the one that accepts, and is a warning."""
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
        assert seen["tls"].text == "none: plain http, which is allowed on loopback"


class TestClock:
    """The server's time and ours."""

    @pytest.mark.parametrize(
        ("skew", "words"), [(90, "s behind the server's"), (-90, "s ahead of the server's")]
    )
    def test_clocks_that_differ(self, describe, examine, server, skew, words):
        """A clock that is off by more than half a minute draws a warning with the direction."""
        server.skew = skew
        describe()
        code, seen = examine()
        assert code == 0
        assert seen["clock"].status == "warning"
        assert words in seen["clock"].text
        assert seen["clock"].facts["skew_seconds"] == pytest.approx(skew, abs=5)

    def test_an_answer_from_a_cache(self, describe, examine, server):
        """The age of a cached answer is no skew."""
        server.skew = -3600
        server.headers = {"Age": "3600"}
        describe()
        assert examine()[1]["clock"].status == "ok"

    def test_no_date(self, describe, examine, server):
        """A server that says no time is no fault."""
        server.skew = None
        describe()
        code, seen = examine()
        assert code == 0
        assert seen["clock"].text == "the server sends no Date"


class TestMetadata:
    """What the server says of itself."""

    def test_none(self, describe, examine, server):
        """A server without metadata is asked where they may be, and that is no fault."""
        describe()
        code, seen = examine()
        assert code == 0
        assert "publishes none" in seen["metadata"].text
        assert server.seen[:-1] == [
            ("GET", "/.well-known/oauth-authorization-server/oauth"),
            ("GET", "/oauth/.well-known/openid-configuration"),
            ("GET", "/.well-known/oauth-authorization-server"),
            ("GET", "/.well-known/openid-configuration"),
        ]

    def test_an_issuer_with_a_path(self, describe, examine, server):
        """The issuer is found in the token endpoint's path."""
        url = server.origin + "/tenants/main/token"
        server.publish(
            "/tenants/main/.well-known/openid-configuration",
            issuer=server.origin + "/tenants/main",
            token_endpoint=url,
        )
        describe(url)
        _, seen = examine()
        assert seen["metadata"].facts["issuer"] == server.origin + "/tenants/main"
        assert seen["metadata"].status == "ok"

    @pytest.mark.parametrize(
        ("changes", "text", "advice"),
        [
            (
                {"token_endpoint": "https://x.example/t"},
                "https://x.example/t, and http",
                "token_url",
            ),
            (
                {"token_endpoint_auth_methods_supported": ["private_key_jwt"]},
                "client_secret_basic is not among token_endpoint_auth_methods_supported: private",
                "token_endpoint_auth_method",
            ),
            (
                {"grant_types_supported": ["authorization_code"]},
                "client_credentials is not among grant_types_supported: authorization_code",
                "permitted",
            ),
            ({"issuer": "https://other.example"}, "calls itself https://other.example", "§3.3"),
        ],
    )
    def test_what_does_not_fit(self, describe, examine, server, changes, text, advice):
        """Metadata that does not fit the configuration draw a warning; the grant decides."""
        server.publish(**changes)
        describe()
        code, seen = examine()
        assert code == 0
        assert seen["metadata"].status == "warning"
        assert text in seen["metadata"].text
        assert advice in seen["metadata"].advice

    @pytest.mark.parametrize("body", [b"<html>", b"[]", b"[" * 9999, {"token_endpoint": 7}])
    def test_what_is_no_metadata(self, describe, examine, server, body):
        """A page that is no metadata counts as none."""
        server.documents["/.well-known/oauth-authorization-server"] = body
        describe()
        code, seen = examine()
        assert code == 0
        assert "publishes none" in seen["metadata"].text

    def test_metadata_of_another_server(self, describe, examine, server):
        """Metadata of somebody else at the same host are not held against the configuration."""
        server.publish(issuer="https://other.example", token_endpoint="https://other.example/t")
        describe()
        _, seen = examine()
        assert "publishes none" in seen["metadata"].text

    def test_a_query_is_kept_to_ourselves(self, describe, run, server):
        """The query of a token endpoint may hold a key, and is not shown."""
        describe(server.token_url + "?code=" + SECRET)
        assert server.token_url in run("doctor").stdout  # run() looks for the secret


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
        assert "check client_id and client_secret" in seen["credentials"].text
        assert seen["credentials"].facts["status_code"] == 401
        assert seen.skipped_after(Step.CREDENTIALS)
        assert [method for method, _ in server.seen].count("POST") == 1

    def test_a_configured_client_is_asked_once_too(self, environment, run, server, tmp_path):
        """A provider of a file looks for a rotated secret elsewhere, but not here."""
        server.granted = (503, {"error": "temporarily_unavailable"})
        file = tmp_path / "tokens.yaml"
        file.write_text(
            "oauth2: {provider_name: api, provider_type: generic, client_id: i,"
            f" client_secret: '${{SECRET}}', token_url: '{server.token_url}'}}\n"
        )
        environment.setenv("SECRET", SECRET)
        assert run("--config", str(file), "doctor").exit_code == Step.CREDENTIALS
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

    @pytest.mark.parametrize(("lifetime", "status"), [(300, "warning"), (302, "ok")])
    def test_a_life_shorter_than_the_buffer(self, describe, examine, server, lifetime, status):
        """A token that lives no longer than the buffer draws a warning."""
        server.granted = {**server.granted, "expires_in": lifetime}
        describe()
        code, seen = examine()
        assert code == 0
        assert seen["lifetime"].status == status
        assert ("shrinks to" in seen["lifetime"].text) is (status == "warning")

    def test_a_token_that_was_dead_when_it_came(self, describe, examine, server):
        """An answer that took longer than the token lives is no token."""
        server.granted = {**server.granted, "expires_in": 0.001}
        describe()
        code, seen = examine()
        assert code == Step.CREDENTIALS
        assert "dead when it arrived" in seen["credentials"].text

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
