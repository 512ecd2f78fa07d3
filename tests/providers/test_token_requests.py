"""Options for unusual token requests, on the wire, in Python and in YAML."""

import base64
import json
import logging
import os
import pickle

import pytest
import requests
import yaml
from click.testing import CliRunner
from kit.servers.entra import CLIENT_ID, TENANT
from kit.servers.entra import SECRET as ENTRA_SECRET
from kit.servers.recording import GRANT, Recording

from tokenkeeper import (
    AzureADProvider,
    GenericOAuth2Provider,
    InvalidConfigurationError,
    OAuth2Config,
    TokenAcquisitionError,
    TokenKeeper,
    __version__,
)
from tokenkeeper.cli.group import cli

pytestmark = pytest.mark.filterwarnings("ignore::tokenkeeper.ConfigurationWarning")

US = f"tokenkeeper/{__version__}"
BASIC = "Basic " + base64.b64encode(b"me:hunter2").decode()
FORM = "application/x-www-form-urlencoded"
ABSENT = None


@pytest.fixture
def server():
    with Recording() as server:
        yield server


@pytest.fixture
def write(server, tmp_path):
    """Return a function that writes a configuration with options."""

    def write(query="", *, public=False, **options):
        block = {
            "provider_name": "api",
            "provider_type": "generic",
            "client_id": "me",
            "client_secret_file": "secret",
            "token_url": server.token_url + query,
            **options,
        }
        if public:
            del block["client_secret_file"]
        for name, text in (("secret", "hunter2\n"), ("tokens.yaml", yaml.dump({"oauth2": block}))):
            (tmp_path / name).write_text(text)
            (tmp_path / name).chmod(0o600)
        return tmp_path / "tokens.yaml"

    return write


@pytest.fixture(params=["Python", "YAML"])
def ask(request, server, write):
    """Return a function that sends a token request with options in Python or in YAML."""

    def in_python(query="", *, scope=None, additional_params=None, public=False, **options):
        secret = None if public else "hunter2"
        url = server.token_url + query
        config = OAuth2Config("api", "me", secret, url, scope, additional_params)
        return GenericOAuth2Provider(config, **options).acquire_token()

    def in_yaml(query="", **options):
        with TokenKeeper.from_config(write(query, **options), background=False) as keeper:
            return keeper.get_oauth2_token("api")

    return in_python if request.param == "Python" else in_yaml


CREDENTIALS = ("grant_type", "client_credentials")

# For each vendor: options; headers that must be present or absent; form, query and JSON.
ROWS = {
    "plain": (
        {"scope": "read"},
        {"user-agent": US, "accept": "application/json", "authorization": BASIC},
        {"form": [CREDENTIALS, ("scope", "read")]},
    ),
    "OpenStreetMap: a name of its own": (
        {"headers": {"user-agent": "my-mapper/1.0 (me@example.com)"}},
        {"user-agent": "my-mapper/1.0 (me@example.com)"},
        {"form": [CREDENTIALS]},
    ),
    "a gateway: an API key": (
        {"headers": {"x-api-key": "key-1", "X-Tenant": 7, "X-Dry-Run": False}},
        {"x-api-key": "key-1", "x-tenant": "7", "x-dry-run": "false", "user-agent": US},
        {"form": [CREDENTIALS]},
    ),
    "ServiceNow: another Accept": (
        {"accept": "*/*", "token_endpoint_auth_method": "client_secret_post"},
        {"accept": "*/*", "authorization": ABSENT},
        {"form": [("client_id", "me"), ("client_secret", "hunter2"), CREDENTIALS]},
    ),
    "Zoom: a grant of its own, in the query": (
        {
            "grant_type": "account_credentials",
            "request_format": "query",
            "additional_params": {"account_id": "a-1"},
        },
        {"authorization": BASIC, "content-type": ABSENT, "content-length": "0"},
        {"query": [("account_id", "a-1"), ("grant_type", "account_credentials")]},
    ),
    "Zoom: the same in the body": (
        {"grant_type": "account_credentials", "additional_params": {"account_id": "a-1"}},
        {"content-type": FORM},
        {"form": [("account_id", "a-1"), ("grant_type", "account_credentials")]},
    ),
    "Auth0, Marketing Cloud: a JSON body": (
        {
            "request_format": "json",
            "token_endpoint_auth_method": "client_secret_post",
            "additional_params": {"audience": "https://api", "account_id": 42, "full": True},
            "scope": "a b",
        },
        {"content-type": "application/json", "authorization": ABSENT},
        {
            "json": {
                "grant_type": "client_credentials",
                "client_id": "me",
                "client_secret": "hunter2",
                "audience": "https://api",
                "account_id": 42,
                "full": True,
                "scope": "a b",
            }
        },
    ),
    "JSON beside Basic": (
        {"request_format": "json", "additional_params": {"resource": ["https://1", "https://2"]}},
        {"authorization": BASIC},
        {
            "json": {
                "grant_type": "client_credentials",
                "resource": ["https://1", "https://2"],
            }
        },
    ),
    "client_id beside Basic": (
        {"send_client_id": True},
        {"authorization": BASIC},
        {"form": [("client_id", "me"), CREDENTIALS]},
    ),
    "client_id beside Basic, in the query": (
        {"send_client_id": True, "request_format": "query"},
        {"authorization": BASIC},
        {"query": [("client_id", "me"), CREDENTIALS]},
    ),
    "a public client": (
        {"public": True, "token_endpoint_auth_method": "none"},
        {"authorization": ABSENT},
        {"form": [("client_id", "me"), CREDENTIALS]},
    ),
    "a public client that has a secret all the same": (
        {"token_endpoint_auth_method": "none"},
        {"authorization": ABSENT},
        {"form": [("client_id", "me"), CREDENTIALS]},
    ),
    "integers and booleans in a form": (
        {"additional_params": {"a": 1, "b": 0, "c": True, "d": False, "e": [1, "x", True]}},
        {},
        {
            "form": [
                ("a", "1"),
                ("b", "0"),
                ("c", "true"),
                ("d", "false"),
                ("e", "1"),
                ("e", "true"),
                ("e", "x"),
                CREDENTIALS,
            ]
        },
    ),
    "a grant that is a URI": (
        {
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "additional_params": {"assertion": "a.b.c"},
        },
        {},
        {
            "form": [
                ("assertion", "a.b.c"),
                ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ]
        },
    ),
    "empty parameters are left out": (
        {"additional_params": {"a": "", "b": []}, "request_format": "json"},
        {},
        {"json": {"grant_type": "client_credentials"}},
    ),
    "a query of its own": (
        {"query": "?tenant=t-1", "request_format": "query"},
        {},
        {"query": [CREDENTIALS, ("tenant", "t-1")]},
    ),
}


def assert_sent(sent, headers, content):
    """Assert that a token request has these headers, and this query and body."""
    assert sent.method == "POST"
    assert sent.path == "/token"
    assert {name: sent.headers.get(name) for name in headers} == headers
    assert sent.query == content.get("query", [])
    if "json" in content:
        assert json.loads(sent.body) == content["json"]
    else:
        assert sent.form == content.get("form", [])


@pytest.mark.parametrize("row", ROWS)
def test_what_vendors_ask_for(server, ask, row):
    """Each vendor's request format can be configured, and is sent."""
    options, headers, content = ROWS[row]
    assert ask(**options).access_token == "the-token"
    (sent,) = server.received
    assert_sent(sent, headers, content)


@pytest.mark.parametrize("command", ["get", "doctor"])
@pytest.mark.parametrize("row", ROWS)
def test_what_the_commands_send(server, write, monkeypatch, command, row):
    """``get`` and the doctor send the same request as a service, body included."""
    for name in [each for each in os.environ if each.startswith(("TOKENKEEPER_", "XDG_RUNTIME"))]:
        monkeypatch.delenv(name)
    options, headers, content = ROWS[row]
    result = CliRunner().invoke(cli, [command, "api", "--config", str(write(**options))])
    assert result.exit_code == 0, result.output
    assert ("the-token" in result.stdout.split()) is (command == "get")
    (sent,) = [each for each in server.received if each.method == "POST"]
    assert_sent(sent, headers, content)
    assert {each.headers["user-agent"] for each in server.received} <= {
        US,
        headers.get("user-agent"),
    }


class TestLives:
    """The options for reading a response take effect."""

    def test_lifetime_seconds(self, ask):
        """``lifetime_seconds`` overrides the server's lifetime."""
        left = ask(lifetime_seconds=90).remaining_lifetime.total_seconds()
        assert 80 < left <= 90

    def test_never_expires(self, server, ask):
        """With ``never_expires`` a lifetime of 0 or -1 means that the token does not expire."""
        server.reply = (200, GRANT | {"expires_in": -1})
        assert ask(never_expires=True).remaining_lifetime.total_seconds() > 3600

    @pytest.mark.parametrize("given", ["n_a", ["MAC", "N_A"]])
    def test_accept_token_types(self, server, ask, given):
        """A listed ``token_type`` is accepted."""
        server.reply = (200, GRANT | {"token_type": "N_A"})
        assert ask(accept_token_types=given).access_token == "the-token"
        with pytest.raises(TokenAcquisitionError):
            ask()


WRONG = [
    ({"headers": "x"}, "headers must be a mapping"),
    ({"headers": {"Authorization": "x"}}, "headers must not contain 'Authorization'"),
    (
        {"headers": {"content-type": "x"}},
        "headers must not contain 'content-type': it is set by request_format",
    ),
    ({"headers": {"Content-Length": 1}}, "headers must not contain 'Content-Length'"),
    ({"headers": {"Host": "x"}}, "headers must not contain 'Host'"),
    ({"headers": {"ACCEPT": "x"}}, "headers must not contain 'ACCEPT': set accept"),
    ({"headers": {"Accept-Encoding": "x"}}, "headers must not contain 'Accept-Encoding'"),
    ({"headers": {"Transfer-Encoding": "x"}}, "headers must not contain 'Transfer-Encoding'"),
    ({"headers": {"X-A": "hunter3\r\nX-B: c"}}, "headers has a value for 'X-A' with a line break"),
    ({"headers": {"X-A": "hunter3\nX-B: c"}}, "headers has a value for 'X-A' with a line break"),
    ({"headers": {"X-A": "hunter3\x00"}}, "headers has a value for 'X-A'"),
    ({"headers": {"X-A": " hunter3"}}, "headers has a value for 'X-A'"),
    ({"headers": {"X-A": "\u20achunter3"}}, "headers has a value for 'X-A'"),
    ({"headers": {"X-A": ""}}, "headers has an empty value for 'X-A'"),
    ({"headers": {"X-A": ["hunter3"]}}, "headers must hold a string for 'X-A'"),
    ({"headers": {"X-A": 1.5}}, "headers must hold a string for 'X-A'"),
    ({"headers": {"X A": "hunter3"}}, "headers must have header names as its keys"),
    ({"headers": {"X-A:": "hunter3"}}, "headers must have header names as its keys"),
    ({"headers": {"X-A": "1", "x-a": "2"}}, "headers has 'x-a' twice"),
    ({"accept": "a\r\nX-B: c"}, "accept contains a control character"),
    ({"accept": ""}, "accept is empty"),
    ({"grant_type": "two words"}, "grant_type must be a name or a URI"),
    ({"grant_type": ""}, "grant_type is empty"),
    ({"grant_type": "refresh_token"}, "must contain the first refresh_token"),
    ({"additional_params": {"refresh_token": "hunter3"}}, "contains a refresh_token. Set grant_"),
    ({"request_format": "xml"}, "request_format must be 'form', 'json' or 'query'"),
    ({"token_endpoint_auth_method": "private_key_jwt"}, "token_endpoint_auth_method"),
    ({"send_client_id": "perhaps"}, "send_client_id must be"),
    ({"refresh_tokens": 1}, "refresh_tokens must be"),
    ({"never_expires": "never"}, "never_expires must be"),
    ({"lifetime_seconds": 0}, "lifetime_seconds must be"),
    ({"lifetime_seconds": -1}, "lifetime_seconds must be"),
    ({"accept_token_types": 5}, "accept_token_types must be a string or a list"),
    ({"accept_token_types": [5]}, "accept_token_types must be a string"),
    ({"public": True}, "client_secret is missing"),
    ({"public": True, "token_endpoint_auth_method": "client_secret_post"}, "client_secret is miss"),
    ({"additional_params": {"grant_type": "x"}}, "additional_params must not override the grant"),
    (
        {"additional_params": {"a": 1.1}},
        "additional_params must contain strings, integers, booleans",
    ),
]


@pytest.mark.parametrize(("options", "words"), WRONG)
def test_what_can_not_work(server, ask, options, words):
    """An invalid option is refused before any request, by name and without its value."""
    with pytest.raises(InvalidConfigurationError) as caught:
        ask(**options)
    assert words in str(caught.value)
    assert "hunter" not in str(caught.value)
    assert not server.received


class TestSecrets:
    """Values in headers and queries are hidden."""

    def test_an_echo(self, server, ask):
        """Echoed headers and queries are hidden in the error."""
        echo = "key-123 and hunter2 and Token abcdefgh9 and secret-in-url and not-a-secret"
        server.reply = (400, {"error": "invalid_request", "error_description": echo})
        with pytest.raises(TokenAcquisitionError) as caught:
            ask(
                query="?api_key=secret-in-url&tenant=not-a-secret",
                headers={"X-Api-Key": "key-123", "X-Other": "Token abcdefgh9"},
                request_format="query",
                token_endpoint_auth_method="client_secret_post",
            )
        shown = str(caught.value) + repr(caught.value) + str(pickle.dumps(caught.value))
        for secret in ("key-123", "hunter2", "abcdefgh9", "secret-in-url"):
            assert secret not in shown
        assert "not-a-secret" in shown

    def test_a_server_that_is_down(self, server, ask):
        """The error for an unreachable server does not show the query."""
        server.stop()
        with pytest.raises(TokenAcquisitionError) as caught:
            ask(
                query="?api_key=secret-in-url",
                request_format="query",
                token_endpoint_auth_method="client_secret_post",
                **{"retry": {"attempts": 1}} if ask.__name__ == "in_yaml" else {},
            )
        shown = f"{caught.value!s}{caught.value!r}{caught.value.__cause__!r}"
        assert "hunter2" not in shown
        assert "secret-in-url" not in shown

    def test_logs(self, ask, caplog):
        """No library logs them at any level."""
        caplog.set_level(logging.DEBUG)
        ask(
            query="?api_key=secret-in-url",
            headers={"X-Api-Key": "key-123"},
            request_format="query",
            token_endpoint_auth_method="client_secret_post",
        )
        for secret in ("hunter2", "secret-in-url", "key-123"):
            assert secret not in caplog.text

    def test_repr(self):
        """Neither repr nor describe() shows a header's value or a query."""
        config = OAuth2Config("api", "me", "hunter2", "https://id.example.com/t?api_key=in-url")
        provider = GenericOAuth2Provider(config, headers={"X-Api-Key": "key-123"})
        shown = f"{config!r}{provider!r}{provider.describe()!r}{provider._client.style!r}"
        for secret in ("hunter2", "in-url", "key-123"):
            assert secret not in shown
        assert provider.describe()["headers"] == ["X-Api-Key"]


class TestUserAgent:
    """The User-Agent of requests."""

    def test_a_callers_session(self, server):
        """A caller's session sends our User-Agent, unless it sets one."""
        config = OAuth2Config("api", "me", "hunter2", server.token_url)
        with requests.Session() as session:
            GenericOAuth2Provider(config, session=session).acquire_token()
            session.headers["User-Agent"] = "theirs/1"
            GenericOAuth2Provider(config, session=session).acquire_token()
        assert [each.headers["user-agent"] for each in server.received] == [US, "theirs/1"]

    def test_entra(self, entra):
        """Requests of msal send it too, including discovery."""
        provider = AzureADProvider(
            "graph",
            CLIENT_ID,
            ENTRA_SECRET,
            TENANT,
            authority=entra.authority,
            verify=entra.ca_file,
        )
        provider.acquire_token()
        assert [each.headers["user-agent"] for each in entra.received] == [US, US]
        assert provider.describe()["tenant_id"] == TENANT
        assert ENTRA_SECRET not in str(provider.describe())

    def test_refreshing(self, server):
        """A refresh has the same headers and format as a grant."""
        server.reply = (200, GRANT | {"refresh_token": "r-1"})
        config = OAuth2Config("api", "me", "hunter2", server.token_url)
        provider = GenericOAuth2Provider(
            config, refresh_tokens=True, request_format="json", headers={"X-A": "b"}
        )
        provider.refresh_token(provider.acquire_token())
        sent = server.received[1]
        assert (sent.headers["user-agent"], sent.headers["x-a"]) == (US, "b")
        assert json.loads(sent.body) == {"grant_type": "refresh_token", "refresh_token": "r-1"}
