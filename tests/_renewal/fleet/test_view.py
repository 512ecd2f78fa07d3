"""A record, opened."""

import math
from datetime import UTC, datetime

import pytest

from tokenkeeper import OAuth2Token
from tokenkeeper._renewal.view import View
from tokenkeeper.schedule import LONGEST_LIFE_SECONDS
from tokenkeeper.stores.base import Record
from tokenkeeper.stores.contents import StoredToken


def view(lifetime, *, requested_at=1_900_000_000.0, expires_after=3600.0):
    """Return a view of a token with these lifetimes."""
    ends = datetime.fromtimestamp(1_900_000_000.0 + expires_after, UTC)
    stored = StoredToken(OAuth2Token("token", "Bearer", ends), "api", requested_at, "host:1")
    return View(Record(generation=3, lifetime_seconds=lifetime), 100.0, stored, 30.0)


def test_without_a_token():
    """Without a token it has no lifetime, and was requested an infinite time ago."""
    empty = View(Record(), 100.0)
    assert (empty.generation, empty.lifetime_seconds) == (0, 0.0)
    assert empty.requested_at == -math.inf


def test_requested_at():
    """The moment of the request is on the keeper's clock, and no later than it was."""
    assert view(3600.0).requested_at == 70.0


@pytest.mark.parametrize(
    ("given", "lifetime"),
    [
        (view(3600.0), 3600.0),
        (view(60.0), 60.0),
        (view(1e300), 3600.0),
        (view(math.nan), 0.0),
        (view(-1.0), 0.0),
        (view(3600.0, expires_after=-1.0), 0.0),
        (view(3600.0, requested_at=math.nan), 0.0),
        (view(1e300, expires_after=100 * 365 * 86400.0), LONGEST_LIFE_SECONDS),
    ],
)
def test_lifetime(given, lifetime):
    """The shorter lifetime counts, ten years at most; one that can't be true counts as 0."""
    assert given.lifetime_seconds == lifetime
