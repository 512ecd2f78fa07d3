"""The errors about providers, names and hooks: whole messages, and the attributes to act on."""

import pytest

from tokenkeeper import (
    InvalidConfigurationError,
    KeeperClosedError,
    OAuth2Error,
    UnknownProviderError,
)
from tokenkeeper._renewal.notifier import Notifier
from tokenkeeper._renewal.registry import Registry, checked_provider, unknown_provider
from tokenkeeper.testing import StaticProvider


def raised_by(call, *args, **options):
    """Return the error that the call raises."""
    with pytest.raises(OAuth2Error) as caught:
        call(*args, **options)
    return caught.value


def registry(*names):
    filled = Registry()
    for name in names:
        filled.add(StaticProvider(name, "a token"))
    return filled


def closed_registry():
    closed = registry("api")
    closed.close()
    return closed


def twice(*providers):
    filled = Registry()
    for provider in providers:
        filled.add(provider)


def without_a_name():
    provider = object.__new__(StaticProvider)
    assert not hasattr(provider, "provider_name")
    return provider


ONE = StaticProvider("api", "a token")

ERRORS = {
    "closed": (
        lambda: raised_by(closed_registry().find, "api"),
        KeeperClosedError,
        "the keeper is closed. Create a new one.",
        {"provider_name": None},
    ),
    "the same provider": (
        lambda: raised_by(twice, ONE, ONE),
        InvalidConfigurationError,
        "this provider is already registered as 'api'. Add each provider once.",
        {"provider_name": "api", "field": "provider_name"},
    ),
    "the same name": (
        lambda: raised_by(twice, ONE, StaticProvider("api", "another token")),
        InvalidConfigurationError,
        "duplicate provider name 'api'. Choose another, or call remove_provider() first.",
        {"provider_name": "api", "field": "provider_name"},
    ),
    "swapped": (
        lambda: raised_by(registry("api").check_order, "a-1", "api"),
        InvalidConfigurationError,
        "the arguments are swapped. Call renew_refused(provider_name, refused_token).",
        {"provider_name": None, "field": "refused_token"},
    ),
    "a header": (
        lambda: raised_by(registry("api").check_order, "api", "Bearer a-1"),
        InvalidConfigurationError,
        "refused_token must be the token alone, without 'Bearer '.",
        {"provider_name": None, "field": "refused_token"},
    ),
    "a token as a name": (
        lambda: raised_by(registry("api").find, "eyJhbGciOi"),
        UnknownProviderError,
        (
            "no provider is registered under that name, which is not shown because it may be a "
            "token. Pass the provider's name."
        ),
        {"provider_name": None},
    ),
    "a near name": (
        lambda: raised_by(registry("orders", "billing").find, "order"),
        UnknownProviderError,
        "no provider is registered as 'order'. Did you mean 'orders'?",
        {"provider_name": "order"},
    ),
    "another name": (
        lambda: raised_by(registry("orders", "billing").find, "x"),
        UnknownProviderError,
        "no provider is registered as 'x'. Registered: billing, orders.",
        {"provider_name": "x"},
    ),
    "many names": (
        lambda: unknown_provider("x", [f"name-{number:02}" for number in range(22)]),
        UnknownProviderError,
        "no provider is registered as 'x'. Registered: "
        + ", ".join(f"name-{number:02}" for number in range(20))
        + ", and 2 more.",
        {"provider_name": "x"},
    ),
    "as many names as are listed": (
        lambda: unknown_provider("x", [f"name-{number:02}" for number in range(20)]),
        UnknownProviderError,
        "no provider is registered as 'x'. Registered: "
        + ", ".join(f"name-{number:02}" for number in range(20))
        + ".",
        {"provider_name": "x"},
    ),
    "no names": (
        lambda: raised_by(registry().find, "x"),
        UnknownProviderError,
        (
            "no provider is registered as 'x'. No provider is registered yet. Call add_provider() "
            "first."
        ),
        {"provider_name": "x"},
    ),
    "not a provider": (
        lambda: raised_by(checked_provider, StaticProvider),
        InvalidConfigurationError,
        (
            "provider must be a BaseOAuth2Provider, not the class StaticProvider (call it to "
            "create an instance): derive from it, and pass an instance"
        ),
        {"provider_name": None, "field": "provider"},
    ),
    "a provider without a name": (
        lambda: raised_by(checked_provider, without_a_name()),
        InvalidConfigurationError,
        (
            "StaticProvider has no provider_name. Its __init__ must call "
            "super().__init__(provider_name)."
        ),
        {"provider_name": None, "field": "provider_name"},
    ),
    "not a hook": (
        lambda: raised_by(Notifier, ["print"], lambda call: False),
        InvalidConfigurationError,
        "a hook must be callable with one event; str is not.",
        {"provider_name": None, "field": "hooks"},
    ),
}


@pytest.mark.parametrize(("make", "kind", "message", "attributes"), ERRORS.values(), ids=ERRORS)
def test_errors(make, kind, message, attributes):
    """Each error says what happened and what to do, and its attributes say it to programs."""
    error = make()
    assert type(error) is kind
    assert str(error) == message
    assert {name: getattr(error, name) for name in attributes} == attributes
