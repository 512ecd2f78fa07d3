"""Takeover by the age of a claim, the holder's last look, and claims of its own."""

import pytest
from kit import internals
from kit.stores import FleetProvider, leave_claim

from tokenkeeper import RetryPolicy, TokenAcquisitionError
from tokenkeeper.events import ClaimTakenOver
from tokenkeeper.oauth.claims import is_claimed, last_look, may_send


def takeovers(keeper):
    """Return the events of claims taken over."""
    return [event for event in keeper.events.events if isinstance(event, ClaimTakenOver)]


class TestTakeover:
    """The process that takes over says how old a claim must be."""

    @pytest.fixture
    def keeper(self, fleet):
        """Return a keeper without a token."""
        return fleet.keeper()

    def test_after_five_seconds_without_a_token(self, fleet, keeper, clock, server):
        """A caller with nothing valid takes over after 5 s, and not earlier."""
        leave_claim(fleet)
        began = clock.monotonic()
        assert keeper.get_token("api") == "token-1"
        assert 5.0 <= clock.monotonic() - began < 5.5
        assert server.requests == 1

    def test_says_so(self, fleet, keeper):
        """A takeover is an event with the age of the claim and what its owner was about to do."""
        leave_claim(fleet, 100)
        keeper.get_token("api")
        (event,) = takeovers(keeper)
        assert event.claim_age_seconds == 100
        assert event.intent == "host:9 is about to request a token"

    def test_after_35_seconds_with_a_token(self, fleet, keeper, clock, server):
        """A scheduled renewal takes over 5 s after the longest request, and not earlier."""
        keeper.get_token("api")
        clock.step(internals.cached(keeper).renew_at - clock.monotonic())
        leave_claim(fleet, 34.9)
        internals.look(keeper)
        assert server.requests == 1
        clock.step(0.25)
        internals.look(keeper)
        assert server.requests == 2
        assert takeovers(keeper)[0].claim_age_seconds == pytest.approx(35.15)

    def test_a_provider_with_longer_requests(self, fleet, clock, server):
        """A provider whose requests may take longer gives others more time."""
        provider = FleetProvider(server)
        provider.longest_request_seconds = 100.0
        keeper = fleet.keeper(provider=provider)
        keeper.get_token("api")
        clock.step(internals.cached(keeper).renew_at - clock.monotonic())
        leave_claim(fleet, 104)
        internals.look(keeper)
        assert server.requests == 1
        clock.step(1)
        internals.look(keeper)
        assert server.requests == 2

    def test_never_early_for_a_refresh_token_that_works_once(self, family, clock, strict):
        """Such a caller without a valid token waits for the whole 35 s, too."""
        keeper = family.keeper()
        leave_claim(family)
        began = clock.monotonic()
        assert keeper.get_token("api") == "token-1"
        assert 35.0 <= clock.monotonic() - began < 40.0
        assert strict.requests == 1

    @pytest.mark.parametrize("seconds", [-3600, -10])
    def test_never_early_when_the_store_s_clock_was_set_back(
        self, family, clock, store, strict, seconds
    ):
        """Such a caller also waits if the store can't tell how old the claim is."""
        keeper = family.keeper()
        leave_claim(family, 5)
        store.own_clock.shift += seconds
        began = clock.monotonic()
        assert keeper.get_token("api") == "token-1"
        assert 35.0 <= clock.monotonic() - began < 42.0
        assert strict.requests == 1

    def test_early_if_the_request_may_be_repeated(self, fleet, keeper, clock, store, server):
        """A caller that may repeat the request takes over a claim of unknown age at once."""
        leave_claim(fleet, 5)
        store.own_clock.shift -= 3600
        began = clock.monotonic()
        assert keeper.get_token("api") == "token-1"
        assert clock.monotonic() - began < 1.0
        assert server.requests == 1

    def test_one_takes_over(self, fleet, clock, server):
        """Of several that wait, one takes the claim over, and the others adopt what it gets."""
        keepers = fleet.several(4)
        leave_claim(fleet, 6)
        assert {keeper.get_token("api") for keeper in keepers} == {"token-1"}
        assert sum(len(takeovers(keeper)) for keeper in keepers) == 1

    def test_nobody_goes_alone(self, fleet, clock, server):
        """A server that takes 30 s is asked by one process and one that takes over, not by all."""
        first, *others = fleet.several(8)

        def slow():
            clock.step(2)
            for keeper in others:
                with pytest.raises(TokenAcquisitionError):
                    keeper.get_token("api", timeout=0.0)

        server.during = slow
        assert first.get_token("api") == "token-1"
        assert server.requests == 1


class TestLastLook:
    """Right before it sends, the holder checks that its claim is young."""

    def test_paused_between_claim_and_request(self, fleet, clock, store, server):
        """A process that was stopped after it claimed sends nothing, and looks again."""
        keeper, other = fleet.several(2)

        def pause():
            clock.step(36)
            assert other.get_token("api") == "token-1"

        store.after["claim"] = pause
        assert keeper.get_token("api") == "token-1"
        assert server.requests == 1
        assert [event.intent for event in takeovers(other)] == [
            "host:1 is about to request a token"
        ]

    def test_paused_alone(self, fleet, clock, store, server):
        """If no one took over meanwhile, it claims again and sends one request."""
        keeper = fleet.keeper()
        store.after["claim"] = lambda: clock.step(3)
        assert keeper.get_token("api") == "token-1"
        assert store.calls.count("claim") == 2
        assert not store.record.is_claimed

    def test_paused_with_a_refresh_token_that_works_once(self, family, clock, store, strict):
        """So a refresh token is not spent twice by a process that was paused past its claim."""
        keeper, other = family.several(2)
        for each in (keeper, other):
            each.get_token("api")
        clock.step(internals.cached(keeper).renew_at - clock.monotonic())

        def pause():
            clock.step(36)
            internals.look(other)

        store.after["claim"] = pause
        internals.look(keeper)
        clock.step(0.3)
        internals.look(keeper)
        assert keeper.get_token("api") == other.get_token("api") == "token-2"
        assert not strict.is_revoked

    def test_on_the_wire(self, fleet, clock, store, server):
        """A provider looks once more when it sends: others take over after its longest request."""
        seen = []

        class Careful(FleetProvider):
            def acquire_token(self):
                seen.extend([is_claimed(), may_send()])
                clock.step(29.9)
                seen.append(may_send())
                clock.step(0.2)
                seen.append(may_send())
                last_look()
                return super().acquire_token()

        provider = Careful(server)
        keeper = fleet.keeper(provider=provider)
        store.after["fail"] = lambda: setattr(provider, "acquire_token", lambda: server.grant())
        assert keeper.get_token("api") == "token-1"
        assert seen == [True, True, True, False]
        assert (is_claimed(), may_send()) == (None, True)

    def test_without_the_store(self, fleet, store, server):
        """Without a claim, a provider learns that there is none, and may send."""
        seen = []

        class Careful(FleetProvider):
            def acquire_token(self):
                seen.extend([is_claimed(), may_send()])
                return super().acquire_token()

        store.go_down()
        fleet.keeper(provider=Careful(server)).get_token("api")
        assert seen == [False, True]


class TestOwnClaim:
    """A claim that the store granted although its client gave up."""

    def test_is_adopted_by_its_owner(self, fleet, clock, store, server):
        """The owner finds that it holds the claim, and asks without waiting for its age."""
        keeper = fleet.keeper(when_unavailable="wait", retry=RetryPolicy(attempts=1))
        store.go_down("claim", executes=True)
        with pytest.raises(TokenAcquisitionError, match="without the store"):
            keeper.get_token("api")
        assert store.record.is_claimed
        store.come_back()
        clock.step(5)
        began = clock.monotonic()
        assert keeper.get_token("api") == "token-1"
        assert clock.monotonic() == began
        assert not takeovers(keeper)

    def test_others_take_it_over_by_age(self, fleet, clock, store, server):
        """To other processes it is a claim like any other."""
        keeper, other = fleet.several(2, retry=RetryPolicy(attempts=1), when_unavailable="wait")
        store.go_down("claim", executes=True)
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("api")
        store.come_back()
        began = clock.monotonic()
        assert other.get_token("api") == "token-1"
        assert clock.monotonic() - began >= 5
        assert len(takeovers(other)) == 1
