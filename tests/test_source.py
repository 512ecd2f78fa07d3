"""Sources: handles on tokens, each with its own cache entry, on both fronts."""

import gc
import inspect
import pickle
import weakref
from itertools import combinations

import anyio
import pytest
from kit import internals
from kit.crowds import crowd
from kit.providers import ManyTokens, Source

from tokenkeeper import (
    InvalidConfigurationError,
    KeeperClosedError,
    OAuth2TokenManager,
    TokenAcquisitionError,
    TokenKeeper,
    TokenRejectedError,
    TokenWaitTimeoutError,
    UnknownProviderError,
)
from tokenkeeper.integrations.requests import KeeperAuth
from tokenkeeper.names import TokenName, TokenParameters
from tokenkeeper.source import AsyncTokenSource

PARAMETERS = [
    {},
    {"scope": "read"},
    {"resource": "https://a.example"},
    {"audience": "a"},
    {"tenant": "contoso.example"},
    {"account": "alice"},
    {"subject": "the token of alice"},
    {"subject": "the token of alice", "actor": "the token of a service"},
]


@pytest.fixture
def provider(clock):
    """Return a provider that takes all parameters."""
    return ManyTokens(clock=clock)


@pytest.fixture
def keeper(clock, provider):
    """Return a keeper of it, whose scheduler the test plays."""
    with TokenKeeper(clock=clock, jitter=lambda: 0.0) as keeper:
        internals.take_over_scheduler(keeper)
        keeper.add_provider(provider)
        yield keeper
        internals.release_scheduler(keeper)


class TestMaking:
    """keeper.source() and manager.source()."""

    @pytest.mark.parametrize("parameters", PARAMETERS)
    def test_equal_arguments(self, keeper, parameters):
        """Equal arguments give the same source, on both fronts, while it is in use."""
        source = keeper.source("api", **parameters)
        assert keeper.source("api", **parameters) is source
        aio = OAuth2TokenManager(keeper).source("api", **parameters)
        assert isinstance(aio, AsyncTokenSource)
        assert aio.source is source
        assert aio.name == source.name

    def test_order_repetition_and_case(self, keeper):
        """The order and repetition of values, and the case of a tenant, make no other source."""
        one = keeper.source("api", scope="b a", resource=["https://y", "https://x"], tenant="A.b")
        other = keeper.source("api", scope=["a", "b", "a"], resource=("https://x", "https://y"),
                              tenant="a.B")  # fmt: skip
        assert one is other

    def test_different_arguments(self, keeper):
        """Different arguments give sources with different names and tokens."""
        sources = [keeper.source("api", **each) for each in PARAMETERS]
        for one, other in combinations(sources, 2):
            assert one is not other
            assert one.name != other.name
            assert one() != other()

    def test_threads(self, keeper):
        """Threads that make the same source at once get one object."""
        made = crowd(16, lambda: keeper.source("api", account="alice")).join()
        assert len({id(each) for each in made}) == 1

    def test_one_that_is_dropped(self, keeper):
        """A source that is not in use is not kept, and its token stays cached."""
        source = keeper.source("api", account="alice")
        first, gone = source(), weakref.ref(source)
        del source
        gc.collect()
        assert gone() is None
        assert keeper.source("api", account="alice")() == first

    def test_no_request(self, keeper, provider):
        """Making a source sends no request."""
        keeper.source("api", scope="read")
        assert provider.requests == []

    def test_an_unknown_provider(self, keeper):
        """A provider that is not registered is an error at once."""
        with pytest.raises(UnknownProviderError, match="Did you mean 'api'"):
            keeper.source("apy", scope="read")

    @pytest.mark.parametrize("parameters", PARAMETERS[1:])
    def test_what_a_provider_does_not_take(self, keeper, clock, parameters):
        """A parameter that the provider does not take is an error at once, without a request."""
        keeper.add_provider(plain := Source("plain", clock=clock))
        with pytest.raises(InvalidConfigurationError, match="does not take") as caught:
            keeper.source("plain", **parameters)
        assert caught.value.field in parameters
        assert caught.value.provider_name == "plain"
        assert "the token of" not in str(caught.value)
        assert plain.requests == 0

    def test_a_provider_without_takes(self, keeper, clock):
        """A custom provider that declares nothing has one token, and a source of it."""
        keeper.add_provider(plain := Source("plain", clock=clock))
        assert keeper.source("plain")() == keeper.get_token("plain") == "plain-1"
        assert plain.refreshed == []

    def test_a_closed_keeper(self, keeper):
        """After close() no source is made, and those that exist say so."""
        source = keeper.source("api", scope="read")
        source()
        keeper.close()
        for call in (source, source.token, lambda: keeper.source("api", scope="read")):
            with pytest.raises(KeeperClosedError):
                call()


class TestReading:
    """Its methods, blocking and awaited."""

    def test_blocking(self, keeper):
        """All methods return the source's own token."""
        source = keeper.source("api", account="alice")
        assert source() == source.get_token() == source.token().access_token == "alice-1"
        assert source.get_token(force_refresh=True) == "alice-2"
        assert source.token(force_refresh=True).access_token == "alice-3"
        assert source.renew_refused("alice-3") == "alice-4"
        assert source.headers("GET", "https://api.example") == {"Authorization": "Bearer alice-4"}
        assert source.auth(timeout=3) == KeeperAuth(source, timeout=3)
        assert source.keeper is keeper

    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_awaited(self, keeper, backend):
        """The methods of ``aio`` are coroutine functions that can be passed on, and do the same."""
        aio = keeper.source("api", account="alice").aio
        get_token = aio.get_token
        assert inspect.iscoroutinefunction(get_token)

        async def main():
            assert await get_token() == await aio() == "alice-1"
            assert await get_token(force_refresh=True) == "alice-2"
            assert (await aio.token(force_refresh=True)).access_token == "alice-3"
            assert await aio.renew_refused("alice-3") == "alice-4"
            assert await aio.headers("GET", "https://api.example") == {
                "Authorization": "Bearer alice-4"
            }

        anyio.run(main, backend=backend)

    def test_a_library_that_passes_arguments(self, keeper):
        """A call with an argument is an error: it must not be taken for ``force_refresh``."""
        source = keeper.source("api")
        with pytest.raises(TypeError):
            source("oauth_cb of a library")

    @pytest.mark.parametrize("seconds", [0, 3400])
    def test_a_cached_token(self, clock, provider, seconds):
        """A token that is fresh, or inside its buffer, is read without the slow path."""
        with TokenKeeper(clock=clock) as keeper:
            keeper.add_provider(provider)
            source = keeper.source("api")
            aio = source.aio
            source()
            internals.take_over_scheduler(keeper)
            clock.step(seconds)
            keeper.get_token("api")  # notes that the scheduler is running
            with internals.without_slow_path(keeper):
                assert source() == source.get_token() == "own-1"
                anyio.run(self.read, aio)
            internals.release_scheduler(keeper)

    @staticmethod
    async def read(aio):
        assert await aio.get_token() == "own-1"

    def test_a_timeout(self, keeper, clock):
        """A timeout is the caller's own, and may be invalid."""
        keeper.add_provider(slow := Source("slow", clock=clock))
        slow.gate.clear()
        source = keeper.source("slow")
        with pytest.raises(TokenWaitTimeoutError, match="provider 'slow'"):
            source.get_token(timeout=0)
        with pytest.raises(InvalidConfigurationError, match="timeout"):
            source.token(timeout=-1)
        slow.gate.set()

    @pytest.mark.parametrize("refused", ["", "Bearer alice-1", None, 7])
    def test_an_invalid_rejected_token(self, keeper, refused):
        """What is not a token is refused, on both fronts."""
        source = keeper.source("api", account="alice")
        with pytest.raises(InvalidConfigurationError, match="refused_token"):
            source.renew_refused(refused)
        with pytest.raises(InvalidConfigurationError, match="refused_token"):
            anyio.run(source.aio.renew_refused, refused)

    def test_a_crowd(self, keeper, provider):
        """Callers that need the same token share one request; others do not wait for it."""
        source = keeper.source("api", account="alice")
        assert set(crowd(16, source).join()) == {"alice-1"}
        assert len(provider.requests) == 1

    def test_no_secret_shows(self, keeper):
        """A representation shows the provider's name alone, and a source can't be pickled."""
        source = keeper.source("api", account="alice", subject="the token of alice")
        source()
        for each in (source, source.aio):
            assert repr(each).endswith("of 'api'>")
            with pytest.raises(TypeError):
                pickle.dumps(each)


class TestFollowing:
    """A source follows whatever happens to its token."""

    def test_it_is_what_the_name_gives(self, keeper, clock, look):
        """At any time a source and its name give the same token."""
        source = keeper.source("api", account="alice")
        steps = [
            lambda: None,
            lambda: source.get_token(force_refresh=True),
            lambda: keeper.get_token(source.name, force_refresh=True),
            lambda: (clock.step(3300), look(keeper)),
            lambda: clock.step(4000),
            lambda: keeper.clear_token(source.name),
            lambda: keeper.clear_token("api"),
            lambda: keeper.clear_token(),
            lambda: source.renew_refused(source()),
            lambda: keeper.renew_refused(source.name, source()),
            lambda: internals.after_fork_in_child(keeper),
            lambda: internals.reconsider(keeper),
        ]
        for step in steps * 2:
            step()
            assert source() == keeper.get_token(source.name)
            assert keeper.get_token(source.name) == source()

    def test_a_cleared_token(self, keeper):
        """A token that was cleared is not returned again."""
        source = keeper.source("api", account="alice")
        source()
        keeper.clear_token("api")
        assert source() == "alice-2"

    def test_a_rejected_token(self, keeper, provider):
        """A token that an API rejected is not returned while its renewal fails."""
        source = keeper.source("api", account="alice")
        token = source()
        provider.failing.add("alice")
        with pytest.raises(TokenAcquisitionError):
            source.renew_refused(token)
        with pytest.raises(TokenAcquisitionError):
            source()

    def test_a_provider_of_the_same_name(self, keeper, clock):
        """After remove_provider() it fails; with another provider of that name it goes on."""
        sources = [keeper.source("api"), keeper.source("api", account="alice")]
        seen = []
        sources[1].subscribe(lambda token: seen.append(token.access_token))
        for source in sources:
            source()
        keeper.remove_provider("api")
        for source in sources:
            with pytest.raises(UnknownProviderError):
                source()
        keeper.add_provider(other := ManyTokens(clock=clock))
        assert [source() for source in sources] == ["own-1", "alice-2"]
        assert [each.account for each in other.requests] == [None, "alice"]

    def test_a_provider_that_is_replaced_meanwhile(self, keeper, clock):
        """A caller that asks while its provider is replaced does not ask the old one."""
        name = keeper.source("api", account="alice").name
        need = internals.need(keeper, name)
        keeper.remove_provider("api")
        keeper.add_provider(other := ManyTokens(clock=clock))
        with pytest.raises(UnknownProviderError, match="was replaced while"):
            internals.ask(keeper, need)
        assert other.requests == []

    def test_a_provider_that_takes_less(self, keeper, clock):
        """A source whose parameters the new provider does not take says so."""
        source = keeper.source("api", account="alice")
        source()
        keeper.remove_provider("api")
        keeper.add_provider(Source("api", clock=clock))
        with pytest.raises(InvalidConfigurationError, match="does not take account"):
            source()

    def test_a_forked_child(self, keeper, provider, exit_code_of):
        """A child uses the tokens that it inherited, and renews on its own."""
        source = keeper.source("api", account="alice")
        source()

        def child():
            assert source() == "alice-1"
            assert keeper.source("api", account="alice") is source
            assert source.get_token(force_refresh=True) == "alice-2"
            assert keeper.source("api", account="bob")() == "bob-3"
            return 0

        assert exit_code_of(child) == 0
        assert source() == "alice-1"


def reject_all(source):
    """Report each token of *source* as rejected, until no other one is requested."""
    for _ in range(10):
        source.renew_refused(source())


class TestOneKey:
    """Everything that a keeper knows is known for each token."""

    @pytest.fixture
    def alice(self, keeper):
        return keeper.source("api", account="alice")

    @pytest.fixture
    def bob(self, keeper):
        return keeper.source("api", account="bob")

    def test_the_name_in_place_of_a_provider_s(self, keeper, alice):
        """Its name works wherever a provider's name does, on both fronts."""
        manager = OAuth2TokenManager(keeper)
        assert keeper.get_token(alice.name) == alice() == "alice-1"
        assert keeper.get_token(str(alice.name)) == "alice-1"
        assert keeper.get_oauth2_token(alice.name).access_token == "alice-1"
        assert keeper.renew_refused(alice.name, "alice-1") == "alice-2"
        assert anyio.run(manager.get_token, alice.name) == "alice-2"
        assert KeeperAuth(keeper, alice.name) == alice.auth()

    @pytest.mark.parametrize("is_kept", [False, True], ids=["not requested", "requested"])
    def test_a_source_of_a_name(self, keeper, provider, is_kept):
        """It is for what the name states, whether or not that token was requested before."""
        name = str(TokenName.of("api", TokenParameters.of(account="alice")))
        if is_kept:
            keeper.get_token(name)
        source = keeper.source(name)
        assert (source.name, source()) == (name, "alice-1")
        assert keeper.get_token(name, force_refresh=True) == source() == "alice-2"
        assert {each.account for each in provider.requests} == {"alice"}

    def test_a_source_of_a_name_with_a_secret(self, keeper):
        """It can be made while the token is kept; the name alone is not enough to request it."""
        name = str(TokenName.of("api", TokenParameters.of(subject="the token of alice")))
        with pytest.raises(UnknownProviderError, match="stands for a secret"):
            keeper.source(name)
        kept = keeper.source("api", subject="the token of alice")
        kept()
        assert keeper.source(name)() == kept()

    def test_a_source_of_a_name_and_more(self, keeper, alice):
        """A name can't be combined with parameters: its token would be for those alone."""
        says = r"name of one token, which can't be combined with resource\. Pass the provider's"
        with pytest.raises(InvalidConfigurationError, match=says) as info:
            keeper.source(alice.name, resource="https://a.example")
        assert info.value.field == "resource"
        assert "alice" not in str(info.value)

    def test_a_name_that_stands_for_a_secret(self, keeper):
        """The name of a token for a subject works while the token is kept, and says so after."""
        source = keeper.source("api", subject="the token of alice")
        with pytest.raises(UnknownProviderError, match="stands for a secret"):
            keeper.get_token(source.name)
        source()
        assert keeper.get_token(source.name) == source()
        assert keeper.get_token(source.name, force_refresh=True) == source()

    def test_flights_and_failures(self, keeper, provider, alice, bob):
        """A failure, and its cooldown, is one token's."""
        provider.failing.add("alice")
        for _ in range(3):
            with pytest.raises(TokenAcquisitionError, match="no"):
                alice()
        assert bob() == "bob-2"
        assert len(provider.requests) == 2

    def test_rejections(self, keeper, alice, bob):
        """An API that rejects one token says nothing of another, and no error names the account."""
        for source in (alice, bob):
            source()
        with pytest.raises(TokenRejectedError) as caught:
            reject_all(alice)
        assert caught.value.provider_name == "api"
        assert str(caught.value).startswith("provider 'api': the API rejects")
        assert "alice" not in str(caught.value)
        assert alice.would_reject(alice())
        assert not bob.would_reject(bob())
        tokens = keeper.health()["providers"]["api"]["tokens"]
        assert tokens[alice.name]["refused_by_api"] > 1
        assert "alice" not in tokens[alice.name]["last_error"]
        assert "refused_by_api" not in tokens[bob.name]

    def test_the_scheduler(self, keeper, clock, look, alice, bob):
        """Each token is renewed when it is due."""
        alice()
        clock.step(1000)
        assert [alice(), bob(), bob()] == ["alice-1", "bob-2", "bob-2"]
        clock.step(2300)
        assert look(keeper) == [alice.name]
        assert [alice(), bob()] == ["alice-3", "bob-2"]

    def test_information(self, keeper, alice):
        """get_cached_token_info() has the provider's name and the token's."""
        assert keeper.get_cached_token_info(alice.name) is None
        alice()
        info = keeper.get_cached_token_info(alice.name)
        assert (info["provider_name"], info["token_name"]) == ("api", alice.name)
        assert info["state"] == "fresh"
        assert keeper.get_cached_token_info("api") is None
        keeper.get_token("api")
        assert keeper.get_cached_token_info("api")["token_name"] == "api"

    def test_clearing_one(self, keeper, alice, bob):
        """A token's name clears that token alone."""
        assert [keeper.get_token("api"), alice(), bob()] == ["own-1", "alice-2", "bob-3"]
        keeper.clear_token(alice.name)
        assert [keeper.get_token("api"), bob(), alice()] == ["own-1", "bob-3", "alice-4"]

    def test_clearing_a_provider_s(self, keeper, clock, alice, bob):
        """A provider's name clears all of its tokens, and no other provider's."""
        keeper.add_provider(ManyTokens("other", clock=clock))
        other = keeper.source("other", account="alice")
        assert [keeper.get_token("api"), alice(), bob(), other()] == [
            "own-1", "alice-2", "bob-3", "alice-1"]  # fmt: skip
        keeper.clear_token("api")
        assert [keeper.get_token("api"), alice(), bob(), other()] == [
            "own-4", "alice-5", "bob-6", "alice-1"]  # fmt: skip
        keeper.clear_token()
        assert [keeper.get_token("api"), other()] == ["own-7", "alice-2"]

    @pytest.mark.parametrize("is_async", [False, True])
    def test_refresh_all(self, keeper, provider, alice, bob, is_async):
        """refresh_all() renews every token, those for a subject too, and reports each by name."""
        secret = keeper.source("api", subject="the token of alice")
        for source in (alice, bob, secret):
            source()
        provider.failing.add("bob")
        call = OAuth2TokenManager(keeper).refresh_all
        found = anyio.run(call) if is_async else keeper.refresh_all()
        assert found == {alice.name: True, bob.name: False, secret.name: True}
        assert bob() == "bob-2"

    def test_refresh_all_and_a_token_that_is_gone(self, keeper, alice, bob):
        """A token that makes room for another meanwhile is left out."""
        alice(), bob()
        gone = keeper.source("api", subject="the token of alice")
        gone()
        with internals.after_listing(keeper, lambda: keeper.clear_token(gone.name)):
            assert keeper.refresh_all() == {alice.name: True, bob.name: True}
