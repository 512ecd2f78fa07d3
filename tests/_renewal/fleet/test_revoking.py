"""Revoking a grant that several tokens and processes share: one claim, and none is spent again."""

from datetime import UTC, datetime

import pytest
from kit import internals
from kit.stores import FleetProvider, continue_as_child

from tokenkeeper import (
    AuthorizationRequiredError,
    BaseOAuth2Provider,
    InvalidConfigurationError,
    KeeperClosedError,
    TokenAcquisitionError,
    TokenKeeper,
    UnknownProviderError,
)
from tokenkeeper._renewal.grant_revocation import GrantRevocation
from tokenkeeper._renewal.revoking import revoke
from tokenkeeper.events import TokenCleared, TokenRevoked
from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.names import TokenName, TokenParameters
from tokenkeeper.oauth.claims import LookAgain, may_send
from tokenkeeper.oauth.server import NoEndpointError

A, B = (str(TokenName.of("api", TokenParameters.of(resource=f"https://{h}"))) for h in "ab")
C = "https://c"
ADA = str(TokenName.of("api", TokenParameters.of(account="ada")))
ADA_A = str(TokenName.of("api", TokenParameters.of(account="ada", resource="https://a")))


class Client(FleetProvider):
    """One process's client, with a token for each resource and account.

    :ivar refusal: what a revocation raises.
    :ivar during: what to call once while a revocation is under way.
    """

    takes = frozenset({"resource", "account"})

    def __init__(self, server, **options):
        super().__init__(server, **options)
        self.revoked = []
        self.refusal = None
        self.during = None
        self.begins_with = "seed"
        self.allows_c = True

    @property
    def grant_name(self):
        if self.repeatable:
            return self.token_name
        account = TokenParameters.of(account=self.parameters.account)
        return str(TokenName.of(self.provider_name, account))

    def variant(self, name, parameters):
        if C in parameters.resource and not self.allows_c:
            raise InvalidConfigurationError("not allowed any more", field="resource")
        return super().variant(name, parameters)

    def revoke_token(self, token, kind):
        during, self.during = self.during, None
        if during is not None:
            during()
        if not may_send():
            raise LookAgain(0.0)
        if self.refusal is not None:
            raise self.refusal
        given = self.begins_with if token is None else getattr(token, kind)
        if given is not None:
            self.revoked.append(given)
            if kind == "refresh_token":
                self.server.is_revoked = True
        return given is not None


@pytest.fixture
def keeper(family, strict):
    """Return a function that adds a process with such a client, as its attribute ``client``."""

    def keeper(**options):
        client = Client(strict)
        mine = family.keeper(provider=client, **options)
        mine.client = client
        return mine

    return keeper


@pytest.fixture
def simple(fleet, server):
    """Return a function that adds a process whose grant can be repeated."""

    def simple(**options):
        client = Client(server)
        mine = fleet.keeper(provider=client, **options)
        mine.client = client
        return mine

    return simple


def record(keeper, name="api"):
    """Return what the store has of a token."""
    fleet = internals.fleet(keeper)
    provider = internals.provider(keeper)
    if name != "api":
        provider = internals.need(keeper, name).variant.provider
    return fleet.read(name, fleet.key_of(provider, name))


def assert_signed_out(keeper, *names):
    for name in names:
        with pytest.raises(AuthorizationRequiredError, match="was revoked by host:"):
            keeper.get_token(name)


# ---- a grant


def test_signed_out(keeper, strict):
    """The newest refresh token is revoked; all tokens of its grant are gone, in all processes."""
    first, second = keeper(), keeper()
    for name in ("api", A, B):
        first.get_token(name)
    second.get_token(A)
    found = first.revoke("api")
    assert (found.token, found.server_was_asked, found.forgotten) == ("refresh_token", True, 3)
    assert found.valid_until == strict_expiry(strict)
    assert found.token_name == found.provider_name == "api"
    assert first.client.revoked == ["refresh-3"]
    for name in ("api", A, B):
        assert record(first, name).stored is None
        assert internals.cached(first, name) is None
    assert not record(first).record.is_claimed
    assert_signed_out(first, "api", A, B)
    assert_signed_out(second, "api", B)
    assert strict.requests == 3


def strict_expiry(server):
    """Return when a token that was granted now expires."""
    return datetime.fromtimestamp(server.clock.time() + server.lifetime, UTC)


def test_tokens_in_memory_elsewhere(keeper, clock, strict):
    """Another process goes on with its access token until it is due, and is signed out then."""
    first, second = keeper(), keeper()
    first.get_token("api")
    assert second.get_token("api") == "token-1"
    first.revoke("api")
    assert second.get_token("api") == "token-1"
    clock.step(3600)
    assert_signed_out(second, "api")
    assert strict.requests == 1


def test_rejected_elsewhere(keeper, strict):
    """After an API rejects the token in another process, it is signed out as well."""
    first, second = keeper(), keeper()
    first.get_token("api")
    second.get_token("api")
    first.revoke("api")
    with pytest.raises(AuthorizationRequiredError):
        second.renew_refused("api", "token-1")
    assert strict.requests == 1


def test_a_new_process(keeper, strict):
    """The first refresh token of the configuration is not used again, even by a new process."""
    first = keeper()
    first.get_token("api")
    first.revoke("api")
    first.close()
    assert_signed_out(keeper(), "api", A)
    assert strict.requests == 1


def test_never_used(keeper, strict):
    """A refresh token of the configuration that was not used yet is revoked, and never used."""
    first, second = keeper(), keeper()
    found = first.revoke("api")
    assert (found.token, found.server_was_asked, found.forgotten) == ("refresh_token", True, 0)
    assert found.valid_until is None
    assert first.client.revoked == ["seed"]
    assert_signed_out(first, "api")
    assert_signed_out(second, A)
    assert strict.requests == 0


def test_nobody_signed_in(keeper, strict):
    """Where there is nothing to revoke, nothing happens, and a sign-in still works."""
    mine = keeper()
    mine.client.begins_with = None
    found = mine.revoke("api")
    assert (found.token, found.server_was_asked) == (None, False)
    assert mine.events.events == []
    assert mine.get_token("api") == "token-1"


def test_twice(keeper):
    """A second sign-out asks nothing, and leaves everybody signed out."""
    first, second = keeper(), keeper()
    first.get_token("api")
    first.revoke("api")
    for mine in (first, second):
        assert not mine.revoke("api").server_was_asked
        assert mine.client.revoked == first.client.revoked[: mine is first]
        assert_signed_out(mine, "api")


def test_clear_begins_again(keeper, strict):
    """Clearing the token lets a refresh token of the configuration be used again."""
    mine = keeper()
    mine.get_token("api")
    mine.revoke("api")
    mine.clear_token("api")
    strict.is_revoked, strict.good, strict.spent = False, "seed", set()
    assert mine.get_token("api") == "token-2"


def test_by_the_name_of_a_resource(keeper):
    """The name of any token of a grant means its refresh token."""
    mine = keeper()
    mine.get_token("api")
    found = mine.revoke(A)
    assert (found.token_name, found.forgotten) == ("api", 1)
    assert_signed_out(mine, "api", A)


def test_an_account(keeper, strict):
    """The grants of other accounts stay as they are."""
    mine = keeper()
    strict.spent = set()
    mine.get_token("api")
    strict.good = "seed"  # another person's
    strict.spent = set()
    mine.get_token(ADA)
    mine.get_token(ADA_A)
    found = mine.revoke("api", account="ada")
    assert (found.token_name, found.forgotten) == (ADA, 2)
    assert "ada" not in repr(found)
    assert mine.client.revoked == ["refresh-3"]
    assert_signed_out(mine, ADA, ADA_A)
    assert mine.get_token("api") == "token-1"


def test_events(keeper):
    """What was cleared is reported, and then the revocation, which is logged without an account."""
    mine = keeper()
    mine.get_token("api")
    mine.get_token(A)
    before = len(mine.events.events)
    mine.revoke("api")
    new = mine.events.events[before:]
    assert [type(each) for each in new] == [TokenCleared, TokenCleared, TokenRevoked]
    last = new[-1]
    assert (last.kind, last.forgotten, last.token_name) == ("refresh_token", 2, "api")


# ---- failures


@pytest.mark.parametrize(
    "error",
    [
        TokenAcquisitionError("busy", status_code=503, retry_after=9.0, transient=True),
        TokenAcquisitionError("no", error="unsupported_token_type", transient=False),
        NoEndpointError("the server's revocation_endpoint is not known", transient=False),
    ],
    ids=["503", "unsupported_token_type", "no endpoint"],
)
def test_nothing_is_lost(keeper, error):
    """A refused revocation changes nothing, and the same call works later."""
    first, second = keeper(), keeper()
    first.get_token("api")
    first.client.refusal = error
    with pytest.raises(TokenAcquisitionError) as caught:
        first.revoke("api")
    assert caught.value is error
    assert not record(first).record.is_claimed
    assert record(first).stored.token.refresh_token == "refresh-1"
    assert first.get_token("api") == second.get_token("api") == "token-1"
    assert second.get_token(A) == "token-2"
    first.client.refusal = None
    assert first.revoke("api").server_was_asked
    assert first.client.revoked == ["refresh-2"]


def test_an_error_of_another_class(keeper):
    """What a custom provider raises becomes an error of the library."""
    mine = keeper()
    mine.get_token("api")
    mine.client.refusal = ConnectionError("refused")
    with pytest.raises(TokenAcquisitionError) as caught:
        mine.revoke("api")
    assert caught.value.transient
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert mine.get_token(A) == "token-2"


def test_forgotten_without_an_endpoint(keeper, strict):
    """A sign-out forgets the grant also where the server can't revoke it."""
    first, second = keeper(), keeper()
    first.get_token("api")
    first.client.refusal = NoEndpointError("no endpoint", transient=False)
    found = revoke(internals.coordinator(first), "api", "refresh_token", forgets_anyway=True)
    assert (found.token, found.server_was_asked, found.forgotten) == ("refresh_token", False, 1)
    assert not [each for each in first.events.events if isinstance(each, TokenRevoked)]
    assert_signed_out(second, "api")
    assert strict.requests == 1


def test_without_the_method(family, strict):
    """A provider that can't revoke says so, and what it lacks."""
    mine = family.keeper(provider=FleetProvider(strict))
    with pytest.raises(TokenAcquisitionError, match="FleetProvider has no revoke_token"):
        mine.revoke("api")
    assert mine.get_token("api") == "token-1"


# ---- others use the grant


def test_in_use_elsewhere(keeper, strict):
    """While another process uses the refresh token, a revocation waits, and takes the newest."""
    first, second = keeper(), keeper()
    first.get_token("api")
    seen = []

    def during():
        with pytest.raises(LookAgain):
            attempt_to_revoke(second)
        seen.append("waits")

    strict.during = during
    first.get_token(A)
    assert seen == ["waits"]
    second.revoke("api")
    assert second.client.revoked == ["refresh-2"]


def attempt_to_revoke(keeper):
    """Make one attempt, as :meth:`revoke` does until its time is over."""
    coordinator = internals.coordinator(keeper)
    grant = GrantRevocation(
        coordinator.memberships.main,
        keeper.client,
        keeper.client,
        None,
        clock=coordinator.runner.clock,
        closing=coordinator.background.closing,
    )
    return grant._revoke(forgets_anyway=False)


def test_in_use_here(keeper, strict):
    """While another token of the grant is requested in this process, a revocation waits."""
    mine = keeper()
    caught = []

    def during():
        with pytest.raises(TokenAcquisitionError) as error:
            mine.revoke("api")
        caught.append(error.value)

    strict.during = during
    assert mine.get_token(A) == "token-1"
    assert "nothing was revoked. Other processes kept using" in str(caught[0])
    assert caught[0].transient
    assert mine.client.revoked == []


def test_used_while_it_is_revoked(keeper, strict):
    """While one process revokes the grant, others look again, and find that it is over."""
    first, second = keeper(), keeper()
    first.get_token("api")

    def during():
        for name in (A, B):
            with pytest.raises(LookAgain):
                internals.attempt(second, name)

    first.client.during = during
    first.revoke("api")
    assert_signed_out(second, A)
    assert strict.requests == 1


def test_paused_before_it_was_sent(keeper, clock, strict):
    """A process that was stopped with the claim looks again: another may have used the token."""
    first, second = keeper(), keeper()
    first.get_token("api")

    def during():
        clock.step(60)
        assert second.get_token(A) == "token-2"

    first.client.during = during
    first.revoke("api")
    assert first.client.revoked == ["refresh-2"]


def test_claim_of_a_process_that_is_gone(keeper, store, strict):
    """A claim whose owner is gone is taken over once it is old enough."""
    mine = keeper()
    mine.get_token("api")
    key = internals.record_key(mine)
    store.claim(key, owner="gone", generation=1, older_than_seconds=0.0, intent="host:9 is about")
    assert mine.revoke("api").server_was_asked


def test_closed_meanwhile(keeper, store):
    """The end of the keeper ends the wait."""
    mine = keeper()
    mine.get_token("api")
    key = internals.record_key(mine)
    store.claim(key, owner="gone", generation=1, older_than_seconds=0.0, intent="host:9 is about")
    store.after["claim"] = internals.background(mine).closing.set
    with pytest.raises(KeeperClosedError):
        mine.revoke("api")


def test_a_forked_child(strict, clock):
    """A child without a store does not revoke the grant of its parent."""
    client = Client(strict)
    with TokenKeeper(background=False, clock=clock) as mine:
        mine.add_provider(client)
        mine.get_token("api")
        continue_as_child(mine)
        with pytest.raises(TokenAcquisitionError, match="belongs to the process that forked"):
            mine.revoke("api")


# ---- the store


@pytest.mark.parametrize("operation", ["read", "claim"])
def test_store_is_down(keeper, store, operation):
    """Without the store nothing is revoked, since another process may have the newest token."""
    mine = keeper()
    mine.get_token("api")
    store.go_down(operation)
    with pytest.raises(TokenAcquisitionError, match=r"nothing was revoked\. the store") as caught:
        mine.revoke("api")
    assert caught.value.transient
    store.come_back()
    assert mine.client.revoked == []


def test_store_goes_down_meanwhile(keeper, store, strict, caplog):
    """If the record can't be emptied, the log says so, and the server's refusal does the rest."""
    first, second = keeper(), keeper()
    first.get_token("api")
    first.client.during = lambda: store.go_down("forget")
    assert first.revoke("api").server_was_asked
    assert "is still in the store" in caplog.text
    assert "refresh-1" not in caplog.text
    store.come_back()
    with pytest.raises(AuthorizationRequiredError):
        second.get_token(A)


def test_list_of_records_fails(keeper, clock, store, monkeypatch):
    """Access tokens that can't be found in the store do not keep the grant from being revoked."""
    mine = keeper()
    mine.get_token(A)
    clock.step(1)

    def fail():
        raise StoreUnavailableError("slow")

    monkeypatch.setattr(store, "keys", fail)
    assert mine.revoke("api").forgotten == 1
    assert record(mine, A).stored is not None
    assert_signed_out(mine, A)


def test_records_of_others(keeper, store, strict, family):
    """Only records of the same grant and the same client are emptied."""

    class Another(Client):
        def describe(self):
            return {"type": "another client"}

    def first_token(keeper, name):
        """Have the server grant a token for another sign-in."""
        strict.good, strict.spent = "seed", set()
        keeper.get_token(name)

    mine = keeper()
    first_token(mine, "api")
    mine.get_token(f'api\n{{"resource":["{C}"]}}')
    other_client = family.keeper(provider=Another(strict))
    first_token(other_client, A)
    other_name = family.keeper(provider=Client(strict, name="other"))
    first_token(other_name, "other")
    first_token(mine, ADA)
    store.put("garbage", 0, b"garbage")
    records = list(store.keys())
    kept = {key: store.read(key) for key in records if key != internals.record_key(mine)}
    fresh = keeper()
    fresh.client.allows_c = False
    fresh.revoke("api")
    assert {key: store.read(key) for key in kept} == kept


def test_unreadable_record(keeper, store):
    """A record that can't be read may have the only refresh token, so it is not touched."""
    mine = keeper()
    mine.get_token("api")
    store.put(internals.record_key(mine), 1, b"garbage")
    with pytest.raises(TokenAcquisitionError, match="can't be read") as caught:
        mine.revoke("api")
    assert not caught.value.transient
    assert mine.client.revoked == []


def test_store_came_back_empty(keeper, store):
    """A refresh token that only the memory of this process has is revoked as well."""
    first, second = keeper(), keeper()
    first.get_token("api")
    second.get_token("api")
    store.wipe()
    second.revoke("api")
    assert second.client.revoked == ["refresh-1"]
    assert_signed_out(second, "api")


def test_a_new_sign_in(keeper, strict):
    """A new refresh token in the record is used at once, by all processes."""
    first, second = keeper(), keeper()
    first.get_token("api")
    second.get_token("api")
    mine = internals.cached(first)
    first.revoke("api")
    fleet, key = internals.fleet(first), internals.record_key(first)
    strict.is_revoked, strict.good, strict.spent = False, "refresh-1", set()
    number = fleet.read("api", key).generation
    new = mine.published(number + 1)
    assert fleet.publish("api", key, new, replaces=number, keep=True)
    assert second.get_token(A) == "token-2"
    assert first.get_token(B) == "token-3"


# ---- the access token of a grant


def test_access_token_alone(keeper, strict):
    """The access token is revoked and forgotten, and the refresh token brings another."""
    mine = keeper()
    mine.get_token("api")
    found = mine.revoke("api", token="access_token")
    assert (found.token, found.server_was_asked, found.forgotten) == ("access_token", True, 1)
    assert "may have revoked the refresh token" in found.goes_with
    assert mine.client.revoked == ["token-1"]
    assert mine.get_token("api") == "token-2"
    assert not strict.is_revoked


def test_access_token_that_took_the_grant_with_it(keeper, strict):
    """Where the server revokes the refresh token as well, the next caller hears of a sign-in."""
    mine = keeper()
    mine.get_token("api")
    mine.revoke("api", token="access_token")
    strict.is_revoked = True
    with pytest.raises(AuthorizationRequiredError, match="a new sign-in is needed"):
        mine.get_token("api")


# ---- tokens whose grant can be repeated


def test_client_credentials(simple, server):
    """The access token is revoked, forgotten in memory and store, and requested again."""
    first, second = simple(), simple()
    first.get_token("api")
    found = first.revoke("api")
    assert (found.token, found.forgotten) == ("access_token", 1)
    assert first.client.revoked == ["token-1"]
    assert record(first).stored is None
    assert second.get_token("api") == first.get_token("api") == "token-2"


def test_one_token_alone(simple):
    """Other tokens of the provider stay."""
    mine = simple()
    mine.get_token("api")
    mine.get_token(A)
    mine.revoke(A)
    assert mine.client.revoked == ["token-2"]
    assert mine.get_token("api") == "token-1"


def test_token_of_another_process(simple):
    """A process without the token in memory revokes the one in the store, as a command does."""
    first, second = simple(), simple()
    first.get_token("api")
    assert second.revoke("api").token == "access_token"
    assert second.client.revoked == ["token-1"]


def test_two_tokens(simple, store):
    """If memory and store have different tokens, both are revoked."""
    first, second = simple(), simple()
    first.get_token("api")
    second.get_token("api")
    first.get_token("api", force_refresh=True)
    second.revoke("api")
    assert sorted(second.client.revoked) == ["token-1", "token-2"]


def test_nothing_to_revoke(simple, clock):
    """Where there is no token, or it has expired, the server is not asked."""
    mine = simple()
    assert mine.revoke("api").token is None
    mine.get_token("api")
    clock.step(3600)
    assert mine.revoke("api").token is None
    assert mine.client.revoked == []


def test_refused_for_client_credentials(simple):
    """A refused revocation keeps the token."""
    mine = simple()
    mine.get_token("api")
    mine.client.refusal = NoEndpointError("no endpoint", transient=False)
    with pytest.raises(NoEndpointError):
        mine.revoke("api")
    assert mine.get_token("api") == "token-1"
    found = revoke(internals.coordinator(mine), "api", "access_token", forgets_anyway=True)
    assert (found.token, found.server_was_asked) == ("access_token", False)
    assert mine.get_token("api") == "token-2"


def test_store_is_down_for_client_credentials(simple, store):
    """A token in memory is revoked without the store; without one, the error says so."""
    first, second = simple(), simple()
    first.get_token("api")
    store.go_down()
    assert first.revoke("api").server_was_asked
    with pytest.raises(TokenAcquisitionError, match="nothing was revoked"):
        second.revoke("api")


def test_without_a_store(server, clock):
    """A keeper without a store revokes what it has in memory."""
    client = Client(server)
    with TokenKeeper(background=False, clock=clock) as mine:
        mine.add_provider(client)
        mine.get_token("api")
        assert mine.revoke("api").forgotten == 1
        assert client.revoked == ["token-1"]


def test_refresh_tokens_that_are_optional(server, clock):
    """With client credentials and refresh tokens, the refresh token is revoked, however old."""

    class Refreshing(Client):
        def acquire_token(self):
            return self.server.grant("seed").__class__(
                "token", "Bearer", super().acquire_token().expires_at, refresh_token="refresh"
            )

    client = Refreshing(server)
    with TokenKeeper(background=False, clock=clock) as mine:
        mine.add_provider(client)
        mine.get_token("api")
        clock.step(7200)
        assert mine.revoke("api").token == "refresh_token"
        assert client.revoked == ["refresh"]


# ---- arguments


def test_arguments(keeper):
    """Each argument that can't be meant is named."""
    mine = keeper()
    for name, options, field in (
        (A, {"account": "ada"}, "account"),
        ("api", {"account": ""}, "account"),
        ("api", {"token": "id_token"}, "token"),
        (5, {}, "provider_name"),
    ):
        with pytest.raises(InvalidConfigurationError) as caught:
            mine.revoke(name, **options)
        assert caught.value.field == field
    with pytest.raises(UnknownProviderError):
        mine.revoke("nope")
    mine.close()
    with pytest.raises(KeeperClosedError):
        mine.revoke("api")


def test_an_account_that_is_not_taken(family, strict):
    """A provider that has no accounts says so."""
    mine = family.keeper(provider=FleetProvider(strict))
    with pytest.raises(InvalidConfigurationError, match="does not take account"):
        mine.revoke("api", account="ada")


def test_an_async_provider(server, clock):
    """A provider with an async def is asked on the library's loop."""

    class Async(BaseOAuth2Provider):
        def acquire_token(self):
            return server.grant()

        async def revoke_token(self, token, kind):
            return True

    with TokenKeeper(background=False, clock=clock) as mine:
        mine.add_provider(Async("api"))
        mine.get_token("api")
        assert mine.revoke("api").server_was_asked
