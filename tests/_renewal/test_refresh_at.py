"""Tokens whose server says when to renew them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from kit import internals

from tokenkeeper import TokenAcquisitionError

OUTAGE = TokenAcquisitionError("down", status_code=503, transient=True)
HOUR = 3600.0


@pytest.fixture
def say(source, clock):
    """Let the server say when to renew its tokens: seconds from each grant."""

    def say(seconds):
        grant = type(source).acquire_token

        def acquire_token():
            token = grant(source)
            now = datetime.fromtimestamp(clock.time(), UTC)
            return replace(token, refresh_at=now + timedelta(seconds=seconds))

        source.acquire_token = acquire_token

    return say


def test_renewed_when_the_server_says(keeper, source, clock, look, say):
    """The scheduler renews at that time; until its buffer begins the token stays fresh."""
    source.lifetime = 24 * HOUR
    say(12 * HOUR)
    keeper.get_token("api")
    clock.step(12 * HOUR - 0.1)
    assert look(keeper) == []
    source.error = OUTAGE
    clock.step(0.2)
    assert look(keeper) == ["api"]
    info = keeper.get_cached_token_info("api")
    assert (info["state"], info["is_expired"], info["failures"]) == ("fresh", False, 1)
    source.error = None
    clock.step(1)
    assert look(keeper) == ["api"]
    assert keeper.get_token("api") == "api-3"


def test_carried_through_a_long_outage(keeper, source, clock, look, say):
    """An outage of eleven hours that begins when the renewal is due causes no caller's error."""
    source.lifetime = 24 * HOUR
    say(12 * HOUR)
    keeper.get_token("api")
    clock.step(12 * HOUR)
    source.error = OUTAGE
    for _ in range(11 * 60):
        look(keeper)
        assert keeper.get_token("api") == "api-1"
        clock.step(60)
    source.error = None
    clock.step(60)
    look(keeper)
    assert keeper.get_token("api") != "api-1"


@pytest.mark.parametrize("seconds", [-1e6, -1, 0, 1, 359])
def test_no_loop(keeper, source, clock, look, say, seconds):
    """A server that always says "now", or a time in the past, causes no renewal loop."""
    say(seconds)
    keeper.get_token("api")
    for _ in range(3600):
        look(keeper)
        keeper.get_token("api")
        clock.step(1)
    assert source.requests <= 10


def test_a_reader_is_not_slowed_down(keeper, clock, say):
    """After that time and before its buffer the token is read without the slow path."""
    say(1800)
    keeper.get_token("api")
    clock.step(2000)
    with internals.without_slow_path(keeper):
        assert keeper.get_token("api") == "api-1"
