"""``tokenkeeper get``: a token of the client that the environment describes."""

import sys
import threading

import pytest
from click.testing import CliRunner

from tokenkeeper import (
    AzureADProvider,
    GenericOAuth2Provider,
    InvalidConfigurationError,
    __version__,
)
from tokenkeeper.cli.group import cli
from tokenkeeper.config.environment import spec_from_environment
from tokenkeeper.testing import LoopbackAuthorizationServer

GENERIC_CLIENT = {
    "OAUTH2_CLIENT_ID": "an-id",
    "OAUTH2_CLIENT_SECRET": "hunter2",
    "OAUTH2_TOKEN_URL": "https://id.example.com/token",
}
AZURE_CLIENT = {
    "AZURE_CLIENT_ID": "an-id",
    "AZURE_CLIENT_SECRET": "hunter2",
    "AZURE_TENANT_ID": "contoso.onmicrosoft.com",
}


@pytest.fixture
def run(monkeypatch):
    """Return a function that runs the command with only the given variables of both families."""
    others = ("OAUTH2_SCOPE", "TOKENKEEPER_CONFIG", "TOKENKEEPER_CACHE_DIR", "XDG_RUNTIME_DIR")
    for variable in (*GENERIC_CLIENT, *AZURE_CLIENT, *others):
        monkeypatch.delenv(variable, raising=False)

    def run(*arguments, **variables):
        return CliRunner().invoke(cli, arguments, env=variables)

    return run


@pytest.fixture(scope="module")
def server():
    """Return a running server."""
    with LoopbackAuthorizationServer() as server:
        yield server


def client(server, **changes):
    """Return the variables that describe the server's client."""
    return {
        "OAUTH2_CLIENT_ID": server.client_id,
        "OAUTH2_CLIENT_SECRET": server.client_secret,
        "OAUTH2_TOKEN_URL": server.token_url,
        **changes,
    }


def test_the_token_alone_is_printed(run, server):
    """Standard output contains only the token, so scripts can use it."""
    result = run("get", "api", **client(server))
    assert result.exit_code == 0
    assert result.stderr == ""
    (token,) = result.stdout.splitlines()
    assert server.revoke(token)


def test_the_scope_is_asked_for(run, server):
    """The scope of the environment reaches the server."""
    result = run("get", "api", **client(server, OAUTH2_SCOPE="admin"))
    assert result.exit_code == 1
    assert "invalid_scope" in result.stderr


def test_no_token_is_one_line(run, server):
    """A rejection is one line on standard error, without a secret, and exit code 1."""
    result = run("get", "api", **client(server, OAUTH2_CLIENT_SECRET="hunter2"))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert "invalid_client" in result.stderr
    assert "hunter2" not in result.stderr


def test_nothing_is_waited_for_after_the_wait(run, server, monkeypatch):
    """After the timeout, a hanging request does not delay the exit."""
    joined = []
    monkeypatch.setattr(threading.Thread, "join", lambda self, _=None: joined.append(self.name))
    with server.outage("stall"):
        for command in (("get", "api"), ("status", "--fetch")):
            result = run(*command, "--timeout", "0.1", **client(server))
            assert (result.exit_code, joined) == (1, [])


def test_the_wait_is_bounded(run, server):
    """A silent server costs at most the timeout."""
    with server.outage("stall"):
        result = run("get", "api", "--timeout", "0.1", **client(server))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "0.1" in result.stderr or "timeout" in result.stderr


def test_missing_variables_are_all_named(run):
    """All missing variables are named at once; an empty one is missing."""
    result = run("get", "api", OAUTH2_CLIENT_ID="an-id", OAUTH2_CLIENT_SECRET=" ")
    assert result.exit_code == 2
    assert "OAUTH2_CLIENT_SECRET and OAUTH2_TOKEN_URL are not set" in result.stderr
    result = run("get", "api", **{**AZURE_CLIENT, "AZURE_TENANT_ID": ""})
    assert "AZURE_TENANT_ID is not set" in result.stderr
    assert "OAUTH2" not in result.stderr


def test_without_a_client_both_families_are_named(run):
    """An environment without a client is reported with all required variables."""
    result = run("get", "api", OAUTH2_SCOPE="read")
    assert result.exit_code == 2
    assert all(
        variable in result.stderr for variable in (*GENERIC_CLIENT, *AZURE_CLIENT, "OAUTH2_SCOPE")
    )


def test_a_wrong_value_names_its_variable(run):
    """An invalid value is reported by its variable, never by a secret."""
    result = run("get", "api", **{**GENERIC_CLIENT, "OAUTH2_TOKEN_URL": "http://id.example.com"})
    assert result.exit_code == 2
    assert "OAUTH2_TOKEN_URL" in result.stderr
    assert "https" in result.stderr
    result = run("get", "api", **{**GENERIC_CLIENT, "OAUTH2_CLIENT_SECRET": "hunter2\n"})
    assert result.exit_code == 2
    assert "OAUTH2_CLIENT_SECRET" in result.stderr
    assert "hunter2" not in result.stderr


def test_a_name_that_can_not_be_is_a_usage_error(run):
    """A blank name is rejected before any request, without blaming a variable."""
    result = run("get", " ", **GENERIC_CLIENT)
    assert result.exit_code == 2
    assert "provider_name" in result.stderr
    assert "OAUTH2" not in result.stderr


@pytest.mark.parametrize(
    ("name", "environment", "kind"),
    [
        ("api", GENERIC_CLIENT, GenericOAuth2Provider),
        ("api", AZURE_CLIENT, AzureADProvider),
        ("azure", GENERIC_CLIENT, GenericOAuth2Provider),
        ("azure", {**GENERIC_CLIENT, **AZURE_CLIENT}, AzureADProvider),
        ("oauth2", {**GENERIC_CLIENT, **AZURE_CLIENT}, GenericOAuth2Provider),
        ("generic", {**GENERIC_CLIENT, **AZURE_CLIENT}, GenericOAuth2Provider),
        ("api", {**GENERIC_CLIENT, "AZURE_TENANT_ID": "t"}, GenericOAuth2Provider),
        ("api", {**AZURE_CLIENT, "OAUTH2_CLIENT_ID": "i"}, AzureADProvider),
    ],
)
def test_which_family_is_meant(name, environment, kind):
    """The family that is set is used; if both are, the name decides."""
    provider = spec_from_environment(name, environment).make_provider()
    assert type(provider) is kind
    assert provider.provider_name == name


def test_a_name_that_does_not_decide(run):
    """If both families are set, a name that fits neither is an error."""
    result = run("get", "api", **GENERIC_CLIENT, **AZURE_CLIENT)
    assert result.exit_code == 2
    assert "Use the name oauth2 or azure" in result.stderr


def test_a_name_that_decides_for_what_is_missing():
    """A family that the name selects must be complete, even if the other one is."""
    environment = {**GENERIC_CLIENT, "AZURE_TENANT_ID": "t"}
    with pytest.raises(InvalidConfigurationError, match="AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"):
        spec_from_environment("azure", environment)


def test_version(run):
    """--version prints the version."""
    assert __version__ in run("--version").stdout


def test_the_entry_point_runs_the_command(main, monkeypatch, capsys):
    """The console script runs the command line."""
    monkeypatch.setattr(sys, "argv", ["tokenkeeper", "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "Usage: tokenkeeper" in capsys.readouterr().out


def test_without_its_extra_it_says_what_to_install(main, monkeypatch, capsys):
    """Without click, one line on standard error names the extra to install."""
    monkeypatch.setitem(sys.modules, "click", None)
    monkeypatch.delitem(sys.modules, "tokenkeeper.cli.group")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert 'pip install "tokenkeeper-oauth2[cli]"' in output.err


def test_other_modules_that_are_missing_are_not_hidden(main, monkeypatch):
    """Other missing modules are not reported as a missing extra."""
    monkeypatch.setitem(sys.modules, "tokenkeeper.cli.group", None)
    with pytest.raises(ModuleNotFoundError, match=r"tokenkeeper\.cli\.group"):
        main()
