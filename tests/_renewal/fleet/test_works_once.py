"""Refresh tokens that work once: never lost, never spent twice."""

import pytest
from kit import internals
from kit.stores import FleetProvider, renew_when_due

from tokenkeeper import GenericOAuth2Provider, RetryPolicy, TokenAcquisitionError
from tokenkeeper.testing import LoopbackAuthorizationServer

ONCE = RetryPolicy(attempts=1)
DETACHED = "The store's setting detached: true prevents that."


def error_of(keeper, **options):
    """Return the error of a caller."""
    with pytest.raises(TokenAcquisitionError) as caught:
        keeper.get_token("api", **options)
    return caught.value


class TestOneFamily:
    """All processes use the refresh token that was granted last."""

    def test_in_turn(self, family, clock, strict):
        """Processes renew in turn, each with what the one before received."""
        keepers = family.several(4)
        for number in range(1, 13):
            assert {keeper.get_token("api") for keeper in keepers} == {f"token-{number}"}
            for keeper in keepers[number % 4 :] + keepers[: number % 4]:
                renew_when_due(keeper, clock)
        assert strict.requests == 13
        assert not strict.is_revoked

    def test_restart(self, family, clock, strict):
        """A new process goes on with the stored refresh token, though the token has expired."""
        family.keeper().get_token("api")
        clock.step(86400)
        assert family.keeper().get_token("api") == "token-2"
        assert not strict.is_revoked

    def test_own_token_is_newer_than_the_stored_one(self, family, clock, store, strict):
        """A process whose store came back older at the claim uses its own refresh token."""
        keeper = family.keeper()
        keeper.get_token("api")
        snapshot = store.snapshot()
        renew_when_due(keeper, clock)
        store.roll_back(snapshot)
        clock.step(4000)
        assert keeper.get_token("api") == "token-3"
        assert not strict.is_revoked

    def test_store_s_clock_is_set_back_before_a_token_is_stored(self, family, clock, store, strict):
        """A process waits for a token that another one could not store yet, on any clock."""
        first, second = family.several(2)
        store.go_down("publish", seconds=1.0)
        first.get_token("api")
        store.own_clock.shift -= 3600
        error_of(second, timeout=20)
        for chore in internals.chores(first):
            internals.renew(first, chore)
        assert second.get_token("api") == "token-1"
        assert strict.requests == 1

    def test_record_is_kept(self, family, store):
        """Its record is stored for ever, as the store may drop others after their expiry."""
        kept = []
        publish = store.publish

        def noting(key, **options):
            kept.append(options["keep"])
            return publish(key, **options)

        store.publish = noting
        family.keeper().get_token("api")
        assert kept == [True]

    def test_without_the_store(self, family, clock, store, strict):
        """It is never spent without a claim: valid tokens are served, then callers get an error."""
        keeper = family.keeper(retry=ONCE)
        keeper.get_token("api")
        store.go_down()
        while clock.monotonic() < internals.cached(keeper).dead_at - 1:
            clock.step(min(100, internals.cached(keeper).dead_at - 1 - clock.monotonic()))
            internals.renew_due(keeper)
            assert keeper.get_token("api") == "token-1"
        clock.step(10)
        assert "no token is requested without the store" in str(error_of(keeper))
        assert "without the store" in str(error_of(keeper, force_refresh=True))
        assert strict.requests == 1
        store.come_back()
        clock.step(10)
        assert keeper.get_token("api") == "token-2"


class TestLost:
    """A refresh token that is no longer accepted."""

    def test_stands_for_all_and_for_ever(self, family, clock, strict):
        """One request finds out; every process, at any time, learns it from the store."""
        keepers = family.several(8)
        keepers[0].get_token("api")
        strict.is_revoked = True
        clock.step(4000)
        errors = [error_of(keeper) for keeper in keepers]
        assert {error.error for error in errors} == {"invalid_grant"}
        assert all("a new sign-in is needed" in str(error) for error in errors)
        assert strict.requests == 2
        clock.step(400 * 86400)
        assert "a new sign-in is needed" in str(error_of(family.keeper()))
        assert "a new sign-in is needed" in str(error_of(keepers[3], force_refresh=True))
        assert strict.requests == 2

    def test_also_after_a_restart_of_the_store_s_clock(self, family, clock, store, strict):
        """It stands although the store no longer knows when it was reported."""
        strict.is_revoked = True
        error_of(family.keeper())
        store.entry.failed_at = -float("inf")
        clock.step(100)
        assert "a new sign-in is needed" in str(error_of(family.keeper()))
        assert strict.requests == 1

    def test_is_explained_after_a_takeover(self, family, clock, store, strict):
        """Where a process was killed in mid-request, every process learns that, and the remedy."""
        first, second, third = family.several(3)
        first.get_token("api")
        clock.step(4000)
        killed = {"owner": "killed", "generation": 1, "older_than_seconds": 0.0}
        intent = "host:7 is about to use the refresh token"
        store.claim(internals.record_key(first), intent=intent, **killed)
        strict.grant("refresh-1")  # its answer is lost with the process
        clock.step(40)
        errors = [str(error_of(keeper)) for keeper in (second, third, first)]
        assert len(set(errors)) == 1
        assert "host:7 was about to use it and never stored the next one" in errors[0]
        assert DETACHED in errors[0]
        assert strict.requests == 3

    def test_unknown_owner(self, family, clock, store, strict):
        """A claim that does not say whose it was is explained without a name."""
        keeper = family.keeper()
        strict.is_revoked = True
        options = {"owner": "x", "generation": 0, "older_than_seconds": 0.0, "intent": ""}
        store.claim(internals.record_key(keeper), **options)
        clock.step(40)
        assert "another process was about to use it" in str(error_of(keeper))

    def test_cause_keeps_the_server_s_words(self, family, strict):
        """The explained error has the attributes of the server's, and that as its cause."""
        strict.is_revoked = True
        error = error_of(family.keeper())
        assert (error.error, error.status_code) == ("invalid_grant", 400)
        assert str(error).startswith("the refresh token is not valid ")

    def test_clearing_ends_it(self, family, clock, strict):
        """After a new sign-in, clear_token() makes the fleet start over."""
        strict.is_revoked = True
        keeper, other = family.several(2)
        error_of(keeper)
        strict.is_revoked = False
        keeper.clear_token("api")
        assert other.get_token("api") == "token-2"

    def test_others_look_again_at_once(self, family, strict):
        """Processes that learned of it from the store look there again at the next call."""
        strict.is_revoked = True
        keeper, other = family.several(2)
        for each in (keeper, other):
            error_of(each)
        strict.is_revoked = False
        assert "sign-in" in str(error_of(other))
        keeper.clear_token("api")
        assert other.get_token("api") == "token-2"

    def test_successor_was_stored_meanwhile(self, family, clock, store, strict):
        """If the process before stored the next one after all, that is used."""
        slow = family.keeper(background=False)
        slow.get_token("api")
        clock.step(4000)
        strict.during = store.go_down
        slow.get_token("api")
        store.come_back()
        clock.step(36)

        class Late(FleetProvider):
            def refresh_token(self, token):
                assert internals.unpublished(slow).store_all()
                raise TokenAcquisitionError("too late", error="invalid_grant")

        quick = family.keeper(provider=Late(strict))
        assert quick.get_token("api") == "token-2"
        assert not store.record.is_claimed
        assert store.record.failure is None


class TestOtherFailures:
    """Failures that say nothing about the refresh token."""

    def test_outage(self, family, clock, strict):
        """An outage is shared and passes, and the refresh token is used again."""
        keepers = family.several(4, retry=ONCE)
        keepers[0].get_token("api")
        clock.step(4000)
        strict.error = TokenAcquisitionError("down", status_code=503)
        for keeper in keepers:
            assert error_of(keeper).transient
        assert strict.requests == 2
        strict.error = None
        clock.step(5)
        assert {keeper.get_token("api") for keeper in keepers} == {"token-3"}
        assert not strict.is_revoked

    def test_invalid_client(self, family, clock, strict):
        """A wrong client secret does not mean that the refresh token is lost."""
        keepers = family.several(2)
        keepers[0].get_token("api")
        clock.step(4000)
        strict.error = TokenAcquisitionError("no", error="invalid_client")
        assert "sign-in" not in str(error_of(keepers[0]))
        strict.error = None
        clock.step(31)
        assert keepers[1].get_token("api") == "token-3"


class TestGenericProvider:
    """GenericOAuth2Provider with grant_type="refresh_token", against a server that rotates."""

    @pytest.fixture
    def server(self, clock):
        """Return an authorization server that revokes a family on reuse."""
        with LoopbackAuthorizationServer(refresh_tokens=True, clock=clock) as server:
            yield server

    @pytest.fixture
    def process(self, family, clock, server):
        """Return a function that makes one more process; all have the same seed."""
        seed = server.provider().acquire_token().refresh_token

        def process():
            config = server.config("api", additional_params={"refresh_token": seed})
            provider = GenericOAuth2Provider(config, grant_type="refresh_token", clock=clock)
            return family.keeper(provider=provider)

        return process

    def test_says_that_it_works_once(self, process):
        """Such a provider is not repeatable, and waits for others as long as its own timeout."""
        provider = internals.provider(process())
        assert not provider.repeatable
        assert provider.longest_request_seconds == 30.0

    def test_one_family_for_all(self, process, clock, server):
        """Four processes renew one family in turn, and it is never revoked."""
        keepers = [process() for _ in range(4)]
        tokens = []
        for number in range(6):
            served = {keeper.get_token("api") for keeper in keepers}
            tokens.append(*served)
            assert server.is_alive(tokens[-1])
            for keeper in keepers[number % 4 :] + keepers[: number % 4]:
                renew_when_due(keeper, clock)
        assert len(set(tokens)) == 6

    def test_restart(self, process, clock, server):
        """A process that starts afterwards does not spend the seed again."""
        process().get_token("api")
        clock.step(86400)
        token = process().get_token("api")
        assert server.is_alive(token)

    def test_store_is_rolled_back_before_a_restart(self, process, clock, server, store):
        """The process that spent a refresh token goes on with its successor."""
        keeper = process()
        keeper.get_token("api")
        snapshot = store.snapshot()
        renew_when_due(keeper, clock)
        store.roll_back(snapshot)
        clock.step(4000)
        assert server.is_alive(keeper.get_token("api"))

    def test_lost(self, process, clock, server):
        """A revoked family is one request, and the same explanation for all."""
        keepers = [process() for _ in range(3)]
        keepers[0].get_token("api")
        server.revoke_all()
        clock.step(4000)
        errors = {str(error_of(keeper)) for keeper in keepers}
        assert len(errors) == 1
        assert "a new sign-in is needed" in errors.pop()
