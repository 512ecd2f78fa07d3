"""The commands over a configuration file: what they print where, and how they end."""

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
        """A token is printed bare, as a header, as JSON or as a shell's variable."""
        token = tokenkeeper("get", "billing").stdout.strip()
        assert tokenkeeper("get", "billing", "--format", "header").stdout == (
            f"Authorization: Bearer {token}\n"
        )
        told = json.loads(tokenkeeper("get", "billing", "--format", "json").stdout)
        assert told.pop("expires_at").endswith("+00:00")
        assert told == {"access_token": token, "token_type": "Bearer", "scope": "read"}
        assert json.loads(tokenkeeper("get", "billing", "--json").stdout)["scope"] == "read"
        assert tokenkeeper("get", "billing", "--format", "env").stdout == (
            f"export BILLING_TOKEN={token}\n"
        )

    @pytest.mark.skipif(not shutil.which("sh"), reason="there is no sh")
    def test_a_shell_takes_the_variable(self, environment, server, config):
        """Whatever a name and a token hold, the line for eval sets one variable, no more."""
        text = config.read_text().replace("provider_name: billing", "provider_name: 1-$(id) é")
        config.write_text(text)
        script = f'eval "$({sys.executable} -m tokenkeeper get "1-\\$(id) é" --format env)"; '
        script += 'printf %s "$_1___ID____TOKEN"'
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60)
        assert server.revoke(done.stdout), done.stderr

    def test_force(self, tokenkeeper, server):
        """A kept token is used again, unless a new one is asked for."""
        first = tokenkeeper("get", "billing").stdout
        assert tokenkeeper("get", "billing").stdout == first
        assert tokenkeeper("get", "billing", "--force").stdout != first
        assert server.stats().token_requests == 2

    def test_refused(self, tokenkeeper):
        """No token is the exit code 1, and a line on standard error."""
        result = tokenkeeper("get", "wrong")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "invalid_client" in result.stderr

    def test_unknown(self, tokenkeeper):
        """An unknown name is answered with those that there are, and the exit code 2."""
        result = tokenkeeper("get", "biling")
        assert (result.exit_code, result.stdout) == (2, "")
        expected = "no provider 'biling'. Did you mean 'billing'? It has billing, wrong"
        assert expected in result.stderr

    def test_a_variable_of_ones_own(self, tokenkeeper):
        """--variable names what --format env sets; what is no name of a variable is refused."""
        token = tokenkeeper("get", "billing").stdout.strip()
        env = ("get", "billing", "--format", "env", "--variable")
        assert tokenkeeper(*env, "_api2").stdout == f"export _api2={token}\n"
        for name in ("", "2a", "a b", "a;id", "a\n", "a\u00e9"):
            result = tokenkeeper(*env, name)
            assert (result.exit_code, result.stdout) == (2, "")
        assert tokenkeeper("get", "billing", "--variable", "A").exit_code == 2

    def test_a_server_that_hangs_at_a_renewal(self, tokenkeeper, server, age):
        """A kept token that still works is printed when the wait for a newer one is over."""
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
        """A wait that is over is told by its length and its option, and by status later on."""
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
        """The same for programs."""
        assert json.loads(tokenkeeper("list", "--json").stdout) == [
            {"provider_name": "billing", "type": "generic"},
            {"provider_name": "wrong", "type": "generic"},
        ]

    def test_a_file_without_a_provider(self, tokenkeeper, config):
        """A file that describes nobody is listed, checked and asked in words."""
        config.write_text("oauth2: []")
        assert tokenkeeper("list").exit_code == tokenkeeper("status").exit_code == 0
        assert "describes no provider" in tokenkeeper("config", "check", str(config)).stderr
        assert "It has none" in tokenkeeper("get", "billing").stderr

    def test_the_option_counts_before_the_variable(self, tokenkeeper, tmp_path):
        """A file that is named on the command line is the one."""
        other = tmp_path / "other.yaml"
        other.write_text(
            "oauth2: {provider_name: graph, provider_type: azure, client_id: i, "
            "client_secret: '${BILLING_SECRET}', tenant_id: t}"
        )
        assert tokenkeeper("--config", str(other), "list").stdout == "graph  azure\n"


class TestWatch:
    """``tokenkeeper watch``."""

    def test_lines(self, start, server):
        """Where there is no terminal, each event is a line; Ctrl-C ends it cleanly."""
        process = start("watch", "--json")
        told = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.send_signal(signal.SIGINT)
        _, words = process.communicate(timeout=60)
        assert process.returncode == 130
        assert words == ""
        assert {each["event"] for each in told} == {
            "TokenAcquired",
            "AcquisitionFailed",
            "CooledDown",
        }
        assert {each["provider_name"] for each in told} == {"billing", "wrong"}

    def test_words(self, tokenkeeper):
        """Lines for people have the same in words, and --seconds ends it."""
        result = tokenkeeper("watch", "--seconds", "0.6", "billing")
        assert result.exit_code == 0
        (line,) = result.stdout.splitlines()
        assert "Z TokenAcquired provider_name=billing attempts=1" in line


class TestConfigCheck:
    """``tokenkeeper config check FILE``."""

    def test_right(self, tokenkeeper, config, server):
        """A file that is right is said to be, and nobody is asked for a token."""
        result = tokenkeeper("config", "check", str(config))
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr == "tokens.yaml is right. It describes billing, wrong.\n"
        assert server.stats().token_requests == 0

    def test_all_mistakes(self, tokenkeeper, config):
        """All mistakes are told at once, each on a line with its place, and none with a secret."""
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
        """The same for programs, with warnings; a warning is no mistake."""
        text = config.read_text().replace("${WRONG_SECRET}", "hunter2")
        config.write_text(text)
        config.chmod(0o600)
        result = tokenkeeper("config", "check", "--json", str(config))
        told = json.loads(result.stdout)
        assert (result.exit_code, told["providers"]) == (0, ["billing", "wrong"])
        assert told["problems"] == []
        assert "written in clear" in told["warnings"][0]
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
        told = json.loads(tokenkeeper("completion", shell, "--json").stdout)
        assert told == {"shell": shell, "script": result.stdout.removesuffix("\n")}

    def complete(self, words, position):
        """Ask as the script of bash does."""
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

    def test_commands(self, environment):
        """Commands are completed."""
        assert self.complete("tokenkeeper st", 1) == ["status"]

    def test_provider_names(self, environment, config):
        """Names of providers come from the configuration, and from nowhere if that is broken."""
        assert self.complete("tokenkeeper get b", 2) == ["billing"]
        assert self.complete(f"tokenkeeper --config {config} status ", 4) == ["billing", "wrong"]
        config.write_text("oauth2: nonsense")
        assert self.complete("tokenkeeper get b", 2) == []


def test_clear(tokenkeeper, cache, server):
    """Clearing forgets one kept token, or all, and says how many."""
    tokenkeeper("get", "billing")
    assert tokenkeeper("clear", "wrong").stderr == "0 tokens forgotten.\n"
    assert tokenkeeper("clear", "billing").stderr == "1 token forgotten.\n"
    tokenkeeper("get", "billing")
    assert server.stats().token_requests == 2
    assert json.loads(tokenkeeper("clear", "--json").stdout) == {"cleared": 1}
    assert not list(cache.glob("*.json"))


def test_nothing_is_kept(tokenkeeper, environment, server):
    """Without a directory nothing is kept, and the commands say so or do without."""
    environment.delenv("TOKENKEEPER_CACHE_DIR")
    for _ in range(2):
        assert tokenkeeper("get", "billing").exit_code == 0
    assert server.stats().token_requests == 2
    for command in ("clear", "status"):
        result = tokenkeeper(command)
        assert result.exit_code == 0
        assert "Nothing is kept between two runs" in result.stderr
        result = tokenkeeper(command, "--json")
        assert "Nothing is kept between two runs" in result.stderr
        json.loads(result.stdout)
    assert tokenkeeper("status", "--fetch", "billing").stderr == ""


def test_help(tokenkeeper):
    """Help names every command and the exit codes; each command has a help of its own."""
    told = tokenkeeper("--help").stdout
    assert "Exit codes:" in told
    for command in ("get", "list", "status", "watch", "clear", "doctor", "completion", "demo"):
        assert command in told
        assert "--json" in tokenkeeper(command, "--help").stdout
        assert "Exit codes" in tokenkeeper(command, "--help").stdout
    assert "config" in told
    assert "..." not in told.partition("Commands:")[2]
    check = tokenkeeper("config", "check", "--help").stdout
    assert "--json" in check
    assert "Exit codes" in check
    assert __version__ in tokenkeeper("--version").stdout
