"""Tokens that can't be served, with the only refresh token that is still good."""

import pytest

from tokenkeeper import RetryPolicy, TokenAcquisitionError

ONCE = RetryPolicy(attempts=1)


def test_dead_on_arrival(family, strict):
    """The refresh token of a token that expired before it arrived is stored all the same."""
    strict.lifetime = -1.0
    with pytest.raises(TokenAcquisitionError, match="expired"):
        family.keeper(retry=ONCE).get_token("api")
    strict.lifetime = 3600.0
    assert family.keeper(retry=ONCE).get_token("api") == "token-2"
    assert not strict.is_revoked


def test_a_repeatable_grant_stores_no_useless_token(fleet, server, store):
    """Where the request can be repeated, a token that can't be served is not stored."""
    server.lifetime = -1.0
    keeper = fleet.keeper(retry=ONCE)
    with pytest.raises(TokenAcquisitionError, match="expired"):
        keeper.get_token("api")
    assert all(record.generation == 0 for record in map(store.read, store.keys()))
