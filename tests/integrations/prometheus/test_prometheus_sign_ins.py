"""The metrics of grants that a person begins by signing in."""

from datetime import UTC, datetime

import pytest
from prometheus_client import generate_latest

from tokenkeeper import AuthorizationRequiredError, TokenAcquisitionError, TokenName
from tokenkeeper.events import (
    AcquisitionFailed,
    ProviderRemoved,
    RenewalFailed,
    SignInCompleted,
    SignInFailed,
    TokenAcquired,
    TokenAdopted,
    TokenCleared,
)
from tokenkeeper.integrations.prometheus import PrometheusHook
from tokenkeeper.names import TokenParameters

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ACME = TokenName.of("api", TokenParameters(account="acme"))
CODE = "authorization_code"


def needed(name="", kind=AcquisitionFailed):
    """Return the event of a token that only a person can bring back."""
    return kind("api", NOW, 0, 0.0, 0.0, None, None, "", needs_sign_in=True, token_name=name)


def granted(name=""):
    return TokenAcquired("api", NOW, 1, 0.5, 3600.0, token_name=name)


@pytest.fixture
def hook(registry):
    return PrometheusHook(registry)


def test_a_keeper_says_so(keeper, provider, value):
    """The gauge is 1 from the failure on until there is a token, and the reason is counted."""
    provider.script.append(AuthorizationRequiredError("a person has to sign in", transient=False))
    with pytest.raises(AuthorizationRequiredError):
        keeper.get_token("api")
    assert value("sign_in_needed") == 1
    assert value("token_failures_total", kind="acquisition", reason="sign_in_needed") == 1
    keeper.get_token("api")
    assert value("sign_in_needed") == 0


def test_other_failures_need_nobody(keeper, provider, value):
    """A server that is down, or a wrong secret, sets no gauge."""
    provider.script.append(TokenAcquisitionError("no", error="invalid_client", transient=False))
    with pytest.raises(TokenAcquisitionError):
        keeper.get_token("api")
    assert value("sign_in_needed") is None


def test_the_server_s_reason_is_kept(hook, registry):
    """A refused refresh token is counted by the server's error code."""
    hook(AcquisitionFailed("api", NOW, 1, 0.1, 0.0, "invalid_grant", 400, "", needs_sign_in=True))
    assert 'reason="invalid_grant"' in generate_latest(registry).decode()


@pytest.mark.parametrize(
    "event",
    [
        granted(),
        TokenAdopted(
            "api", NOW, age_seconds=1.0, remaining_seconds=9.0, generation=1, granted_to="host:1"
        ),
        TokenCleared("api", NOW),
        SignInCompleted("api", NOW, grant_type=CODE),
    ],
    ids=["granted", "adopted", "cleared", "completed"],
)
def test_what_ends_it(hook, value, event):
    """A token, wherever it comes from, and a sign-in set the gauge to 0."""
    hook(needed())
    assert value("sign_in_needed") == 1
    hook(event)
    assert value("sign_in_needed") == 0


def test_the_worst_of_several_accounts(hook, value):
    """The gauge is 1 while any account that had a token needs a sign-in."""
    hook(needed(ACME))
    assert value("sign_in_needed") is None  # anybody may ask for any account
    hook(granted(ACME))
    hook(granted())
    hook(needed(ACME, RenewalFailed))
    hook(needed())
    hook(granted())
    assert value("sign_in_needed") == 1
    hook(granted(ACME))
    assert value("sign_in_needed") == 0


def test_sign_ins_are_counted(hook, value):
    """Each sign-in that ended is counted, by its outcome."""
    hook(SignInCompleted("api", NOW, grant_type=CODE))
    hook(SignInFailed("api", NOW, grant_type=CODE, error="access_denied", reason="no"))
    assert value("sign_ins_total", outcome="completed") == 1
    assert value("sign_ins_total", outcome="failed") == 1


def test_a_removed_provider(hook, value, registry):
    """A provider that is removed has no time series any more."""
    hook(needed())
    hook(SignInCompleted("api", NOW, grant_type=CODE))
    hook(needed())
    hook(ProviderRemoved("api", NOW))
    assert value("sign_in_needed") is None
    assert value("sign_ins_total", outcome="completed") is None
    hook(granted())
    assert value("sign_in_needed") is None


def test_many_providers(registry):
    """Providers beyond the limit share a counter, and have no gauge."""
    hook = PrometheusHook(registry, max_providers=1)
    hook(TokenCleared("another", NOW))
    hook(needed())
    hook(SignInCompleted("api", NOW, grant_type=CODE))
    page = generate_latest(registry).decode()
    assert 'tokenkeeper_sign_ins_total{outcome="completed",provider="_other"} 1.0' in page
    assert "tokenkeeper_sign_in_needed{" not in page
