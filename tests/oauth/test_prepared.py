"""Requests that are prepared without requests must equal its own."""

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from tokenkeeper.oauth.prepared import _PREPARED_URL, prepared_request

SECRETS = {
    "grant_type": "client_credentials",
    "scope": "read write",
    "client_secret": "ä€+/= &%\N{WAVING HAND SIGN}",
}


def prepared(method="POST", url="https://id.example.com/token", **parts):
    headers = CaseInsensitiveDict(parts.pop("headers", {}))
    parts = {"params": None, "data": None, **parts}
    return prepared_request(method, url, headers=headers, **parts)


def by_requests(method="POST", url="https://id.example.com/token", **parts):
    return requests.Request(method, url, **parts).prepare()


@pytest.mark.parametrize(
    "parts",
    [
        {"data": SECRETS},
        {"data": {**SECRETS, "resource": ["https://a", "https://b"]}},
        {"data": {**SECRETS, "none": None}},
        {"data": {"resource": ["https://a", "https://b"]}},
        {"data": {}},
        {"data": None},
        {"data": b""},
        {"data": b'{"a": 1}', "headers": {"Content-Type": "application/json"}},
        {"data": "ä=b"},
        {"data": SECRETS, "headers": {"content-type": "text/plain"}},
        {"data": b"", "params": {"scope": ["read"], "a": "b c"}},
        {"method": "GET"},
        {"method": "GET", "params": {"resource": "https://a"}},
        {"data": SECRETS, "url": "HTTPS://ID.example.com:443/a/../b?c=d e"},
        {"data": SECRETS, "url": "https://b\u00fccher.example/token"},
    ],
    ids=str,
)
def test_the_same_as_by_requests(parts):
    """Method, URL, headers and body are the ones that requests would send."""
    ours, theirs = prepared(**parts), by_requests(**parts)
    assert (ours.method, ours.url, ours.body) == (theirs.method, theirs.url, theirs.body)
    assert sorted(ours.headers.items()) == sorted(theirs.headers.items())
    assert ours.hooks == theirs.hooks


@given(st.from_regex(_PREPARED_URL, fullmatch=True))
def test_urls_that_requests_leaves_alone(url):
    """A URL that is not prepared again is one that requests would not change."""
    assert prepared(url=url).url == by_requests(url=url).url


@pytest.mark.parametrize(
    "url",
    [
        "https://id.example.com",
        "https://id.example.com/a/../b",
        "https://id.example.com/.",
        "https://id.example.com/%7e",
        "https://id.example.com/a?b=c",
        "https://ID.example.com/",
        "https://id.example.com:0443/",
        "https://id.example.com:65536/",
        "https://.example.com/",
        "https://*.example.com/",
        "https://[::1]/",
    ],
)
def test_urls_that_requests_may_change(url):
    """Any other URL is left to requests, which corrects it or refuses it."""
    assert not _PREPARED_URL.fullmatch(url)


@pytest.mark.parametrize("url", ["https://", "https://.example.com/", "https://id:65536/"])
def test_urls_that_are_refused(url):
    """A URL that requests refuses is refused."""
    with pytest.raises(requests.RequestException):
        prepared(url=url)
