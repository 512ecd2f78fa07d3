"""The events of many threads that do different things: a possible history."""

import random
from contextlib import suppress

import pytest

from tokenkeeper import OAuth2Error, TokenAcquisitionError
from tokenkeeper.events import (
    AcquisitionFailed,
    CooledDown,
    RenewalFailed,
    ServedStale,
    TokenAcquired,
    TokenCleared,
    TokenDenied,
    TokenGranted,
    TokenRefused,
    TokenRenewed,
)
from tokenkeeper.retry import RetryPolicy

DOWN = TokenAcquisitionError("down", status_code=503)

HELD_BEFORE = {
    TokenAcquired: False,
    AcquisitionFailed: False,
    TokenRenewed: True,
    RenewalFailed: True,
    ServedStale: True,
    TokenRefused: True,
    TokenCleared: True,
}
"""For each kind of event, whether a token is cached when it happens."""


def check_life(events):
    """Raise an error unless *events* of one provider can have happened in this order."""
    held, before = False, None
    for event in events:
        kind = type(event)
        assert HELD_BEFORE.get(kind, held) is held, (before, event)
        if kind in (ServedStale, CooledDown):
            assert isinstance(before, TokenDenied), (before, event)
        held = (held or isinstance(event, TokenGranted)) and kind is not TokenCleared
        before = event


@pytest.mark.parametrize("background", [True, False])
def test_order_and_count(kit, make_keeper, background):
    """However 64 threads collide, each hook gets all events, in an order that is possible."""
    source = kit.Source(retry=RetryPolicy(attempts=1))
    keeper = make_keeper(source, background=background, cooldown_seconds=0)
    told, told_too = [], []
    keeper.add_hook(told.append)
    keeper.add_hook(lambda event: (told_too.append(event), keeper.health()))
    draw = random.Random(7)
    # One of each first, because clearing threads are sometimes faster than renewing ones.
    keeper.get_token("api")
    keeper.get_token("api", force_refresh=True)
    clears = [keeper.clear_token("api")]

    def act():
        for _ in range(40):
            source.error = DOWN if draw.random() < 0.1 else None
            with suppress(OAuth2Error):
                token = keeper.get_token("api", force_refresh=draw.random() < 0.3)
                if draw.random() < 0.01:
                    clears.append(keeper.clear_token("api"))
                elif draw.random() < 0.1:
                    keeper.renew_refused("api", token)

    kit.crowd(64, act).join()
    keeper.close()
    check_life(told)
    assert told == told_too
    assert {type(event) for event in told} >= {TokenAcquired, TokenRenewed, TokenCleared}
    outcomes = [event for event in told if isinstance(event, TokenGranted | TokenDenied)]
    # The token of a request that was in flight during a clear is not reported.
    assert source.requests - len(clears) <= len(outcomes) <= source.requests
