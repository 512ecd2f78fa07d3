"""The errors of the slow path as callers see them: whole messages, and the attributes to act on."""

from datetime import UTC, datetime, timedelta

import pytest

from tokenkeeper import (
    BaseOAuth2Provider,
    InvalidConfigurationError,
    KeeperClosedError,
    OAuth2Error,
    OAuth2Token,
    TokenAcquisitionError,
    TokenRejectedError,
    TokenWaitTimeoutError,
    UnknownProviderError,
)
from tokenkeeper._renewal.attempt import request_token
from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.need import Need
from tokenkeeper._renewal.notifier import Notifier
from tokenkeeper._renewal.registry import Registry, checked_provider, unknown_provider
from tokenkeeper._renewal.rejections import Rejections
from tokenkeeper._renewal.runner import closed_meanwhile
from tokenkeeper.schedule import Deadlines
from tokenkeeper.testing import StaticProvider, SteppedClock


def raised_by(call, *args, **options):
    """Return the error that the call raises."""
    with pytest.raises(OAuth2Error) as caught:
        call(*args, **options)
    return caught.value


class Answers(BaseOAuth2Provider):
    """Answers with what the test gives it, after the clock was stepped."""

    def __init__(self, clock, answer, *, takes=0.0, sets=0.0):
        super().__init__("api")
        self.clock = clock
        self.answer = answer
        self.takes = takes
        self.sets = sets

    def acquire_token(self):
        self.clock.step(self.takes)
        self.clock.step_wall(self.sets)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def requested(answer, replaces=None, **options):
    """Return the error of a request that *answer* answers; a number is a token's lifetime."""
    clock = SteppedClock()
    if isinstance(answer, float):
        answer = lasting(clock, answer)
    if replaces is not None:
        replaces = cached(clock, replaces)
    provider = Answers(clock, answer, **options)
    return raised_by(request_token, provider, replaces, sent=2, clock=clock, jitter=lambda: 0.0)


def lasting(clock, lifetime):
    ends = datetime.fromtimestamp(clock.time(), UTC) + timedelta(seconds=lifetime)
    return OAuth2Token("a-1", "Bearer", ends)


def cached(clock, lifetime):
    """Return a token like that of :func:`lasting`, which was granted before."""
    now = clock.monotonic()
    times = Deadlines(now, now, now, now + lifetime)
    return CachedToken.of(lasting(clock, lifetime), times, 1, None, 0.0)


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


def rejecting(*, insists):
    rejections = Rejections(SteppedClock())
    for number in range(4):
        token = f"a-{number}"
        rejections.granted("api", token)
        rejections.note("api", token)
    if insists:
        rejections.granted_again("api")
    return rejections


ONE = StaticProvider("api", "a token")

ERRORS = {
    "a caller's timeout": (
        lambda: Need("api", 1).timeout_error(),
        TokenWaitTimeoutError,
        (
            "provider 'api': no new token arrived within the timeout of this call. The request goes "
            "on: call again, or allow more time."
        ),
        {"provider_name": "api", "transient": True},
    ),
    "endless recursion": (
        lambda: requested(RecursionError()),
        TokenAcquisitionError,
        (
            "provider 'api' called itself endlessly. Check that acquire_token and refresh_token do not "
            "call each other."
        ),
        {"provider_name": "api", "transient": False},
    ),
    "no token": (
        lambda: requested({"access_token": "a"}),
        TokenAcquisitionError,
        "provider 'api' returned dict. It must return an OAuth2Token.",
        {"provider_name": "api", "transient": False},
    ),
    "no thread": (
        lambda: requested(RuntimeError("can't start new thread")),
        TokenAcquisitionError,
        (
            "provider 'api' needs a thread, and this host starts none (can't start new thread). Raise "
            "the host's limit, or use a provider that makes its request on the calling thread."
        ),
        {"provider_name": "api", "transient": True},
    ),
    "the same token": (
        lambda: requested(1.0, replaces=1.0),
        TokenAcquisitionError,
        (
            "provider 'api': the server granted the same token again, and it is about to expire. The "
            "next request follows in 1.1 s."
        ),
        {"provider_name": "api", "transient": True, "retry_after": 1.1},
    ),
    "the same token, at its very end": (
        lambda: requested(0.0, replaces=0.0),
        TokenAcquisitionError,
        (
            "provider 'api': the server granted the same token again, and it is about to expire. The "
            "next request follows in 0.3 s."
        ),
        {"provider_name": "api", "transient": True, "retry_after": 0.35},
    ),
    "expired on the way": (
        lambda: requested(2.0, takes=2.5),
        TokenAcquisitionError,
        (
            "provider 'api': the token expired before it arrived: it was valid for 2.0 s, and the "
            "request took 2.5 s. If this persists, have the server grant a longer lifetime."
        ),
        {"provider_name": "api", "transient": True},
    ),
    "expired when granted": (
        lambda: requested(-5.0, takes=0.5),
        TokenAcquisitionError,
        (
            "provider 'api': the token had already expired when it was granted, and the request took "
            "0.5 s. Check the clocks of this machine and of the server, or fix the provider."
        ),
        {"provider_name": "api", "transient": False},
    ),
    "expired because the clock was set": (
        lambda: requested(-5.0, takes=0.5, sets=-60.0),
        TokenAcquisitionError,
        (
            "provider 'api': the token had already expired when it was granted, and the request took "
            "0.5 s. The clock was set during the request, so another one may succeed."
        ),
        {"provider_name": "api", "transient": True},
    ),
    "an API that rejects": (
        lambda: rejecting(insists=False).error("api"),
        TokenRejectedError,
        (
            "provider 'api': the API rejects newly granted tokens (4 in a row). Check the token's "
            "audience and scope, this machine's clock, and whether the API trusts this authorization "
            "server. For 30 s, rejections cause no token request."
        ),
        {"provider_name": "api", "transient": False, "retry_after": 30.0},
    ),
    "a server that insists": (
        lambda: rejecting(insists=True).error("api"),
        TokenRejectedError,
        (
            "provider 'api': the API rejected the token, and the authorization server granted the same "
            "token again. Revoke it there, or wait until it expires. If the credentials keep a cache "
            "of their own, clear it. For 30 s, rejections cause no token request."
        ),
        {"provider_name": "api", "transient": False, "retry_after": 30.0},
    ),
    "closed": (
        lambda: raised_by(closed_registry().find, "api"),
        KeeperClosedError,
        "the keeper is closed. Create a new one.",
        {"provider_name": None},
    ),
    "closed meanwhile": (
        closed_meanwhile,
        KeeperClosedError,
        "the keeper was closed while this token was requested",
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
            "no provider is registered under that name, which is not shown because it may be a token. "
            "Pass the provider's name."
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
            "provider must be a BaseOAuth2Provider, not the class StaticProvider (call it to create an "
            "instance): derive from it, and pass an instance"
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


def test_a_provider_that_asks_for_its_own_token(keeper, source):
    """A provider that needs its own token to request it gets an error that says so."""
    source.acquire_token = lambda: keeper.get_token("api")
    error = raised_by(keeper.get_token, "api")
    assert str(error) == (
        "provider 'api' asked for its own token while requesting it. Use another provider's token "
        "there, or none."
    )
    assert (error.provider_name, error.transient) == ("api", False)
