"""Fuzzed servers that echo requests: no secret appears in errors, logs or reprs."""

import base64
import html
import io
import json
import logging
import re
import traceback
from urllib.parse import quote, quote_plus, unquote, unquote_plus

import pytest
import requests
import urllib3
from fuzz.oracle import fits_header
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tokenkeeper import (
    AzureADProvider,
    GenericOAuth2Provider,
    OAuth2Config,
    OAuth2Error,
    RetryPolicy,
    TokenKeeper,
)
from tokenkeeper.oauth.redaction import sanitize

pytestmark = pytest.mark.slow

ONCE = RetryPolicy(attempts=1)


class Played(requests.adapters.BaseAdapter):
    """Responds with a function of the request, and records the requests."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer
        self.requests = []

    def send(self, request, **_):
        self.requests.append(request)
        status, body, headers = self.answer(request)
        response = requests.Response()
        response.status_code = status
        response.headers.update(headers)
        response.raw = urllib3.HTTPResponse(io.BytesIO(body), preload_content=False)
        response.request = request
        return response

    def close(self):
        pass

    def session(self):
        session = requests.Session()
        session.mount("https://", self)
        session.mount("http://", self)
        return session


class Log(logging.Handler):
    """Records everything that is logged."""

    def __init__(self):
        super().__init__()
        self.text = ""

    def emit(self, record):
        self.text += self.format(record)


def all_that_shows(provider):
    """Request a token through a keeper; return everything that is visible, and the token."""
    log, logger = Log(), logging.getLogger("tokenkeeper")
    logger.addHandler(log)
    shown, token = [], None
    try:
        with TokenKeeper(background=False) as keeper:
            keeper.add_provider(provider)
            for force in (False, True):
                try:
                    token = keeper.get_token("api", force_refresh=force)
                except OAuth2Error as error:
                    shown += [repr(error), repr(vars(error)), *traceback.format_exception(error)]
            shown += [repr(keeper), repr(provider), repr(keeper.get_cached_token_info("api"))]
    finally:
        logger.removeHandler(log)
    return "\n".join([*shown, log.text]), token


def basic(secret):
    return base64.b64encode(f"id:{quote(secret, safe='')}".encode()).decode()


ENCODINGS = [
    str,
    quote,
    quote_plus,
    html.escape,
    lambda s: quote(s, safe=""),
    lambda s: base64.b64encode(s.encode()).decode(),
    lambda s: json.dumps(s)[1:-1],
    lambda s: re.sub("%..", lambda found: found[0].lower(), quote(s, safe="")),
]
SECRETS = st.text("abcXYZ019 .~-_%+/&<>\"'\\!*()=äß漢", min_size=8, max_size=40).map(
    lambda text: f"q{text}7"
)


def check_hidden(shown, secret):
    """Fail if *shown* contains *secret*, plain or encoded."""
    for decode in (str, unquote, unquote_plus, html.unescape):
        assert secret[:8] not in decode(shown)  # nor half of it, where text is truncated
    for encode in ENCODINGS:
        assert encode(secret) not in shown


@given(
    secret=SECRETS,
    encode=st.sampled_from([*ENCODINGS, basic]),
    method=st.sampled_from(["client_secret_basic", "client_secret_post"]),
    status=st.sampled_from([200, 302, 400, 401, 500]),
    place=st.sampled_from(["error", "error_description", "page", "header", "raised", "refresh"]),
    before=st.text(max_size=30) | st.integers(250, 310).map(lambda count: "x" * count),
)
def test_a_server_that_echoes_the_secret(secret, encode, method, status, place, before):
    """Errors, logs and reprs do not repeat a secret from a response, in any encoding."""
    words = before + encode(secret) + before

    def answer(request):
        if place == "raised":
            raise requests.ConnectionError(words, request=request)
        if place == "page":
            return status, f"<html>{words}".encode(), {"Content-Type": "text/html"}
        if place == "header":
            return status, b"{}", {"Retry-After": words, "Location": words, "Date": words}
        if place == "refresh":
            said = {"access_token": "abc", "refresh_token": "abc", "error": words}
            return status, json.dumps(said).encode(), {}
        return status, json.dumps({"error": "invalid_client", place: words}).encode(), {}

    provider = GenericOAuth2Provider(
        OAuth2Config("api", "id", secret, "https://id.example/token"),
        token_endpoint_auth_method=method,
        session=Played(answer).session(),
        retry=ONCE,
    )
    shown, token = all_that_shows(provider)
    assert token is None
    check_hidden(shown, secret)


@given(secret=SECRETS, encode=st.sampled_from(ENCODINGS), refresh=st.booleans())
def test_tokens_are_not_shown_either(secret, encode, refresh):
    """An echoed refresh token, and an access token beside an error, are hidden."""
    secret = re.sub("[^\x21-\x7e]", "x", secret)
    granted = {"access_token": "abc", "refresh_token": secret}
    refused = {"error": "server_error", "error_description": f"bad: {encode(secret)}"}
    if not refresh:
        granted, refused = {}, {**refused, "access_token": secret}

    def answer(_):
        return 200, json.dumps(granted if len(played.requests) == 1 else refused).encode(), {}

    played = Played(answer)
    config = OAuth2Config("api", "id", "another secret", "https://id.example/token")
    shown, token = all_that_shows(
        GenericOAuth2Provider(config, session=played.session(), retry=ONCE, refresh_tokens=True)
    )
    assert token == ("abc" if refresh else None)
    check_hidden(shown, secret)


@pytest.mark.parametrize(
    "encode",
    [
        lambda s: quote(s, safe="!*'()"),
        lambda s: json.dumps(s, ensure_ascii=False)[1:-1],
        lambda s: json.dumps(s)[1:-1].replace("/", "\\/"),
    ],
    ids=["encodeURIComponent", "JSON.stringify", "json_encode of PHP"],
)
def test_how_others_encode(encode):
    """JavaScript and PHP leave other characters unencoded than Python does."""
    secret = 'pa/ss!w(rd)="é'
    assert sanitize(f"you sent {encode(secret)} to us", [secret]) == "you sent [hidden] to us"


# ---- Entra ID, through msal

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=5,
)
LOGIN = "https://login.microsoftonline.com/contoso.example"
ENDPOINTS = st.sampled_from(
    [
        *[f"{LOGIN}/token", "https://evil.example/token", "http://evil.example/token", "/token"],
        *["http://127.0.0.1:9/token", "https://me:pw@evil.example/", "https://[", "file:///x", ""],
    ]
)
DOCUMENTS = st.fixed_dictionaries(
    {"token_endpoint": ENDPOINTS | JSON, "authorization_endpoint": ENDPOINTS | JSON},
    optional={"issuer": st.sampled_from([f"{LOGIN}/v2.0", "https://evil.example"]) | JSON},
)
BODY = st.binary(max_size=50) | st.one_of(JSON, DOCUMENTS).map(
    lambda said: json.dumps(said).encode()
)


@settings(max_examples=200)
@given(
    document=BODY,
    status=st.sampled_from([200, 200, 200, 302, 400, 503]),
    body=st.sampled_from([b'{"access_token": "abc", "expires_in": 3600}']) | BODY,
)
@example(
    json.dumps(
        {
            "token_endpoint": "https://me:pw@evil.example/token",
            "authorization_endpoint": f"{LOGIN}/authorize",
            "issuer": f"{LOGIN}/v2.0",
        }
    ).encode(),
    200,
    b"{}",
)
def test_any_answers_of_entra(document, status, body):
    """Any response gives a token or our error, and the secret is sent over https only."""
    secret = "q/hunter2+hunter2"

    def answer(request):
        return (status, document, {}) if request.method == "GET" else (200, body, {})

    played = Played(answer)
    provider = AzureADProvider(
        "api", "id", secret, "contoso.example", session=played.session(), retry=ONCE
    )
    shown, token = all_that_shows(provider)
    assert token is None or fits_header(token)
    check_hidden(shown, secret)
    for request in played.requests:
        if request.method == "POST":
            assert request.url.startswith(("https://", "http://127.0.0.1:9/"))
            assert "@" not in request.url
        else:
            assert secret not in repr([request.url, request.body, request.headers])
