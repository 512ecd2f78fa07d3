"""The memory that each provider takes in a service with a thousand of them."""

import gc
import tracemalloc

import pytest
import requests

from tokenkeeper import GenericOAuth2Provider, OAuth2Config
from tokenkeeper._support import sharing
from tokenkeeper._support.sharing import Shared
from tokenkeeper.testing import SteppedClock

URL = "https://id.example.com/token"
MOST_BYTES = 650


def provider(number=0, **options):
    return GenericOAuth2Provider(OAuth2Config(f"api-{number}", f"me-{number}", "x", URL), **options)


def test_a_provider_is_small():
    """A provider with common options takes little memory, including its configuration."""
    keep = [provider()]
    gc.collect()
    tracemalloc.start()
    try:
        keep += [provider(number) for number in range(500)]
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held / 500 < MOST_BYTES


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"verify": "/some/ca.pem"},
        {"read_timeout": 3, "accept": "text/plain", "accept_token_types": ["N_A"]},
        {"never_expires": True, "request_format": "json"},
    ],
    ids=str,
)
def test_equal_options_are_held_once(options):
    """Only providers with equal options share the objects derived from them."""
    first, second, other = provider(1, **options), provider(2, **options), provider(3, verify=False)
    assert first._client.transport is second._client.transport is not other._client.transport
    assert first._reading is second._reading
    assert first._client.style is second._client.style


@pytest.mark.parametrize(
    "make", [lambda: {"session": requests.Session()}, lambda: {"clock": SteppedClock()}]
)
def test_what_a_caller_hands_in_is_not_kept(make):
    """A transport with a caller's session or clock is not shared."""
    options = make()
    assert provider(1, **options)._client.transport is not provider(2, **options)._client.transport


def test_headers_are_not_shared():
    """A header's value may be a secret, so it lives as long as its provider."""
    options = {"headers": {"X-API-Key": "secret"}}
    assert provider(1, **options)._client.style is not provider(2, **options)._client.style


def test_few_values_are_shared(monkeypatch):
    """Beyond a limit, values are not cached."""
    monkeypatch.setattr(sharing, "MOST_VALUES", 2)
    shared = Shared()
    assert [shared.one(key, value) for key, value in ("aA", "bB", "cC")] == ["A", "B", "C"]
    assert [shared.one(key, "new") for key in "abc"] == ["A", "B", "new"]
