"""Two-second tokens of Authlib's server, renewed in the background while callers use them."""

import time

LIFETIME = 2
SECONDS = 60
EARLIEST_SECONDS = (LIFETIME - LIFETIME / 20 - 1) / 2  # see tokenkeeper/schedule.py


def test_two_second_tokens(kit, server, make_keeper, make_provider, watch):
    """The API rejects no token, and no caller waits for a renewal while a token is valid.

    One client renews by client credentials. The other gets a refresh token with each token, and
    uses it once, for the next renewal.
    """
    options = {"lifetime_seconds": LIFETIME, "delay_seconds": 0.15}
    server.add_client("plain", **options)
    both = ["client_credentials", "refresh_token"]
    server.add_client("rotating", refresh_tokens=True, grant_types=both, **options)
    names = ["plain", "rotating"]
    watch.margin_seconds = LIFETIME / 20
    keeper = make_keeper(*(make_provider(name, name, refresh_tokens=True) for name in names))
    began = time.monotonic()
    for name in names:
        keeper.get_token(name)

    kit.work(keeper, SECONDS)

    # Counted here, because tokens that are renewed after the work are not presented.
    renewals = {name: keeper.get_cached_token_info(name)["renewals"] for name in names}
    worked_with = sum(renewals.values())

    # A busy machine may stall the test for as long as a token is valid. That proves nothing and may
    # cost one more request, but it must not be the usual case.
    stalls = len(set(watch.expired))

    def quiet_stats(name):
        """Return the counts at a moment without a renewal in flight."""

        def quiet():
            renewals[name] = keeper.get_cached_token_info(name)["renewals"]
            return server.stats(name)["token_requests"] <= renewals[name] + 1 + stalls

        kit.until(quiet, "one request for each renewal")
        return server.stats(name)

    for name in names:
        stats = quiet_stats(name)
        took = time.monotonic() - began
        assert SECONDS / LIFETIME / 2 <= renewals[name] <= took / EARLIEST_SECONDS
        assert stats["most_at_once"] == 1
        assert stats["families_revoked"] == 0
    assert server.stats("rotating")["grants_by_client_credentials"] == 1
    # The last token of each client may have been too late, and one in each stall.
    assert len(set(watch.accepted)) >= worked_with - stalls - len(watch.late)
    assert stalls <= sum(renewals.values()) / 4
    assert len(watch.late) <= len(watch.accepted) / 4


def test_one_slow_answer(kit, server, make_keeper, make_provider, watch):
    """An answer that arrives after its token's expiry costs a retry, not a cooldown."""
    watch.margin_seconds = LIFETIME / 20
    server.add_client("client", lifetime_seconds=LIFETIME, delay_seconds=LIFETIME + 0.2)
    keeper = make_keeper(make_provider("api", "client"), cooldown_seconds=600)

    def heal():
        kit.until(lambda: server.stats("client")["token_requests"], "the slow request")
        server.add_client("client", lifetime_seconds=LIFETIME)

    *tokens, _ = kit.at_once(*[lambda: keeper.get_token("api")] * 8, heal)
    assert len(set(tokens)) == 1
    # Each caller presented it at once; only a stall for its whole lifetime makes all of them late.
    assert set(watch.accepted) == {tokens[0]} or len(watch.late) == 8
    assert server.stats("client")["token_requests"] == 2
