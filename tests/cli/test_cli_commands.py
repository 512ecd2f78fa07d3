"""The commands with a configuration file: their output and exit codes."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from tokenkeeper import __version__


class TestGet:
    """``tokenkeeper get NAME``."""

    def test_formats(self, tokenkeeper, server):
        """A token is printed bare, as a header, as JSON or as a shell variable."""
        token = tokenkeeper("get", "billing").stdout.strip()
        assert tokenkeeper("get", "billing", "--format", "header").stdout == (
            f"Authorization: Bearer {token}\n"
        )
        output = json.loads(tokenkeeper("get", "billing", "--format", "json").stdout)
        assert output.pop("expires_at").endswith("+00:00")
        assert output == {"access_token": token, "token_type": "Bearer", "scope": "read"}
        assert json.loads(tokenkeeper("get", "billing", "--json").stdout)["scope"] == "read"
        assert tokenkeeper("get", "billing", "--format", "env").stdout == (
            f"export BILLING_TOKEN={token}\n"
        )

    @pytest.mark.slow
    @pytest.mark.skipif(not shutil.which("sh"), reason="there is no sh")
    def test_a_shell_takes_the_variable(self, environment, server, config):
        """The line for eval sets one variable and nothing else, whatever name and token contain."""
        text = config.read_text().replace("provider_name: billing", "provider_name: 1-$(id) é")
        config.write_text(text)
        script = f'eval "$({sys.executable} -m tokenkeeper get "1-\\$(id) é" --format env)"; '
        script += 'printf %s "$_1___ID____TOKEN"'
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60)
        assert server.revoke(done.stdout), done.stderr

    def test_force(self, tokenkeeper, server):
        """A stored token is used again, unless a new one is requested."""
        first = tokenkeeper("get", "billing").stdout
        assert tokenkeeper("get", "billing").stdout == first
        assert tokenkeeper("get", "billing", "--force").stdout != first
        assert server.stats().token_requests == 2

    def test_refused(self, tokenkeeper):
        """A failed request exits with 1 and prints a line on standard error."""
        result = tokenkeeper("get", "wrong")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "invalid_client" in result.stderr

    def test_unknown(self, tokenkeeper):
        """An unknown name exits with 2 and prints the known ones."""
        result = tokenkeeper("get", "biling")
        assert (result.exit_code, result.stdout) == (2, "")
        expected = "no provider 'biling'. Did you mean 'billing'? It has billing, wrong"
        assert expected in result.stderr

    def test_a_variable_of_ones_own(self, tokenkeeper):
        """--variable names the variable of --format env; an invalid name is rejected."""
        token = tokenkeeper("get", "billing").stdout.strip()
        env = ("get", "billing", "--format", "env", "--variable")
        assert tokenkeeper(*env, "_api2").stdout == f"export _api2={token}\n"
        for name in ("", "2a", "a b", "a;id", "a\n", "a\u00e9"):
            result = tokenkeeper(*env, name)
            assert (result.exit_code, result.stdout) == (2, "")
        assert tokenkeeper("get", "billing", "--variable", "A").exit_code == 2

    def test_a_server_that_hangs_at_a_renewal(self, tokenkeeper, server, age):
        """A stored token that is still valid is printed if its renewal times out."""
        first = tokenkeeper("get", "billing").stdout
        age(3400)
        with server.outage("stall"):
            assert tokenkeeper("get", "billing", "--timeout", "0.2").stdout == first
            forced = tokenkeeper("get", "billing", "--timeout", "0.2", "--force")
            age(195)  # its margin
            late = tokenkeeper("get", "billing", "--timeout", "0.2")
        assert (forced.exit_code, forced.stdout) == (1, "")
        assert (late.exit_code, late.stdout) == (1, "")

    def test_a_server_that_hangs(self, tokenkeeper, server):
        """A timeout is reported with its length and its option, and by a later status."""
        with server.outage("stall"):
            result = tokenkeeper("get", "billing", "--timeout", "0.2")
            (row,) = json.loads(tokenkeeper("status", "--json", "billing").stdout)
        assert (result.exit_code, result.stdout) == (1, "")
        words = "provider 'billing': no token within 0.2 s (--timeout)"
        assert result.stderr == f"Error: {words}\n"
        assert row["last_error"] == words


class TestList:
    """``tokenkeeper list``."""

    def test_words(self, tokenkeeper, server):
        """Providers are listed with their types, without a request."""
        assert tokenkeeper("list").stdout == "billing  generic\nwrong    generic\n"
        assert server.stats().token_requests == 0

    def test_json(self, tokenkeeper):
        """Providers are listed as JSON."""
        assert json.loads(tokenkeeper("list", "--json").stdout) == [
            {"provider_name": "billing", "type": "generic"},
            {"provider_name": "wrong", "type": "generic"},
        ]

    def test_a_file_without_a_provider(self, tokenkeeper, config):
        """A file without providers can be listed and checked, and is reported clearly."""
        config.write_text("oauth2: []")
        assert tokenkeeper("list").exit_code == tokenkeeper("status").exit_code == 0
        assert "describes no provider" in tokenkeeper("config", "check", str(config)).stderr
        assert "It has none" in tokenkeeper("get", "billing").stderr

    def test_the_option_counts_before_the_variable(self, tokenkeeper, tmp_path):
        """A file on the command line overrides the variable."""
        other = tmp_path / "other.yaml"
        other.write_text(
            "oauth2: {provider_name: graph, provider_type: azure, client_id: i, "
            "client_secret: '${BILLING_SECRET}', tenant_id: t}"
        )
        assert tokenkeeper("--config", str(other), "list").stdout == "graph  azure\n"


class TestWatch:
    """``tokenkeeper watch``."""

    @pytest.mark.slow
    def test_lines(self, start, server):
        """Without a terminal each event is a line; Ctrl-C ends the command cleanly."""
        process = start("watch", "--json")
        output = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.send_signal(signal.SIGINT)
        _, words = process.communicate(timeout=60)
        assert process.returncode == 130
        assert words == ""
        assert {each["event"] for each in output} == {
            "TokenAcquired",
            "AcquisitionFailed",
            "CooledDown",
        }
        assert {each["provider_name"] for each in output} == {"billing", "wrong"}

    def test_words(self, tokenkeeper):
        """Text lines contain the same, and --seconds ends the command."""
        result = tokenkeeper("watch", "--seconds", "0.6", "billing")
        assert result.exit_code == 0
        (line,) = result.stdout.splitlines()
        assert "Z TokenAcquired provider_name=billing attempts=1" in line


class TestConfigCheck:
    """``tokenkeeper config check FILE``."""

    def test_right(self, tokenkeeper, config, server):
        """A valid file is reported as valid, without a request."""
        result = tokenkeeper("config", "check", str(config))
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr == "tokens.yaml is valid. It describes billing, wrong.\n"
        assert server.stats().token_requests == 0

    def test_all_mistakes(self, tokenkeeper, config):
        """All mistakes are reported at once, a line each, with their places and without secrets."""
        text = config.read_text().replace("scope:", "scoop:").replace("${WRONG", "${GONE")
        config.write_text(text)
        result = tokenkeeper("config", "check", str(config))
        assert result.exit_code == 2
        lines = result.stderr.splitlines()
        assert len(lines) == 2
        assert "line 7: oauth2[0]: unknown key 'scoop' for provider_type 'generic'" in lines[0]
        assert "Did you mean 'scope'?" in lines[0]
        assert "GONE_SECRET" in lines[1]

    def test_json(self, tokenkeeper, config):
        """The result is printed as JSON, with warnings, which are not mistakes."""
        text = config.read_text().replace("${WRONG_SECRET}", "hunter2")
        config.write_text(text)
        config.chmod(0o600)
        result = tokenkeeper("config", "check", "--json", str(config))
        output = json.loads(result.stdout)
        assert (result.exit_code, output["providers"]) == (0, ["billing", "wrong"])
        assert output["problems"] == []
        assert "written in clear" in output["warnings"][0]
        config.write_text(text.replace("provider_type: generic", "provider_type: gneric"))
        result = tokenkeeper("config", "check", "--json", str(config))
        assert result.exit_code == 2
        assert len(json.loads(result.stdout)["problems"]) == 2

    def test_warnings_in_words(self, tokenkeeper, config):
        """A warning is a line on standard error, without Python's file and line."""
        config.write_text(config.read_text().replace("${WRONG_SECRET}", "hunter2"))
        config.chmod(0o600)
        result = tokenkeeper("config", "check", str(config))
        assert result.stderr.startswith("Warning: tokens.yaml, line 11: ")
        assert ".py:" not in result.stderr


class TestCompletion:
    """``tokenkeeper completion SHELL``."""

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_scripts(self, tokenkeeper, shell):
        """Each shell has its script."""
        result = tokenkeeper("completion", shell)
        assert result.exit_code == 0
        assert "_TOKENKEEPER_COMPLETE" in result.stdout
        output = json.loads(tokenkeeper("completion", shell, "--json").stdout)
        assert output == {"shell": shell, "script": result.stdout.removesuffix("\n")}

    def complete(self, words, position):
        """Request completions as the script for bash does."""
        variables = {"COMP_WORDS": words, "COMP_CWORD": str(position)}
        done = subprocess.run(
            [sys.executable, "-m", "tokenkeeper"],
            env={**os.environ, **variables, "_TOKENKEEPER_COMPLETE": "bash_complete"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stderr == ""
        return [line.partition(",")[2] for line in done.stdout.split()]

    @pytest.mark.slow
    def test_commands(self, environment):
        """Commands are completed."""
        assert self.complete("tokenkeeper st", 1) == ["status", "store"]

    @pytest.mark.slow
    def test_provider_names(self, environment, config):
        """Provider names come from the configuration; an invalid one yields none."""
        assert self.complete("tokenkeeper get b", 2) == ["billing"]
        assert self.complete(f"tokenkeeper --config {config} status ", 4) == ["billing", "wrong"]
        config.write_text("oauth2: nonsense")
        assert self.complete("tokenkeeper get b", 2) == []


def test_clear(tokenkeeper, cache, server):
    """`clear` deletes one stored token, or all of them, and prints how many."""
    tokenkeeper("get", "billing")
    assert tokenkeeper("clear", "wrong").stderr == "0 tokens deleted.\n"
    assert tokenkeeper("clear", "billing").stderr == "1 token deleted.\n"
    tokenkeeper("get", "billing")
    assert server.stats().token_requests == 2
    assert json.loads(tokenkeeper("clear", "--json").stdout) == {"cleared": 1}
    assert not list(cache.glob("*.json"))


def test_nothing_is_kept(tokenkeeper, environment, server):
    """Without a directory no token is stored; the commands say so and work anyway."""
    environment.delenv("TOKENKEEPER_CACHE_DIR")
    for _ in range(2):
        assert tokenkeeper("get", "billing").exit_code == 0
    assert server.stats().token_requests == 2
    for command in ("clear", "status"):
        result = tokenkeeper(command)
        assert result.exit_code == 0
        assert "Tokens are not stored between runs" in result.stderr
        result = tokenkeeper(command, "--json")
        assert "Tokens are not stored between runs" in result.stderr
        json.loads(result.stdout)
    assert tokenkeeper("status", "--fetch", "billing").stderr == ""


def test_help(tokenkeeper):
    """The help names every command and the exit codes; each command has its own help."""
    output = tokenkeeper("--help").stdout
    assert "Exit codes:" in output
    for command in ("get", "list", "status", "watch", "clear", "doctor", "completion", "demo"):
        assert command in output
        assert "--json" in tokenkeeper(command, "--help").stdout
        assert "Exit codes" in tokenkeeper(command, "--help").stdout
    assert "config" in output
    assert "..." not in output.partition("Commands:")[2]
    check = tokenkeeper("config", "check", "--help").stdout
    assert "--json" in check
    assert "Exit codes" in check
    assert __version__ in tokenkeeper("--version").stdout
