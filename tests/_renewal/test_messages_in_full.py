"""The errors of the slow path as callers see them: whole messages, and the attributes to act on."""

from datetime import UTC, datetime, timedelta

import pytest

from tokenkeeper import (
    BaseOAuth2Provider,
    KeeperClosedError,
    OAuth2Error,
    OAuth2Token,
    TokenAcquisitionError,
    TokenRejectedError,
    TokenWaitTimeoutError,
)
from tokenkeeper._renewal.attempt import request_token
from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.need import Need
from tokenkeeper._renewal.rejections import Rejections
from tokenkeeper._renewal.runner import closed_meanwhile
from tokenkeeper.schedule import Deadlines
from tokenkeeper.testing import SteppedClock


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


def rejecting(*, insists):
    rejections = Rejections(SteppedClock())
    for number in range(4):
        token = f"a-{number}"
        rejections.granted("api", token)
        rejections.note("api", token)
    if insists:
        rejections.granted_again("api")
    return rejections


ERRORS = {
    "a caller's timeout": (
        lambda: Need("api", 1).timeout_error(),
        TokenWaitTimeoutError,
        (
            "provider 'api': no new token arrived within the timeout of this call. The request "
            "goes on: call again, or allow more time."
        ),
        {"provider_name": "api", "transient": True},
    ),
    "endless recursion": (
        lambda: requested(RecursionError()),
        TokenAcquisitionError,
        (
            "provider 'api' called itself endlessly. Check that acquire_token and refresh_token do "
            "not call each other."
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
            "provider 'api' needs a thread, and this host starts none (can't start new thread). "
            "Raise the host's limit, or use a provider that makes its request on the calling "
            "thread."
        ),
        {"provider_name": "api", "transient": True},
    ),
    "the same token": (
        lambda: requested(1.0, replaces=1.0),
        TokenAcquisitionError,
        (
            "provider 'api': the server granted the same token again, and it is about to expire. "
            "The next request follows in 1.1 s."
        ),
        {"provider_name": "api", "transient": True, "retry_after": 1.1},
    ),
    "the same token, at its very end": (
        lambda: requested(0.0, replaces=0.0),
        TokenAcquisitionError,
        (
            "provider 'api': the server granted the same token again, and it is about to expire. "
            "The next request follows in 0.3 s."
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
            "provider 'api': the token had already expired when it was granted, and the request "
            "took 0.5 s. Check the clocks of this machine and of the server, or fix the provider."
        ),
        {"provider_name": "api", "transient": False},
    ),
    "expired at the moment of its grant": (
        lambda: requested(0.0),
        TokenAcquisitionError,
        (
            "provider 'api': the token had already expired when it was granted, and the request "
            "took 0.0 s. Check the clocks of this machine and of the server, or fix the provider."
        ),
        {"provider_name": "api", "transient": False},
    ),
    "valid for a second": (
        lambda: requested(1.0, takes=1.0),
        TokenAcquisitionError,
        (
            "provider 'api': the token expired before it arrived: it was valid for 1.0 s, and the "
            "request took 1.0 s. If this persists, have the server grant a longer lifetime."
        ),
        {"provider_name": "api", "transient": True},
    ),
    "expired while the clock drifted": (
        lambda: requested(-5.0, sets=-1.0),
        TokenAcquisitionError,
        (
            "provider 'api': the token had already expired when it was granted, and the request "
            "took 0.0 s. Check the clocks of this machine and of the server, or fix the provider."
        ),
        {"provider_name": "api", "transient": False},
    ),
    "expired because the clock was set": (
        lambda: requested(-5.0, takes=0.5, sets=-60.0),
        TokenAcquisitionError,
        (
            "provider 'api': the token had already expired when it was granted, and the request "
            "took 0.5 s. The clock was set during the request, so another one may succeed."
        ),
        {"provider_name": "api", "transient": True},
    ),
    "an API that rejects": (
        lambda: rejecting(insists=False).error("api"),
        TokenRejectedError,
        (
            "provider 'api': the API rejects newly granted tokens (4 in a row). Check the token's "
            "audience and scope, this machine's clock, and whether the API trusts this "
            "authorization server. For 30 s, rejections cause no token request."
        ),
        {"provider_name": "api", "transient": False, "retry_after": 30.0},
    ),
    "a server that insists": (
        lambda: rejecting(insists=True).error("api"),
        TokenRejectedError,
        (
            "provider 'api': the API rejected the token, and the authorization server granted the "
            "same token again. Revoke it there, or wait until it expires. If the credentials keep "
            "a cache of their own, clear it. For 30 s, rejections cause no token request."
        ),
        {"provider_name": "api", "transient": False, "retry_after": 30.0},
    ),
    "closed meanwhile": (
        closed_meanwhile,
        KeeperClosedError,
        "the keeper was closed while this token was requested",
        {"provider_name": None},
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
