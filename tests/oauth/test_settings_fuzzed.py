"""Fuzzed settings: each works or raises our error."""

import base64
import math
from urllib.parse import unquote_plus, urlsplit

import pytest
from fuzz.oracle import SCOPE_CHAR, VSCHAR, is_scope
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kit.oauth_client import proof_of
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from tokenkeeper import AzureADProvider, InvalidConfigurationError, OAuth2Config, TokenKeeper
from tokenkeeper.config.environment import spec_from_environment
from tokenkeeper.oauth.client_auth import client_auth
from tokenkeeper.oauth.transport import checked_seconds

ANY_TEXT = (
    st.text(st.characters(), max_size=40)
    | st.text(
        'aZ09 \t\n\0\x7f\x85\u2028\ud800\udcff"\\', max_size=8
    )  # characters that are forbidden somewhere
)
NOT_TEXT = st.none() | st.integers() | st.floats() | st.binary() | st.lists(st.integers())
VISIBLE = "".join(sorted(VSCHAR))
SECRETS = st.text(VISIBLE + " äß漢", min_size=8, max_size=30).map(
    lambda text: f"q{text}7"  # not a word of any message
)
SCOPE_TOKENS = st.text(sorted(SCOPE_CHAR), min_size=1, max_size=12)
PIECES_OF_URLS = [
    *[
        "https://",
        "http://",
        "HTTP:/",
        "//",
        "/",
        "\\",
        "?",
        "#",
        ";",
        ":",
        "@",
        "[",
        "]",
        "user:pw@",
    ],
    *["localhost", "127.0.0.1", "[::1]", "[::1%25lo]", "0x7f.1", "evil.example", "xn--a", "é", "℀"],
    *[".", "..", "。", "①", "٣", "%", "%00", "%2f", ":443", ":0", ":99999"],
]
HOSTS = ["id.example", "localhost", "127.0.0.1", "[::1]", "evil.example", "127.0.0.1.evil.example"]
URLS = st.builds(
    lambda scheme, host, rest: scheme + host + "".join(rest),
    st.sampled_from(["https://", "http://"]),
    st.sampled_from(HOSTS),
    st.lists(st.sampled_from(PIECES_OF_URLS), max_size=3),
) | st.lists(st.sampled_from(PIECES_OF_URLS), max_size=7).map("".join)


def made(make, *arguments, **options):
    """Return the result of *make* and ``None``, or ``None`` and our error."""
    try:
        return make(*arguments, **options), None
    except InvalidConfigurationError as refused:
        return None, refused


def config(**changes):
    """Return a valid configuration with *changes*."""
    fields = {"client_id": "id", "client_secret": "secret", "token_url": "https://id.example/t"}
    return made(OAuth2Config, "api", **{**fields, **changes})


@settings(max_examples=400)
@given(URLS | ANY_TEXT | NOT_TEXT)
def test_any_token_url(url):
    """An accepted URL is https or loopback, and so is the URL that requests derives from it."""
    accepted, refused = config(token_url=url)
    if refused:
        assert refused.field == "token_url"
        return
    assert accepted.token_url == url
    try:
        used = parse_url(url)  # the URL that requests uses
    except LocationParseError:
        return  # and sends no request
    assert used.auth is None
    assert used.fragment is None
    if used.scheme != "https":
        assert used.scheme == "http"
        assert used.host == "localhost" or used.host.startswith(("127.", "[::1", "[::ffff:127."))


@given(
    password=st.text(VISIBLE + "é℀①", min_size=6).map(lambda text: "q" + text + "w"),
    scheme=st.sampled_from(["https://", "http://", "ftp://", ""]),
    host=st.sampled_from(["id.example.com", "[::1", "", "a b", "x:port"]),
)
@example("correct/horse", "https://", "id.example.com")
@example("pass℀word", "https://", "id.example.com")
def test_no_url_shows_its_password(password, scheme, host):
    """A URL with credentials is refused, and the message does not repeat any part of them."""
    _, refused = config(token_url=f"{scheme}me:{password}@{host}/token")
    assert refused
    parts = [password]
    for sign in "/?#@:[]\\":
        parts = [*parts, *(part for whole in parts for part in whole.split(sign))]
    assert not any(part in str(refused) for part in parts if len(part) >= 7)


@given(ANY_TEXT | st.lists(SCOPE_TOKENS | ANY_TEXT, max_size=4) | NOT_TEXT)
def test_any_scope(scope):
    """An accepted scope has the form of RFC 6749 §3.3."""
    accepted, refused = config(scope=scope)
    if refused:
        assert refused.field == "scope"
    else:
        assert accepted.scope is None or is_scope(accepted.scope)


@given(st.lists(SCOPE_TOKENS, min_size=1, max_size=5))
def test_all_scopes_of_the_rfc_are_taken(scopes):
    """A list and a string of valid scope-tokens give the same scope."""
    held = [config(scope=given)[0].scope for given in (scopes, " ".join(scopes))]
    assert held == [" ".join(scopes)] * 2


@given(client_id=ANY_TEXT | NOT_TEXT, secret=ANY_TEXT | SECRETS | NOT_TEXT, encode=st.booleans())
@example("id", "\udcff secret", True)  # from an environment variable that is not UTF-8
def test_any_client_password(client_id, secret, encode):
    """A server that follows RFC 6749 §2.3.1 decodes every accepted password unchanged."""
    method = "client_secret_basic"
    auth, refused = made(client_auth, method, client_id, secret, form_encode=encode)
    if refused:
        assert refused.field in ("client_id", "client_secret")
        return
    scheme, _, credentials = proof_of(auth, client_id).authorization.partition(" ")
    assert scheme == "Basic"
    parts = base64.b64decode(credentials, validate=True).decode().partition(":")[::2]
    assert list(map(unquote_plus, parts) if encode else parts) == [client_id, secret]


@given(
    st.dictionaries(
        ANY_TEXT | NOT_TEXT.filter(lambda key: not isinstance(key, list)), ANY_TEXT | NOT_TEXT
    )
    | NOT_TEXT
)
def test_any_parameters(parameters):
    """Additional parameters have allowed types and names, or are refused."""
    accepted, refused = config(additional_params=parameters)
    if refused:
        assert refused.field == "additional_params"
    else:
        assert not {"grant_type", "client_secret", "scope"} & set(accepted.additional_params)


@given(NOT_TEXT | ANY_TEXT | st.booleans() | st.integers(10**300, 10**400))
def test_any_timeout(seconds):
    """A timeout is a number of seconds that a thread can wait, or our error."""
    accepted, refused = made(checked_seconds, seconds, "read_timeout")
    assert refused or 0 < accepted < math.inf


VARIABLES = [
    *["OAUTH2_CLIENT_ID", "OAUTH2_CLIENT_SECRET", "OAUTH2_TOKEN_URL", "OAUTH2_SCOPE"],
    *["AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID", "AZURE_SCOPE", "AZURE_SCOPES"],
    *["OAUTH2_SCOPES", "OAUTH2_CLIENT_SECRET_FILE", "AZURE_CLIENT_SECRET_FILE"],
]
VALUES = ANY_TEXT | st.sampled_from(["", "id", "https://id.example/token", "contoso.example"])


@given(
    name=ANY_TEXT | st.sampled_from(["azure", "oauth2", "api"]),
    environment=st.dictionaries(st.sampled_from(VARIABLES), VALUES),
    secret=SECRETS,
    which=st.sampled_from([None, "OAUTH2_CLIENT_SECRET", "AZURE_CLIENT_SECRET"]),
)
def test_any_environment(name, environment, secret, which):
    """``tokenkeeper get`` creates a provider or reports what is wrong, without showing a secret."""
    if which:
        environment = {**environment, which: secret}
    client, refused = made(spec_from_environment, name, environment)
    if refused:
        shown = str(refused) + repr(vars(refused))
    else:
        provider = client.make_provider()
        shown = repr(client) + repr(provider)
        with TokenKeeper(background=False) as keeper:
            keeper.add_provider(provider)
    others = repr([name, *(value for key, value in environment.items() if key != which)])
    assert secret not in shown or secret in others


@pytest.mark.parametrize("variable", [None, "AZURE_AUTHORITY_HOST"])
@given(
    authority=VALUES | URLS | st.sampled_from(["login.microsoftonline.us", "login.example/tenant"]),
    tenant=VALUES,
)
@example("login.example?", "contoso.example")
def test_any_authority(variable, authority, tenant):
    """An accepted authority is an https host without a path; a tenant is a single name."""
    with pytest.MonkeyPatch.context() as patch:
        if variable and "\0" not in authority and authority.isprintable():
            patch.setenv(variable, authority)
            authority = None
        provider, refused = made(
            AzureADProvider, "api", "id", "secret", tenant, authority=authority
        )
    if refused:
        assert refused.field in ("authority", "tenant_id")
        return
    where = urlsplit(repr(provider).partition(" at ")[2].rstrip(">"))
    assert where.scheme == "https"
    assert where.path == f"/{tenant}"
    assert not where.query
