"""Providers that are made again in another process."""

import pickle
from urllib.parse import parse_qsl

import pytest
import responses

from tokenkeeper import (
    AzureADProvider,
    BaseOAuth2Provider,
    GenericOAuth2Provider,
    InvalidConfigurationError,
    OAuth2Config,
)
from tokenkeeper.config.reloadable import ReloadableProvider
from tokenkeeper.names import TokenName, TokenParameters
from tokenkeeper.oauth.claims import claimed

URL = "https://id.example.com/token"


def again(provider):
    """Return *provider* as another process makes it."""
    return pickle.loads(pickle.dumps(provider.for_another_process()))()


class Signed(GenericOAuth2Provider):
    """A subclass with an attribute of its own."""

    signature = "none"


def generic(kind=GenericOAuth2Provider, **options):
    parameters = {"refresh_token": "r-1", "extra": ("a", "b")}
    config = OAuth2Config("api", "me", "secret", URL, "read", parameters)
    options = {"headers": {"X-API-Key": "key"}, "total_timeout": 7.0, **options}
    return kind(config, grant_type="refresh_token", **options)


def test_a_generic_provider():
    """It sends the same request as the original, with its class and all its settings."""
    original = generic(Signed)
    original.signature = "mine"
    twin = again(original)
    with responses.RequestsMock() as wire:
        answer = {"access_token": "abc", "token_type": "Bearer", "expires_in": 3600}
        wire.add(responses.POST, URL, json=answer)
        with claimed(lambda: True):
            assert twin.acquire_token().access_token == "abc"
        sent = wire.calls[0].request
    assert parse_qsl(sent.body) == [
        ("refresh_token", "r-1"),
        ("extra", "a"),
        ("extra", "b"),
        ("grant_type", "refresh_token"),
        ("scope", "read"),
    ]
    assert sent.headers["X-API-Key"] == "key"
    assert again(original).describe() == original.describe()
    assert (type(twin), twin.signature, twin.repeatable) == (Signed, "mine", False)
    assert twin.longest_request_seconds == 7.0


def test_a_provider_without_refresh_tokens():
    """A provider that ignores refresh tokens does so there, too."""
    original = GenericOAuth2Provider(OAuth2Config("api", "me", "secret", URL))
    assert again(original).describe() == original.describe()


def test_a_variant():
    """A token whose parameters a caller chose keeps them."""
    parameters = TokenParameters.of(scope="write")
    variant = generic().variant(TokenName.of("api", parameters), parameters)
    twin = again(variant)
    assert (twin.parameters, twin.token_name) == (parameters, variant.token_name)


def test_azure():
    """A provider for Entra ID gets an msal of its own."""
    original = AzureADProvider("azure", "id", "secret", "tenant")
    twin = again(original)
    assert twin.describe() == original.describe()
    assert twin._msal is not original._msal


class Spec:
    """A spec of a provider."""

    provider_name = "api"

    def make_provider(self):
        return generic()


def test_a_configured_provider():
    """What crosses is the provider of the current configuration."""
    assert type(again(ReloadableProvider(Spec(), lambda _: None))) is GenericOAuth2Provider


class Own(BaseOAuth2Provider):
    """A provider that says nothing."""

    def acquire_token(self):
        raise NotImplementedError


class Reduced(Own):
    """A provider that can be pickled."""

    def __reduce__(self):
        return type(self), (self.provider_name,)


def test_other_providers():
    """A custom provider says how it is made, by this method or by ``__reduce__``."""
    assert again(Reduced("api")).provider_name == "api"
    with pytest.raises(InvalidConfigurationError, match=r"Own\.for_another_process") as raised:
        Own("api").for_another_process()
    assert raised.value.provider_name == "api"
    assert not Own("api").continues(Own("api"))
