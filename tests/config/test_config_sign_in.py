"""Grants with a sign-in that a configuration describes: what reaches the server, and reloads."""

import json
from urllib.parse import parse_qsl, urlsplit

import pytest
from click.testing import CliRunner
from kit.servers.signing_in import REFRESH_TOKEN, SECRETS, SignInServer

from tokenkeeper import (
    AuthorizationRequiredError,
    InvalidConfigurationError,
    OAuth2Error,
    TokenKeeper,
)
from tokenkeeper.cli.group import cli
from tokenkeeper.config.discovery import Discovery
from tokenkeeper.providers.kinds import Description
from tokenkeeper.stores.sqlite import SQLiteTokenStore

PUBLIC = {"token_endpoint_auth_method": "none"}


@pytest.fixture
def server():
    with SignInServer() as server:
        yield server


def block(server, **keys):
    """Return the block of a public client, in which *keys* are set."""
    registration = {
        "provider_name": "calendar",
        "provider_type": "generic",
        "client_id": "me",
        "issuer": server.issuer,
        "scope": "read",
    }
    return {"oauth2": {**registration, **PUBLIC, **keys}}


def opened(authorization):
    """Return the parameters of the page to sign in at."""
    return dict(parse_qsl(urlsplit(authorization.url).query))


def sign_in(server, keeper, **options):
    """Sign a person in, as the browser and the server do it together."""
    with keeper.authorize("calendar", **options) as authorization:
        query = opened(authorization)
        answer = server.answer(_Page("/authorize", query)).headers["Location"]
        return authorization.complete(answer)


class _Page:
    """The request of a browser for a page."""

    def __init__(self, path, query):
        self.path, self.query = path, list(query.items())


class TestInABrowser:
    """The grant ``authorization_code``."""

    def test_each_key_reaches_the_server(self, server):
        """The redirect, further parameters and the resource are part of the request."""
        keys = {
            "grant": "authorization_code",
            "redirect_uri": "https://app.example.com/callback",
            "authorize_parameters": {"prompt": "consent"},
            "resource": "https://api.example.com",
            "par": False,
        }
        with TokenKeeper.from_config(block(server, **keys)) as keeper:
            sent = opened(keeper.authorize("calendar"))
        expected = {
            "redirect_uri": "https://app.example.com/callback",
            "prompt": "consent",
            "resource": "https://api.example.com",
            "scope": "read",
        }
        assert {name: sent.get(name) for name in expected} == expected

    def test_a_pushed_request(self, server):
        """With ``par``, the request is sent to the endpoint for it, which has to exist."""
        settings = {
            "grant": "authorization_code",
            "par": True,
            "endpoints": {"pushed_authorization_request_endpoint": f"{server.origin}/nowhere"},
        }
        refused = pytest.raises(OAuth2Error, match="pushed authorization request failed")
        with TokenKeeper.from_config(block(server, **settings)) as keeper, refused:
            keeper.authorize("calendar")
        assert server.forms("/nowhere")[0]["scope"] == "read"

    def test_another_resource(self, server):
        """A resource that the sign-in does not ask for is refused before any request."""
        keys = {
            "grant": "authorization_code",
            "redirect_uri": "https://app.example.com/callback",
            "resource": "https://api.example.com",
        }
        with TokenKeeper.from_config(block(server, **keys)) as keeper:
            sign_in(server, keeper)
            with pytest.raises(InvalidConfigurationError, match="was not authorized"):
                keeper.source("calendar", resource="https://other.example.com")()
            keeper.source("calendar", resource="https://api.example.com")()
        _, form = server.forms("/token")
        assert form["resource"] == "https://api.example.com"

    def test_the_redirect_is_described(self, server):
        """The description says where the browser is sent, if it is configured."""
        for key, value in {"redirect_uri": "https://a.example/cb", "redirect_port": 8400}.items():
            settings = {"grant": "authorization_code", key: value}
            (spec,) = Discovery.from_config(block(server, **settings)).specs().values()
            described = spec.make_provider().describe()
            assert described[key] == value
            assert described.keys() <= Description.__annotations__.keys()
            assert described["grant_type"] == "authorization_code"

    def test_without_a_sign_in(self, server):
        """No token is requested, and the error says what to do."""
        required = pytest.raises(AuthorizationRequiredError, match="sign in first")
        settings = block(server, grant="authorization_code")
        with TokenKeeper.from_config(settings) as keeper, required:
            keeper.get_token("calendar")
        assert server.received == []

    def test_a_wrong_redirect(self, server):
        """A redirect that the grant refuses is reported with its key."""
        keys = {"grant": "authorization_code", "redirect_uri": "http://app.example.com/callback"}
        with pytest.raises(InvalidConfigurationError) as raised:
            TokenKeeper.from_config(block(server, **keys))
        assert str(raised.value).startswith("configuration: oauth2.redirect_uri must be https://")


class TestCustody:
    """Where the refresh token is kept."""

    def test_a_block(self, server, write, tmp_path):
        """A block has the key file as well, and its paths begin at the file's directory."""
        (tmp_path / "kept").mkdir(mode=0o700)
        assert CliRunner().invoke(cli, ["store", "new-key", str(tmp_path / "keys")]).exit_code == 0
        keys = {
            "grant": "authorization_code",
            "redirect_uri": "https://app.example.com/callback",
            "custody": {"url": "sqlite:///kept/tokens.db", "key_file": "keys"},
        }
        path = write(json.dumps(block(server, **keys)))
        with TokenKeeper.from_config(path) as keeper:
            sign_in(server, keeper)
        with TokenKeeper.from_config(path) as keeper:
            keeper.get_token("calendar", force_refresh=True)
        assert server.forms("/token")[-1]["refresh_token"] == REFRESH_TOKEN
        kept = (tmp_path / "kept" / "tokens.db").read_bytes()
        assert not any(secret.encode() in kept for secret in SECRETS)


class TestOnAnotherDevice:
    """The grants ``device_code`` and ``ciba``."""

    def test_a_device_code(self, server):
        """A sign-in shows the code to enter, and sends further parameters."""
        keys = {"grant": "device_code", "authorize_parameters": {"prompt": "consent"}}
        with TokenKeeper.from_config(block(server, **keys)) as keeper:
            authorization = keeper.authorize("calendar")
        assert authorization.user_code == "WDJB-MJHT"
        (form,) = server.forms("/device")
        assert (form["client_id"], form["scope"], form["prompt"]) == ("me", "read", "consent")

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("login_hint", "ann@example.com"),
            ("login_hint", {"env": "HINT"}),
            ("id_token_hint", {"file": "hint"}),
            ("login_hint_token", {"env": "HINT"}),
        ],
        ids=["text", "variable", "id-token-in-file", "token-in-variable"],
    )
    def test_ciba(self, server, write, monkeypatch, tmp_path, key, value):
        """The hint is read when the sign-in begins, and the message goes with it."""
        write("ann@example.com", name="hint")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HINT", "ann@example.com")
        keys = {
            "grant": "ciba",
            key: value,
            "binding_message": "Calendar 7",
            "token_endpoint_auth_method": "client_secret_basic",
            "client_secret": "s" * 32,
            "endpoints": {"backchannel_authentication_endpoint": f"{server.origin}/nowhere"},
        }
        refused = pytest.raises(OAuth2Error, match="backchannel authentication request failed")
        with TokenKeeper.from_config(block(server, **keys)) as keeper, refused:
            keeper.authorize("calendar")
        (form,) = server.forms("/nowhere")
        assert (form[key], form["binding_message"]) == ("ann@example.com", "Calendar 7")


class TestReload:
    """What a reload leaves of a sign-in."""

    @pytest.fixture
    def configured(self, server, write):
        """Return a function that writes the configuration, and a keeper of it."""

        def change(**keys):
            return write(json.dumps(block(server, **{"grant": "authorization_code", **keys})))

        path = change(redirect_uri="https://app.example.com/callback")
        with TokenKeeper.from_config(path) as keeper:
            yield change, keeper

    @pytest.mark.parametrize(
        "keys",
        [
            {"redirect_uri": "https://app.example.com/callback"},
            {"redirect_uri": "https://app.example.com/elsewhere"},
            {"redirect_port": 8400, "par": False, "authorize_parameters": {"prompt": "consent"}},
            {"grant": "device_code"},
        ],
        ids=["nothing", "another-redirect", "a-listener", "another-grant"],
    )
    def test_a_sign_in_stays(self, configured, server, keys):
        """A changed sign-in keeps the refresh token that the one before brought."""
        change, keeper = configured
        sign_in(server, keeper)
        change(**keys)
        keeper.reload()
        keeper.get_token("calendar", force_refresh=True)
        assert server.forms("/token")[-1]["refresh_token"] == REFRESH_TOKEN

    def test_another_client_signs_in_again(self, configured, server):
        """The refresh token belongs to the client, so another one needs a sign-in of its own."""
        change, keeper = configured
        sign_in(server, keeper)
        change(redirect_uri="https://app.example.com/callback", client_id="another")
        keeper.reload()
        with pytest.raises(AuthorizationRequiredError):
            keeper.get_token("calendar", force_refresh=True)
        assert len(server.forms("/token")) == 1

    def test_another_custody(self, configured, server, tmp_path):
        """The next refresh token of an account is kept where the configuration now says."""
        change, keeper = configured
        sign_in(server, keeper, account="acme")
        account = keeper.source("calendar", account="acme")
        account.get_token()
        path = tmp_path / "custody" / "tokens.db"
        change(redirect_uri="https://app.example.com/callback", custody=f"sqlite:///{path}")
        keeper.reload()
        account.get_token(force_refresh=True)
        kept = SQLiteTokenStore(path)
        assert len(list(kept.keys())) == 1
        assert len(server.forms("/token")) == 2


VARIABLES = {
    "OAUTH2_CLIENT_ID": "me",
    "OAUTH2_TOKEN_ENDPOINT_AUTH_METHOD": "none",
    "OAUTH2_ISSUER": "https://id.example.com",
}


class TestEnvironment:
    """The same by ``OAUTH2_*`` variables."""

    @pytest.mark.parametrize(
        ("variables", "described"),
        [
            ({"OAUTH2_GRANT": "authorization_code"}, {"grant_type": "authorization_code"}),
            (
                {"OAUTH2_GRANT": "authorization_code", "OAUTH2_REDIRECT_PORT": "8400"},
                {"redirect_port": 8400},
            ),
            (
                {"OAUTH2_GRANT": "authorization_code", "OAUTH2_REDIRECT_URI": "https://a.example/"},
                {"redirect_uri": "https://a.example/"},
            ),
            (
                {"OAUTH2_GRANT": "device_code"},
                {"grant_type": "urn:ietf:params:oauth:grant-type:device_code"},
            ),
            (
                {
                    "OAUTH2_GRANT": "ciba",
                    "OAUTH2_LOGIN_HINT": "ann",
                    "OAUTH2_BINDING_MESSAGE": "Calendar 7",
                },
                {"grant_type": "urn:openid:params:grant-type:ciba"},
            ),
            ({"OAUTH2_GRANT": "client_credentials"}, {"grant_type": "client_credentials"}),
        ],
        ids=["code", "port", "uri", "device", "ciba", "default"],
    )
    def test_grants(self, variables, described):
        """Each grant with a sign-in can be described, and its custody is taken over."""
        kept = {"OAUTH2_CUSTODY": "sqlite:////tmp/nowhere.db"} if len(variables) > 1 else {}
        (spec,) = Discovery.from_env({**VARIABLES, **variables, **kept}).specs().values()
        provider = spec.make_provider()
        found = provider.describe()
        assert {name: found[name] for name in described} == described
        assert provider.custody == kept.get("OAUTH2_CUSTODY")

    @pytest.mark.parametrize(
        ("variables", "problem"),
        [
            (
                {"OAUTH2_GRANT": "password"},
                "OAUTH2_GRANT must be 'client_credentials', 'authorization_code', 'device_code' or",
            ),
            (
                {
                    "OAUTH2_GRANT": "device_code",
                    "OAUTH2_ISSUER": "",
                    "OAUTH2_TOKEN_URL": "https://a",
                },
                "OAUTH2_ISSUER is missing. OAUTH2_GRANT 'device_code' needs it in place of OAUTH2",
            ),
            ({"OAUTH2_REDIRECT_PORT": "8400"}, "OAUTH2_REDIRECT_PORT is only valid with OAUTH2_G"),
            ({"OAUTH2_CUSTODY": "auto"}, "OAUTH2_CUSTODY is only valid with OAUTH2_GRANT: ref"),
            (
                {"OAUTH2_GRANT": "device_code", "OAUTH2_CUSTODY": "redis://host"},
                ". Set TOKENKEEPER_STORE and TOKENKEEPER_STORE_KEY_FILE in its place",
            ),
            (
                {"OAUTH2_GRANT": "authorization_code", "OAUTH2_REDIRECT_PORT": "84000"},
                "redirect_port must be a port, 65535 at most (read from OAUTH2_REDIRECT_PORT)",
            ),
            (
                {"OAUTH2_GRANT": "authorization_code", "OAUTH2_REDIRECT_PORT": "any"},
                "(read from OAUTH2_REDIRECT_PORT)",
            ),
        ],
        ids=[
            "grant",
            "endpoint",
            "port-alone",
            "custody-alone",
            "custody-key",
            "large-port",
            "no-port",
        ],
    )
    def test_mistakes(self, variables, problem):
        """A mistake names the variable."""
        with pytest.raises(InvalidConfigurationError) as raised:
            Discovery.from_env({**VARIABLES, **variables}).specs()
        assert problem in str(raised.value)


class TestByDevice:
    """A provider that is made again for another grant, as ``login --device`` does it."""

    def test_it_is_the_same_client(self, server):
        """Its refresh token is found by the configured grant: they have one identity."""
        keys = {"grant": "authorization_code", "redirect_port": 8400, "par": False}
        (spec,) = Discovery.from_config(block(server, **keys)).specs().values()
        again = spec.with_sign_in("device_code")
        assert again.make_provider().describe()["grant_type"].endswith("device_code")
        assert again.make_provider().identity() == spec.make_provider().identity()
        assert not any(secret in repr(again) for secret in SECRETS)

    def test_from_variables(self):
        """A client from the environment can be made again as well."""
        variables = {**VARIABLES, "OAUTH2_GRANT": "authorization_code"}
        variables["OAUTH2_REDIRECT_PORT"] = "8400"
        (spec,) = Discovery.from_env(variables).specs().values()
        again = spec.with_sign_in("device_code").make_provider()
        assert again.identity() == spec.make_provider().identity()

    def test_without_an_endpoint(self, server):
        """If nothing says where the sign-in begins, the message names what to set."""
        keys = {
            "grant": "authorization_code",
            "issuer": None,
            "token_url": f"{server.origin}/token",
            "endpoints": {"authorization_endpoint": f"{server.origin}/authorize"},
        }
        settings = block(server, **keys)
        del settings["oauth2"]["issuer"]
        (spec,) = Discovery.from_config(settings).specs().values()
        with pytest.raises(InvalidConfigurationError, match="device_authorization_endpoint"):
            spec.with_sign_in("device_code")
