"""``tokenkeeper doctor`` on the configuration, in the environment and in files."""

import json

import pytest
from kit.servers.faulty import SECRET

from tokenkeeper.doctor.findings import Step


class TestVariables:
    """The first step: the configuration with its variables and secret files."""

    def test_a_missing_variable(self, describe, examine, environment):
        """A missing variable fails the first step, which also lists those that are set."""
        describe()
        environment.delenv("OAUTH2_TOKEN_URL")
        code, seen = examine()
        assert code == Step.VARIABLES == 2
        assert "OAUTH2_TOKEN_URL is not set" in seen["variables"].text
        assert "OAUTH2_CLIENT_ID is set" in seen["variables"].text
        assert seen.skipped_after(Step.VARIABLES)

    def test_an_empty_environment(self, examine):
        """If no client is described, all variables that could be set are named."""
        code, seen = examine()
        assert code == 2
        assert "AZURE_TENANT_ID" in seen["variables"].text
        assert "OAUTH2_TOKEN_URL" in seen["variables"].text

    def test_one_of_two_names_is_not_described(self, describe, run, environment):
        """The second name is examined although the first failed, which decides the exit code."""
        describe()
        environment.setenv("AZURE_CLIENT_ID", "an-id")
        result = run("doctor", "--json", "azure", "oauth2")
        first, second = json.loads(result.stdout)["providers"]
        assert (first["provider"], first["exit_code"]) == ("azure", 2)
        assert (second["provider"], second["exit_code"]) == ("oauth2", 0)
        assert result.exit_code == 2

    def test_a_file_with_its_variables(self, examine, environment, server, tmp_path):
        """Each variable and secret file of a provider is listed, and each default in use."""
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
            "tokens.yaml read; API_ID is set; API_URL is not set: its default is used; "
            "secret file secret read"
        )

    def test_a_broken_file(self, examine, environment, tmp_path):
        """Each mistake in a file is a finding of the first step."""
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

    def test_a_secret_file_that_is_missing(self, examine, environment, server, tmp_path):
        """A secret file that can't be read is a mistake, and is not reported as read."""
        (tmp_path / "tokens.yaml").write_text(
            "oauth2:\n"
            "  provider_name: api\n"
            "  provider_type: generic\n"
            "  client_id: an-id\n"
            "  client_secret_file: nowhere\n"
            f"  token_url: {server.token_url}\n"
        )
        environment.setenv("TOKENKEEPER_CONFIG", str(tmp_path / "tokens.yaml"))
        code, seen = examine()
        assert code == 2
        assert seen["variables"].text == (
            "tokens.yaml, line 5: oauth2.client_secret_file can't be read: No such file or "
            "directory"
        )

    def test_a_secret_in_clear_is_a_warning(self, run, server, tmp_path):
        """A warning of the configuration is a finding, and a failure with --strict."""
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
        """Write a file with three providers: an unknown host, a refused client, and a good one."""
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
        """All providers are examined, and the first that fails decides the exit code."""
        result = run("doctor", "--json")
        providers = json.loads(result.stdout)["providers"]
        codes = {each["provider"]: each["exit_code"] for each in providers}
        assert codes == {"astray": Step.DNS, "refused": Step.CREDENTIALS, "well": 0}
        assert result.exit_code == Step.DNS

    def test_some_of_several_providers(self, three, run):
        """Only the named providers are examined, in the order of the file."""
        result = run("doctor", "well", "refused")
        assert [line for line in result.stdout.splitlines() if ": " in line and line[0] != " "] == [
            "refused: token request failed",
            "well: ok",
            "1 of 2 ok; failed: refused (token request)",
        ]
        assert " of 1 ok" not in run("doctor", "well").stdout
        assert result.exit_code == Step.CREDENTIALS

    def test_a_name_that_the_file_does_not_have(self, run, server, configure):
        """An unknown name is one line on standard error that lists the known names."""
        result = run("--config", configure(server.token_url), "doctor", "apis")
        assert result.exit_code == 2
        assert result.stdout == ""
        assert "no provider 'apis'. Did you mean 'api'? It has api" in result.stderr
