"""Commands with --scope, --resource, --audience and --tenant: several tokens of one provider."""

import json
import sqlite3
from contextlib import closing

import pytest


@pytest.fixture
def get(tokenkeeper):
    """Return a function that gets a token of the provider "billing" with options."""

    def get(*options):
        result = tokenkeeper("get", "billing", *options)
        assert result.exit_code == 0, result.output
        return result.stdout.strip()

    return get


def rows(tokenkeeper, *arguments):
    return json.loads(tokenkeeper("status", "--json", "billing", *arguments).stdout)


def test_each_has_its_own_token(get, server):
    """Each scope, resource and audience has a token of its own, which is stored."""
    options = [
        (),
        ("--scope", "write"),
        ("--resource", "https://a.example"),
        ("--audience", "a"),
    ]
    tokens = [get(*each) for each in options]
    assert len(set(tokens)) == 4
    assert [get(*each) for each in options] == tokens
    assert server.stats().token_requests == 4


def test_the_order_does_not_matter(get):
    """The order and repetition of scopes make no other token, however they are written."""
    assert get("--scope", "write read") == get("--scope", "read", "--scope", "write")


def test_what_the_server_is_asked(tokenkeeper):
    """The scope of the option is requested in place of the registration's."""
    answer = json.loads(tokenkeeper("get", "billing", "--scope", "write", "--json").stdout)
    assert answer["scope"] == "write"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tenant", "contoso.example"], "does not take tenant"),
        (["--tenant", "a/b"], "--tenant"),
        (["--scope", ""], "--scope"),
        (["--scope", "a\nb"], "--scope"),
    ],
)
@pytest.mark.parametrize("command", ["get", "watch"])
def test_mistakes(tokenkeeper, server, command, options, message):
    """A parameter that the provider does not take, or a value that can't work, makes it 2."""
    result = tokenkeeper(command, "billing", *options)
    assert result.exit_code == 2
    assert message in result.output
    assert server.stats().token_requests == 0


def test_status(tokenkeeper, get):
    """Each stored token has its row, with what was asked for."""
    get()
    get("--scope", "write", "--resource", "https://a.example")
    own, chosen = rows(tokenkeeper)
    assert (own["provider_name"], own["state"], own["parameters"]) == ("billing", "fresh", {})
    assert (chosen["provider_name"], chosen["state"]) == ("billing", "fresh")
    assert chosen["parameters"] == {"scope": ["write"], "resource": ["https://a.example"]}
    screen = tokenkeeper("status").stdout
    assert "scope=write" in screen.replace("\n", "")


def test_status_with_fetch(tokenkeeper, get, age):
    """--fetch requests the tokens of registrations; others that expired have no row."""
    get("--scope", "write")
    assert [row["state"] for row in rows(tokenkeeper, "--fetch")] == ["fresh", "fresh"]
    age(4000)
    result = tokenkeeper("status", "--fetch", "--json", "billing")
    assert result.exit_code == 0
    (own,) = json.loads(result.stdout)
    assert (own["state"], own["parameters"]) == ("fresh", {})


def test_a_failure_with_parameters(tokenkeeper, get, server):
    """A request that failed has a row with its reason, and does not spoil the other token."""
    get()
    server.refuse("invalid_scope")
    assert tokenkeeper("get", "billing", "--scope", "admin").exit_code == 1
    own, chosen = rows(tokenkeeper)
    assert own["last_error"] is None
    assert (chosen["state"], chosen["parameters"]) == ("not held", {"scope": ["admin"]})
    assert "invalid_scope" in chosen["last_error"]


def test_a_provider_s_name_clears_all(tokenkeeper, get):
    """``clear NAME`` deletes all tokens of the provider."""
    get()
    get("--scope", "write")
    get("--audience", "a")
    assert json.loads(tokenkeeper("clear", "billing", "--json").stdout) == {"cleared": 3}
    (own,) = rows(tokenkeeper)
    assert own["state"] == "not held"


def test_clear_one(tokenkeeper, get):
    """With options it deletes that token alone, and not the registration's."""
    own, write, audience = get(), get("--scope", "write"), get("--audience", "a")
    assert json.loads(tokenkeeper("clear", "billing", "--scope", "write", "--json").stdout) == {
        "cleared": 1
    }
    assert get() == own
    assert get("--audience", "a") == audience
    assert get("--scope", "write") != write


@pytest.mark.parametrize("command", ["clear", "watch"])
def test_parameters_need_a_name(tokenkeeper, command):
    """Without a provider's name, the options are a wrong call."""
    result = tokenkeeper(command, "--scope", "write")
    assert result.exit_code == 2
    assert "name the provider" in result.output


def test_watch(tokenkeeper, server):
    """``watch`` gets the token that the options ask for."""
    result = tokenkeeper("watch", "billing", "--scope", "write", "--seconds", "0.1")
    assert result.exit_code == 0
    assert "TokenAcquired provider_name=billing" in result.stdout
    assert server.stats().token_requests == 1
    assert tokenkeeper("get", "billing", "--scope", "write").exit_code == 0
    assert server.stats().token_requests == 1


def test_a_damaged_record(tokenkeeper, get, cache):
    """A record that is damaged has no row, and does not hide the others."""
    get("--scope", "write")
    get()
    with closing(sqlite3.connect(cache / "tokens.db")) as connection, connection:
        written = "instr(sealed, CAST('write' AS BLOB))"
        connection.execute(f"UPDATE records SET sealed = ? WHERE {written}", (b"garbage",))
    (own,) = rows(tokenkeeper)
    assert own["state"] == "fresh"
    assert json.loads(tokenkeeper("clear", "billing", "--json").stdout) == {"cleared": 1}
