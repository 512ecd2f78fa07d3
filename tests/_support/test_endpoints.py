"""The issuer and the endpoints in a configuration."""

import pickle
from dataclasses import replace
from typing import get_args

import pytest

from tokenkeeper import InvalidConfigurationError, OAuth2Config
from tokenkeeper._support.endpoints import ENDPOINTS, origin_of
from tokenkeeper.oauth.server import Endpoint

URL = "https://id.example.com/token"
ISSUER = "https://id.example.com/tenant1"


def config(*arguments, **options):
    return OAuth2Config("api", "me", "secret", *arguments, **options)


def test_the_names_are_those_of_the_servers():
    """A configuration takes the endpoints that are used; keys are found by metadata alone."""
    assert tuple(each for each in get_args(Endpoint) if each != "jwks_uri") == ENDPOINTS


@pytest.mark.parametrize(
    "issuer",
    [
        ISSUER,
        "https://id.example.com",
        "https://id.example.com/",
        "https://id.example.com/tenant1/",
        "http://localhost:8080",
        "http://[::1]/a",
    ],
)
def test_an_issuer_is_kept_verbatim(issuer):
    """An issuer takes the place of the token endpoint, and no character of it changes."""
    assert config(issuer=issuer).issuer == issuer
    assert config(issuer=issuer).token_url == ""
    assert config(None, issuer=issuer).token_url == ""


MISTAKES = [
    ({}, "token_url", "token_url is empty. Set it, or set issuer"),
    ({"token_url": None}, "token_url", "must be a string"),
    ({"issuer": ISSUER, "token_url": URL}, "issuer", "can't be combined with token_url"),
    ({"issuer": ""}, "issuer", "is empty"),
    ({"issuer": 7}, "issuer", "must be a string"),
    ({"issuer": "id.example.com"}, "issuer", "must be an absolute https:// URL"),
    ({"issuer": "http://id.example.com"}, "issuer", "must be https://"),
    ({"issuer": f"{ISSUER}?a=b"}, "issuer", "must not contain a query"),
    ({"issuer": f"{ISSUER}#a"}, "issuer", "must not contain a fragment"),
    (
        {"issuer": f"{ISSUER}/.well-known/openid-configuration"},
        "issuer",
        f"must be the issuer itself, such as {ISSUER!r}",
    ),
    ({"token_url": URL, "endpoints": [URL]}, "endpoints", "must be a mapping of names to URLs"),
    (
        {"token_url": URL, "endpoints": {"revokation_endpoint": URL}},
        "endpoints",
        "unknown name, 'revokation_endpoint'. Did you mean 'revocation_endpoint'?",
    ),
    ({"token_url": URL, "endpoints": {7: URL}}, "endpoints", "unknown name, 7. Known are author"),
    (
        {"token_url": URL, "endpoints": {"token_endpoint": URL}},
        "endpoints",
        "can't contain token_endpoint beside token_url",
    ),
    (
        {"issuer": ISSUER, "endpoints": {"token_endpoint": "http://id.example.com/t"}},
        "endpoints.token_endpoint",
        "must be https://",
    ),
]


@pytest.mark.parametrize(("options", "field", "problem"), MISTAKES, ids=lambda each: str(each)[:40])
def test_mistakes(options, field, problem):
    """A server that can't be found is refused, with the field and what to do."""
    with pytest.raises(InvalidConfigurationError) as caught:
        config(**options)
    assert caught.value.field == field
    assert caught.value.provider_name == "api"
    assert str(caught.value).startswith("provider 'api': ")
    assert problem in str(caught.value)


def test_the_repr():
    """The repr shows where the server is, without queries, which may contain secrets."""
    assert "token_url='https://id.example.com/token'" in repr(config(URL))
    shown = repr(config(issuer=ISSUER, endpoints={"revocation_endpoint": f"{URL}?key=hunter2"}))
    assert f"issuer={ISSUER!r}, endpoints={{'revocation_endpoint': {URL!r}}}" in shown
    assert "token_url" not in shown


def test_a_copy_is_equal():
    """A configuration survives pickling and replacement, with its issuer and its endpoints."""
    given = {"revocation_endpoint": URL}
    one = config(issuer=ISSUER, endpoints=given)
    given.clear()
    assert pickle.loads(pickle.dumps(one)) == one == replace(one, provider_name="api")
    assert one.endpoints == {"revocation_endpoint": URL}
    assert one != config(issuer=ISSUER)
    assert config(URL) != config(issuer=URL)
    beside = config(URL, endpoints={"revocation_endpoint": URL})
    assert pickle.loads(pickle.dumps(beside)) == beside
    with pytest.raises(TypeError):
        one.endpoints["token_endpoint"] = URL


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://ID.test/a", ("https", "id.test", 443)),
        ("https://id.test:443", ("https", "id.test", 443)),
        ("HTTP://id.test/a", ("http", "id.test", 80)),
        ("http://id.test:8080/a", ("http", "id.test", 8080)),
    ],
)
def test_an_origin(url, origin):
    """An origin is scheme, host and port, in whatever way they are spelled."""
    assert origin_of(url) == origin
