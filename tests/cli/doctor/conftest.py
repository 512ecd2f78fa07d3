"""Fixtures that run the doctor on a client of a small server, and check that it shows no secret."""

import json
from contextlib import ExitStack

import pytest
import trustme
from click.testing import CliRunner
from kit.guards import (
    OF_THE_LIBRARY,
    remove_variables,
)
from kit.servers import tls
from kit.servers.faulty import SECRET, TOKEN, FaultyServer

from tokenkeeper.cli.group import cli
from tokenkeeper.doctor.findings import Step


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Remove the machine's variables that could change a result."""
    remove_variables(monkeypatch, *OF_THE_LIBRARY, "COLUMNS")
    return monkeypatch


@pytest.fixture
def server():
    """Return a working server without metadata."""
    with FaultyServer() as server:
        yield server


@pytest.fixture
def describe(environment, server):
    """Return a function that describes a client in the environment, by default of the server."""

    def describe(token_url=server.token_url, secret=SECRET, scope="read"):
        environment.setenv("OAUTH2_CLIENT_ID", "an-id")
        environment.setenv("OAUTH2_CLIENT_SECRET", secret)
        environment.setenv("OAUTH2_TOKEN_URL", token_url)
        environment.setenv("OAUTH2_SCOPE", scope)

    return describe


@pytest.fixture
def configure(environment, tmp_path):
    """Return a function that writes a file for a client and returns its path."""

    def configure(token_url, settings=""):
        file = tmp_path / "tokens.yaml"
        file.write_text(
            "oauth2: {provider_name: api, provider_type: generic, client_id: an-id,"
            f" client_secret: '${{SECRET}}', token_url: '{token_url}', {settings}}}\n"
        )
        environment.setenv("SECRET", SECRET)
        return str(file)

    return configure


@pytest.fixture
def authority(tmp_path, environment):
    """Return a CA that this machine trusts, through REQUESTS_CA_BUNDLE."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    environment.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    return authority


@pytest.fixture
def context_of(authority):
    """Return a function that makes a TLS context with a certificate, by default of the CA."""

    def context_of(host="127.0.0.1", issued_by=authority, **validity):
        return tls.context_of(issued_by, host, **validity)

    return context_of


@pytest.fixture
def secure(context_of, describe):
    """Return a function that starts a server with such a certificate and describes its client."""
    with ExitStack() as stack:

        def secure(*arguments, name="127.0.0.1", **options):
            server = FaultyServer(context_of(*arguments, **options), name=name)
            stack.enter_context(server)
            describe(server.token_url)
            return server

        yield secure


@pytest.fixture
def run():
    """Return a function that runs the command, whose output may show no secret or token."""

    def run(*arguments):
        result = CliRunner().invoke(cli, arguments)
        assert not isinstance(result.exception, Exception), result.exception
        assert SECRET not in result.output
        assert TOKEN not in result.output
        return result

    return run


@pytest.fixture
def examine(run):
    """Return a function that examines the one provider: exit code, and findings by step."""

    def examine(*arguments):
        result = run("doctor", "--json", *arguments)
        document = json.loads(result.stdout)
        (provider,) = document["providers"]
        assert document["exit_code"] == provider["exit_code"] == result.exit_code
        assert [step["step"] for step in provider["steps"]] == [s.name.lower() for s in Step]
        return result.exit_code, Steps(provider["steps"])

    return examine


class Seen:
    """One step of the JSON output."""

    def __init__(self, step):
        self.status = step["status"]
        self.facts = step["facts"]
        self.text = "; ".join(each["text"] for each in step["findings"])
        self.advice = "; ".join(each["advice"] or "" for each in step["findings"])


class Steps(dict):
    """All steps of the JSON output, by name."""

    def __init__(self, steps):
        super().__init__({step["step"]: Seen(step) for step in steps})

    def skipped_after(self, failed):
        """Return whether each step after *failed* was skipped for it, if it depends on it."""
        last = Step.SIGN_IN if failed > Step.VARIABLES else max(Step) + 1
        later = [self[each.name.lower()] for each in Step if failed < each < last]
        words = f"not tried, as {failed.label} failed"
        return all(each.status == "skipped" and each.text == words for each in later)
