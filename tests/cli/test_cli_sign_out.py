"""``tokenkeeper revoke`` and ``introspect``: what the server does and knows."""

import json

import pytest
import requests

from tokenkeeper.cli.revoke import in_words, revoked
from tokenkeeper.cli.source import Source

CONFIGURATION = """\
oauth2:
  - provider_name: billing
    provider_type: generic
    client_id: {server.client_id}
    client_secret: ${{BILLING_SECRET}}
    issuer: {server.issuer}
    scope: read
  - provider_name: crm
    provider_type: generic
    client_id: {server.client_id}
    client_secret: ${{BILLING_SECRET}}
    issuer: {server.issuer}
    grant: refresh_token
    refresh_token_file: {first}
  - provider_name: closed
    provider_type: generic
    client_id: {server.client_id}
    client_secret: ${{BILLING_SECRET}}
    token_url: {server.token_url}
"""


@pytest.fixture
def first(tmp_path, server):
    """Return a file with a first refresh token, as after a sign-in."""
    server.refresh_tokens = True
    form = {"grant_type": "client_credentials"}
    auth = (server.client_id, server.client_secret)
    granted = requests.post(server.token_url, data=form, auth=auth, timeout=10).json()
    file = tmp_path / "first"
    file.touch(0o600)
    file.write_text(granted["refresh_token"])
    return file


@pytest.fixture
def config(tmp_path, server, first):
    """Return a configuration file."""
    file = tmp_path / "tokens.yaml"
    file.write_text(CONFIGURATION.format(server=server, first=first))
    return file


def test_revoke(tokenkeeper, server):
    """The stored token is revoked at the server, and the next run requests another."""
    token = tokenkeeper("get", "billing").stdout.strip()
    result = tokenkeeper("revoke", "billing")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "the access token was revoked. Nothing else" in result.stderr
    assert "may accept a copy until" in result.stderr
    assert not server.is_alive(token)
    assert tokenkeeper("get", "billing").stdout.strip() != token
    assert token not in result.output


def test_revoke_a_sign_in(tokenkeeper, server, first):
    """The refresh token is revoked with what it brought, and the next run says to sign in."""
    token = tokenkeeper("get", "crm").stdout.strip()
    result = tokenkeeper("revoke", "crm", "--json")
    found = json.loads(result.stdout)
    assert found.pop("valid_until")
    assert "all access tokens of the same grant" in found.pop("goes_with")
    assert found == {
        "provider_name": "crm",
        "token": "refresh_token",
        "server_was_asked": True,
        "forgotten": 1,
        "keeps_refresh_token": False,
    }
    assert not server.is_alive(token)
    result = tokenkeeper("get", "crm")
    assert result.exit_code == 1
    assert "a new sign-in is needed" in result.stderr


def test_nothing_to_revoke(tokenkeeper):
    """Where no token is stored, the server is not asked, and that is a success."""
    result = tokenkeeper("revoke", "billing")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "provider 'billing': nothing to revoke: no token is stored.\n"
    found = json.loads(tokenkeeper("revoke", "billing", "--json").stdout)
    assert (found["token"], found["valid_until"]) == (None, None)


def test_refused(tokenkeeper, server):
    """What the server or the configuration does not allow is an error, and nothing is deleted."""
    token = tokenkeeper("get", "closed").stdout
    result = tokenkeeper("revoke", "closed")
    assert result.exit_code == 1
    assert "revocation_endpoint is not known. Set it in endpoints" in result.stderr
    assert tokenkeeper("get", "closed").stdout == token
    result = tokenkeeper("revoke", "billing", "--account", "ada")
    assert result.exit_code == 2
    assert "does not take account" in result.stderr


def test_deleted_without_an_endpoint(tokenkeeper):
    """A sign-out can delete the token also where the server can't revoke it."""
    tokenkeeper("get", "closed")
    found = revoked(Source(), "closed", forgets_anyway=True)
    assert not found.server_was_asked
    assert "was deleted. The server has no endpoint" in in_words(found)
    assert found.forgotten == 1


def test_introspect(tokenkeeper, server):
    """What the server knows is shown, a line for each member, without the token."""
    result = tokenkeeper("introspect", "billing")
    assert result.exit_code == 0
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert next(iter(lines)) == "active"
    assert (lines["active"], lines["scope"]) == ("true", "read")
    assert lines["client_id"] == server.client_id
    token = tokenkeeper("get", "billing").stdout.strip()
    assert token not in result.output


def test_introspect_as_json(tokenkeeper, server):
    """With --json it is JSON; a token that the server calls inactive is exit code 1."""
    result = tokenkeeper("introspect", "billing", "--json", "--scope", "write")
    assert json.loads(result.stdout)["scope"] == "write"
    server.revoke_all()
    result = tokenkeeper("introspect", "billing", "--json", "--scope", "write")
    assert json.loads(result.stdout) == {"active": False}
    assert result.exit_code == 1


def test_introspect_without_a_token(tokenkeeper, server):
    """Where there is no token, the error says why."""
    result = tokenkeeper("introspect", "billing", "--scope", "delete")
    assert result.exit_code == 1
    assert "invalid_scope" in result.stderr
    result = tokenkeeper("introspect", "closed", "--tenant", "x")
    assert result.exit_code == 2
    assert "does not take tenant" in result.stderr
    result = tokenkeeper("introspect", "closed")
    assert "introspection_endpoint is not known" in result.stderr
