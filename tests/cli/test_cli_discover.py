"""``tokenkeeper discover``: a block of configuration from a server's metadata."""

import json
import re

import pytest
import yaml
from kit.servers.base import Answer
from kit.servers.issuer import OAUTH, OPENID, IssuerServer

from tokenkeeper.oauth.well_known import well_known_urls
from tokenkeeper.testing import LoopbackAuthorizationServer

METHODS = "token_endpoint_auth_methods_supported"


@pytest.fixture
def issuing():
    """Return a server whose metadata a test publishes."""
    with IssuerServer() as server:
        yield server


@pytest.fixture
def discover(tokenkeeper):
    """Return a function that runs the command, and returns its output after a success."""

    def discover(*arguments):
        result = tokenkeeper("discover", *arguments)
        assert (result.exit_code, result.stderr) == (0, ""), result.stderr
        return result.stdout

    return discover


def test_the_whole_output(discover, issuing):
    """The block has the issuer, placeholders for the client, and what the server offers."""
    issuer = issuing.publish("/t1", scopes_supported=["read", "write"])
    assert discover(issuer) == (
        "oauth2:\n"
        "  provider_name: my-api  # the name that your code asks for\n"
        "  provider_type: generic\n"
        f'  issuer: "{issuer}"  # token endpoint: {issuing.origin}/token\n'
        "  client_id: ${CLIENT_ID}\n"
        "  client_secret: ${CLIENT_SECRET}\n"
        "  grant: client_credentials\n"
        "  # scope: read write\n"
    )


def test_the_block_is_a_configuration(discover, environment, tokenkeeper, tmp_path):
    """A file with the block, and the variables that it names, is enough for a token."""
    file = tmp_path / "discovered.yaml"
    with LoopbackAuthorizationServer() as server:
        file.write_text(discover(server.issuer))
        environment.setenv("CLIENT_ID", server.client_id)
        environment.setenv("CLIENT_SECRET", server.client_secret)
        result = tokenkeeper("get", "my-api", "--config", str(file))
        assert result.exit_code == 0, result.stderr
        assert result.stdout.strip()


@pytest.mark.parametrize("path", ["", "/", "/t1", "/t1/"])
@pytest.mark.parametrize("spell", [lambda issuer: issuer.rstrip("/"), lambda issuer: f"{issuer}/"])
def test_the_spelling_of_the_server_counts(discover, issuing, path, spell):
    """An issuer may be given with or without its slash, and is written as the server spells it."""
    issuer = issuing.publish(path)
    given = spell(issuer.rstrip("/"))
    assert yaml.safe_load(discover(given))["oauth2"]["issuer"] == issuer


@pytest.mark.parametrize("path", ["", "/", "/t1", "/t1/"])
@pytest.mark.parametrize("number", [0, 1, -1])
def test_the_url_of_the_metadata(discover, issuing, path, number):
    """The URL of the metadata is as good as the issuer."""
    url = well_known_urls(issuing.origin + path)[number]
    issuer = issuing.publish(path, at=url.removeprefix(issuing.origin))
    assert json.loads(discover(url, "--json"))["issuer"] == issuer


@pytest.mark.parametrize(
    ("listed", "keys"),
    [
        (None, {"client_secret": "${CLIENT_SECRET}"}),
        (["none", "client_secret_basic"], {"client_secret": "${CLIENT_SECRET}"}),
        (
            ["client_secret_post", "none"],
            {
                "token_endpoint_auth_method": "client_secret_post",
                "client_secret": "${CLIENT_SECRET}",
            },
        ),
        (
            ["private_key_jwt"],
            {
                "token_endpoint_auth_method": "private_key_jwt",
                "private_key_file": "client-key.pem",
            },
        ),
        (
            ["tls_client_auth"],
            {
                "token_endpoint_auth_method": "tls_client_auth",
                "certificate_file": "client.pem",
                "certificate_key_file": "client-key.pem",
            },
        ),
        (["none"], {"token_endpoint_auth_method": "none"}),
        (["magic"], {}),
        ([], {}),
    ],
)
def test_the_method_that_fits(discover, issuing, listed, keys):
    """The block has a method of authentication that the server lists, and what it needs."""
    issuer = issuing.publish(**{} if listed is None else {METHODS: listed})
    block = yaml.safe_load(discover(issuer))["oauth2"]
    usual = {"provider_name", "provider_type", "issuer", "client_id", "grant"}
    assert {name: block[name] for name in block.keys() - usual} == keys


@pytest.mark.parametrize(
    ("members", "comment"),
    [
        ({METHODS: ["magic"]}, "# The server lists no method of client authentication"),
        ({METHODS: ["magic"]}, "# magic"),
        ({METHODS: []}, "# nothing"),
        (
            {METHODS: ["none", "client_secret_post", "private_key_jwt"]},
            "# The server also accepts private_key_jwt, none.",
        ),
        (
            {"grant_types_supported": ["implicit", "authorization_code"]},
            "# Set grant. The server does not list client_credentials, but implicit, authorization",
        ),
        ({"grant_types_supported": []}, "client_credentials, but nothing."),
        ({}, "# scope: read write"),
        ({"scopes_supported": [f"s{number}" for number in range(99)]}, "s28 s29 ..."),
    ],
)
def test_comments(discover, issuing, members, comment):
    """What a person has to decide is a comment."""
    assert comment in discover(issuing.publish(**members))


def test_json(discover, issuing):
    """For programs, the output has all endpoints that can be used and what is supported."""
    issuer = issuing.publish(
        revocation_endpoint=f"{issuing.origin}/revoke",
        introspection_endpoint="http://elsewhere.example/introspect",
        grant_types_supported=["password"],
    )
    assert json.loads(discover(issuer, "--json")) == {
        "issuer": issuer,
        "url": issuer + OAUTH,
        "endpoints": {
            "revocation_endpoint": f"{issuing.origin}/revoke",
            "token_endpoint": f"{issuing.origin}/token",
        },
        "token_endpoint_auth_method": "client_secret_basic",
        "token_endpoint_auth_methods_supported": None,
        "grant_types_supported": ["password"],
        "scopes_supported": None,
    }


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ftp://id.example", "URL must be an absolute https:// URL"),
        ("http://id.example", "URL must be https:// unless the host is loopback"),
        ("https://user:pw@id.example", "URL must not contain credentials"),
        ("https://id.example/?a=b", "issuer must not contain a query"),
        ("https://id.example/.well-known/else", "issuer must be the issuer itself"),
        ("", "URL must be an absolute https:// URL"),
    ],
)
def test_a_url_that_can_not_work(tokenkeeper, url, problem):
    """A URL of no server is the exit code of an invalid command line, before any request."""
    result = tokenkeeper("discover", url)
    assert result.exit_code == 2
    assert problem in result.stderr
    assert result.stdout == ""


def test_no_metadata(tokenkeeper, issuing):
    """A server without metadata is a failure that names each place, and nothing is printed."""
    result = tokenkeeper("discover", issuing.origin)
    assert result.exit_code == 1
    assert f"{issuing.origin}{OAUTH} answered HTTP 404" in result.stderr
    assert f"{issuing.origin}{OPENID} answered HTTP 404" in result.stderr
    assert result.stdout == ""


def test_a_server_that_is_down(tokenkeeper, issuing):
    """A server that can't be reached is a failure that says why."""
    issuing.stop()
    result = tokenkeeper("discover", issuing.origin)
    assert result.exit_code == 1
    assert "the connection was refused" in result.stderr


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"token_endpoint": None}, "has no token_endpoint"),
        ({"token_endpoint": "https://attacker.example/t"}, "which is not trusted"),
        ({"issuer": "https://other.example"}, "is that of the issuer 'https://other.example'"),
    ],
)
def test_metadata_that_can_not_be_used(tokenkeeper, issuing, members, problem):
    """Metadata without a usable token endpoint is a failure."""
    result = tokenkeeper("discover", issuing.publish(**members))
    assert result.exit_code == 1
    assert problem in result.stderr
    assert result.stdout == ""


UNRULY = "\x1b[31mred\nforged: 1\r\u202e\u2028${SECRET}"


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_unruly_metadata(discover, issuing, arguments):
    """What a server sends can't forge a line of the configuration or of the terminal."""
    output = discover(
        issuing.publish(
            **{METHODS: [UNRULY, "none"]},
            scopes_supported=[UNRULY],
            grant_types_supported=[UNRULY, 7, None, {}],
        ),
        *arguments,
    )
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e\u2028]", output)
    assert "forged" not in yaml.safe_load(output).get("oauth2", {})
    assert not re.search("^ *forged", output, re.MULTILINE)


def test_a_reference_to_a_variable_is_escaped(discover, issuing):
    """An issuer with a dollar sign is not taken for a reference to a variable."""
    issuer = issuing.publish("/$HOME")
    assert yaml.safe_load(discover(issuer))["oauth2"]["issuer"] == issuer.replace("$", "$$")


def test_help(tokenkeeper):
    """The help has the exit codes, and the command is listed with the others."""
    assert "Exit codes" in tokenkeeper("discover", "--help").stdout
    assert "discover" in tokenkeeper("--help").stdout


def test_a_busy_server(tokenkeeper, issuing):
    """A busy server is not asked again for another spelling of its issuer."""
    issuing.published[OAUTH] = Answer(503, b"<html>busy</html>")
    result = tokenkeeper("discover", issuing.origin)
    assert result.exit_code == 1
    assert "answered HTTP 503. If this persists" in result.stderr
    assert issuing.metadata_requests == [OAUTH, OPENID]
