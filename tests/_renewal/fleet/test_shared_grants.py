"""Several tokens of one grant, whose refresh tokens work once: their users take turns."""

import pytest
from kit import internals
from kit.stores import FaultyStore, FleetProvider, continue_as_child, renew_when_due

from tokenkeeper import (
    AuthorizationRequiredError,
    InvalidConfigurationError,
    TokenAcquisitionError,
    TokenKeeper,
)
from tokenkeeper.names import TokenName, TokenParameters
from tokenkeeper.oauth.claims import LookAgain

A, B = (str(TokenName.of("api", TokenParameters.of(resource=f"https://{h}"))) for h in "ab")
ALL = ("api", A, B)


class Shared(FleetProvider):
    """One process's client, with a token for each resource."""

    takes = frozenset({"resource"})

    @property
    def grant_name(self):
        return self.provider_name


@pytest.fixture
def keeper(family, strict):
    """Return a function that adds a process with such a client."""
    return lambda **options: family.keeper(provider=Shared(strict), **options)


def record(keeper, name="api"):
    """Return what the store has of a token."""
    fleet = internals.fleet(keeper)
    return fleet.read(name, fleet.key_of(internals.provider(keeper), name))


def test_each_use_goes_on_with_the_last(keeper, strict):
    """Tokens for two resources and for none come from one chain of refresh tokens."""
    mine = keeper()
    assert [mine.get_token(name) for name in ALL] == ["token-1", "token-2", "token-3"]
    assert mine.get_token(A) == "token-2"
    assert strict.good == "refresh-3"
    assert not strict.is_revoked


def test_first_of_a_resource(keeper, strict):
    """The record of the grant has no token that could be taken for the provider's own."""
    first, second = keeper(), keeper()
    assert first.get_token(A) == "token-1"
    assert record(first).stored.token.refresh_token == "refresh-1"
    assert record(first).lifetime_seconds == 0
    assert second.get_token("api") == "token-2"
    assert first.get_token("api") == "token-2"
    assert strict.requests == 2


def test_adopted_by_name(keeper, strict):
    """Each process adopts each token under its own name, with one request for each."""
    keepers = [keeper() for _ in range(4)]
    for each in keepers:
        assert [each.get_token(name) for name in ALL] == ["token-1", "token-2", "token-3"]
    assert strict.requests == 3


def test_renewed_in_turn(keeper, clock, strict):
    """A process that renews a token uses the newest refresh token, whatever it was granted with."""
    keepers = [keeper() for _ in range(3)]
    for each in keepers:
        for name in ALL:
            each.get_token(name)
    for turn in range(6):
        clock.step(3300)
        for each in keepers[turn % 3 :] + keepers[: turn % 3]:
            internals.look(each)
            for name in ALL:
                each.get_token(name)
        assert all(len({each.get_token(name) for each in keepers}) == 1 for name in ALL)
    assert 3 + 5 * 3 <= strict.requests <= 3 + 6 * 3
    assert not strict.is_revoked


def test_own_token_is_not_adopted_again(keeper, clock, strict):
    """The record of the grant keeps the provider's own token, which is renewed when it is due."""
    first, second = keeper(), keeper()
    assert first.get_token("api") == second.get_token("api") == "token-1"
    clock.step(3000)
    assert second.get_token(A) == "token-2"
    kept = record(first)
    assert (kept.stored.token.access_token, kept.stored.token.refresh_token) == (
        "token-1",
        "refresh-2",
    )
    renew_when_due(first, clock)
    assert first.get_token("api") == "token-3"
    assert strict.requests == 3
    assert not strict.is_revoked


def test_refresh_token_that_stays(keeper, clock, strict):
    """Where the server sends no new refresh token, the record of the grant stays as it is."""
    mine = keeper()
    mine.get_token("api")
    generation = record(mine).generation
    strict.grant = lambda token: (
        FleetProvider(type(strict)(clock))
        .acquire_token()
        .__class__(
            "token-x", "Bearer", internals.cached(mine).token.expires_at, refresh_token=token
        )
    )
    assert mine.get_token(A) == "token-x"
    assert record(mine).generation == generation
    assert not record(mine).record.is_claimed


def test_no_refresh_token_beside_the_grant(keeper):
    """The record of a resource's token has no refresh token, nor has the token that is served."""
    mine = keeper()
    assert mine.get_oauth2_token(A).refresh_token is None
    assert record(mine, A).stored.token.refresh_token is None


def test_one_at_a_time_in_a_process(keeper, strict):
    """While one token of the grant is requested, another one of this process waits for its turn."""
    mine = keeper()
    seen = []

    def during():
        with pytest.raises(LookAgain) as caught:
            internals.attempt(mine, B)
        seen.append(caught.value.after_seconds)

    strict.during = during
    mine.get_token(A)
    assert 0 < seen[0] < 1
    assert strict.requests == 1
    assert mine.get_token(B) == "token-2"


def test_another_process_at_a_time(keeper, strict):
    """While one process uses the grant, others look again, for any of its tokens."""
    first, second = keeper(), keeper()
    seen = []

    def during():
        for name in ALL:
            with pytest.raises(LookAgain):
                internals.attempt(second, name)
            seen.append(name)

    strict.during = during
    first.get_token(A)
    assert seen == list(ALL)
    assert strict.requests == 1


def test_requested_between_look_and_claim(keeper, store, strict):
    """A token that another process stored before the claim is adopted, and the claim released."""
    first, second = keeper(), keeper()
    first.get_token("api")
    # The second process looks at the token, then at the grant; in between, the first is faster.
    store.after["read"] = lambda: first.get_token(A)
    assert second.get_token(A) == "token-2"
    assert strict.requests == 2
    assert not record(first).record.is_claimed


def test_grant_used_between_look_and_claim(keeper, store, strict):
    """If another process used the grant just before, its newest refresh token is read."""
    first, second = keeper(), keeper()
    first.get_token("api")
    store.before["claim"] = lambda: first.get_token(B)
    assert second.get_token(A) == "token-3"
    assert not strict.is_revoked


def test_nothing_to_begin_with(keeper, strict):
    """Where no refresh token was ever given, each process says so itself, and nothing is shared."""
    strict.error = AuthorizationRequiredError("sign in first", provider_name="api")
    first, second = keeper(), keeper()
    for each in (first, second, first):
        with pytest.raises(AuthorizationRequiredError, match="sign in first"):
            each.get_token("api")
    assert record(first).failure is None
    strict.error = None
    assert second.get_token("api")


def test_lost_for_all(keeper, strict):
    """A refused refresh token is one request, for all its tokens and all processes."""
    first, second = keeper(), keeper()
    first.get_token("api")
    strict.is_revoked = True
    for each, name in ((first, A), (first, B), (second, A), (second, B)):
        with pytest.raises(TokenAcquisitionError, match="a new sign-in is needed"):
            each.get_token(name)
    assert strict.requests == 2
    assert first.get_token("api") == "token-1"


def test_store_that_comes_back_older(keeper, clock, store, strict):
    """The newest refresh token is restored, though another token was granted with it."""
    mine = keeper()
    mine.get_token("api")
    snapshot = store.snapshot()
    mine.get_token(A)
    store.roll_back(snapshot)
    clock.step(30)
    with pytest.raises(LookAgain):
        internals.attempt(mine, B)
    clock.step(30)
    assert mine.get_token(B) == "token-3"
    assert not strict.is_revoked


def test_store_that_lost_a_grant_without_an_access_token(keeper, clock, store, strict):
    """A process that restores a refresh token waits for a newer one, though it has no other life.

    The record of the grant has no access token where those of resources alone were requested.
    """
    old, new = keeper(), keeper()
    assert (old.get_token(A), new.get_token(B)) == ("token-1", "token-2")
    store.wipe()
    clock.step(30)
    for process in (old, old, new):
        with pytest.raises(LookAgain):
            internals.attempt(process)
        clock.step(4)
    assert strict.requests == 2
    assert old.get_token("api") == "token-3"
    assert not strict.is_revoked


@pytest.mark.parametrize("operation", ["publish", "fail"])
def test_store_that_goes_down_during_the_request(keeper, clock, store, strict, operation):
    """The token is served, and its refresh token is stored as soon as that is possible."""
    mine = keeper()
    mine.get_token("api")
    strict.during = lambda: store.go_down(operation)
    assert mine.get_token(A) == "token-2"
    store.come_back()
    clock.step(5)
    internals.look(mine)
    assert record(mine).stored.token.refresh_token == "refresh-2"
    clock.step(60)
    assert keeper().get_token(B) == "token-3"
    assert not strict.is_revoked


def test_useless_token(keeper, strict):
    """A token that expired on its way leaves its refresh token in the record of the grant."""
    mine = keeper()
    mine.get_token("api")
    strict.lifetime = -5.0
    with pytest.raises(TokenAcquisitionError, match="had already expired"):
        mine.get_token(A)
    strict.lifetime = 3600.0
    assert record(mine).stored.token.refresh_token == "refresh-2"
    assert mine.get_token(B) == "token-3"
    assert not strict.is_revoked


def test_forked_child(keeper, strict):
    """A child of a process with a store goes on with the grant, as another process of the fleet."""
    mine = keeper()
    mine.get_token(A)
    continue_as_child(mine)
    assert mine.get_token(B) == "token-2"
    assert not strict.is_revoked


class TestClear:
    """clear_token removes access tokens; a refresh token that works once is kept."""

    @pytest.mark.parametrize("name", ALL)
    def test_goes_on_with_the_newest(self, keeper, clock, strict, name):
        """After it, any process requests a token with the newest refresh token."""
        mine = keeper()
        mine.get_token("api")
        mine.get_token(A)
        clock.step(1)
        mine.clear_token(name)
        assert keeper().get_token(name) == "token-3"
        assert not strict.is_revoked

    def test_everything(self, keeper, clock, strict):
        """The tokens of all names are requested again, with one request each."""
        mine = keeper()
        for name in ALL:
            mine.get_token(name)
        clock.step(1)
        mine.clear_token()
        assert [mine.get_token(name) for name in ALL] == ["token-4", "token-5", "token-6"]
        assert not strict.is_revoked

    @pytest.mark.parametrize("name", ALL)
    def test_during_a_request(self, keeper, clock, strict, name):
        """A token that another process clears while it is requested leaves its refresh token."""
        first, second = keeper(), keeper()
        for each in ALL:
            first.get_token(each)
            second.get_token(each)
        clock.step(1)
        strict.during = lambda: second.clear_token(name)
        first.get_token(name, force_refresh=True)
        clock.step(60)
        assert keeper().get_token(B, force_refresh=True)
        assert not strict.is_revoked

    def test_nothing_to_clear(self, keeper, strict):
        """Before the first request there is nothing to keep."""
        mine = keeper()
        mine.clear_token()
        assert mine.get_token("api") == "token-1"

    def test_record_that_changes(self, keeper, clock, store, strict):
        """A record that another process changes at the same time is cleared after that."""
        first, second = keeper(), keeper()
        first.get_token("api")
        second.get_token("api")
        clock.step(1)
        store.before["publish"] = lambda: second.get_token("api", force_refresh=True)
        first.clear_token("api")
        clock.step(60)
        assert first.get_token("api") == "token-3"
        assert not strict.is_revoked

    def test_record_that_changes_again_and_again(self, keeper, clock, store, strict):
        """Clearing ends after a few tries; this process does not adopt the token again."""
        first, second = keeper(), keeper()
        first.get_token("api")
        second.get_token("api")
        clock.step(1)

        def renew():
            store.before.pop("publish", None)
            second.get_token("api", force_refresh=True)
            store.before["publish"] = renew

        store.before["publish"] = renew
        first.clear_token("api")
        store.before.clear()
        clock.step(60)
        assert first.get_token("api") not in ("token-1", None)
        assert not strict.is_revoked

    def test_without_the_store(self, keeper, clock, store, strict):
        """While the store is away, the token is only cleared here."""
        mine = keeper()
        mine.get_token("api")
        store.go_down()
        clock.step(1)
        mine.clear_token("api")
        store.come_back()
        clock.step(60)
        assert mine.get_token("api") == "token-2"
        assert not strict.is_revoked


class TestMemory:
    """Without a store, refresh tokens that work once are in the memory of the process."""

    @pytest.fixture
    def alone(self, clock, strict):
        """Return a keeper without a store."""
        keeper = TokenKeeper(clock=clock, background=False)
        keeper.add_provider(Shared(strict))
        with keeper:
            yield keeper

    def test_in_turn(self, alone, strict):
        """The tokens of a grant share its refresh token."""
        assert [alone.get_token(name) for name in ALL] == ["token-1", "token-2", "token-3"]
        alone.clear_token()
        assert alone.get_token("api") == "token-4"
        assert not strict.is_revoked

    def test_no_store_to_report(self, alone):
        """Memory is not a store: health does not list it."""
        alone.get_token("api")
        assert "store" not in alone.health()

    def test_forked_child(self, alone, strict):
        """A child serves valid tokens, and does not use the parent's refresh token."""
        alone.get_token("api")
        internals.after_fork_in_child(alone)
        assert alone.get_token("api") == "token-1"
        with pytest.raises(TokenAcquisitionError, match="belongs to the process that forked"):
            alone.get_token(A)
        assert strict.requests == 1

    def test_fork_before_the_first_request(self, alone, strict):
        """A child of a process that has not used the grant uses it."""
        internals.after_fork_in_child(alone)
        assert alone.get_token(A) == "token-1"
        assert strict.requests == 1

    def test_removed(self, alone, strict):
        """A provider that is added again starts over."""
        alone.get_token("api")
        alone.remove_provider("api")
        strict.spent.clear()
        strict.good = "seed"
        alone.add_provider(Shared(strict))
        assert alone.get_token("api") == "token-2"


class TestCustody:
    """A provider may have a store of its own for its refresh tokens."""

    def test_beside_the_keeper_s_store(self, clock, store, strict):
        """Its records are there, and not in the keeper's store."""
        own = FaultyStore(clock)
        provider = Shared(strict)
        provider.custody = own
        with TokenKeeper(clock=clock, background=False, store=store) as keeper:
            keeper.add_provider(provider)
            assert keeper.get_token(A) == "token-1"
        assert len(list(own.keys())) == 2
        assert list(store.keys()) == []

    @pytest.mark.parametrize("own", [True, False], ids=["a custody", "none"])
    def test_of_a_second_provider_of_the_name(self, clock, strict, own):
        """It is refused, and the first one goes on with its refresh token, kept in memory."""
        with TokenKeeper(clock=clock, background=False) as keeper:
            keeper.add_provider(Shared(strict))
            keeper.get_token("api")
            second = Shared(strict)
            second.custody = FaultyStore(clock) if own else None
            with pytest.raises(InvalidConfigurationError, match="duplicate provider name 'api'"):
                keeper.add_provider(second)
            assert keeper.get_token(A) == "token-2"
        assert strict.good == "refresh-2"
        assert not strict.is_revoked

    def test_that_is_stated_again(self, clock, strict, tmp_path):
        """One that is equal to the one before is the same store, with all that waits for it."""
        provider = Shared(strict)
        provider.custody = {"url": f"sqlite:///{tmp_path}/kept/tokens.db"}
        with TokenKeeper(clock=clock, background=False) as keeper:
            keeper.add_provider(provider)
            before = internals.membership(keeper, provider)
            provider.custody = dict(provider.custody)
            assert internals.membership(keeper, provider) is before
            provider.custody = {"url": f"sqlite:///{tmp_path}/kept/others.db"}
            assert internals.membership(keeper, provider) is not before

    def test_that_can_not_be_opened(self, strict):
        """A mistake in it is an error when the provider is added."""
        provider = Shared(strict)
        provider.custody = "nonsense://"
        with TokenKeeper(background=False) as keeper:
            with pytest.raises(InvalidConfigurationError):
                keeper.add_provider(provider)
            assert keeper.list_providers() == []
