"""Sign-ins in a fleet: what they bring is stored first, whatever the store does meanwhile."""

import threading

import pytest
from kit import internals
from kit.crowds import in_thread
from kit.sign_ins import SignInServer
from kit.stores import FaultyStore

from tokenkeeper import AuthorizationRequiredError, TokenAcquisitionError
from tokenkeeper.events import SignInFailed
from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.testing import SteppedClock
from tokenkeeper.testing.events import EventRecorder


@pytest.fixture
def web():
    with SignInServer() as web:
        yield web


def keeper_of(web, store, clock, **options):
    return web.keeper(web.provider(clock=clock, **options), clock=clock, store=store)


def sign_in(web, keeper, **options):
    authorization = keeper.authorize("crm", **options)
    return authorization.complete(web.sign_in(authorization.url)).access_token


def test_all_processes_have_it(web, store, clock):
    """What one process signed in for is another's without a request; its refresh token, too."""
    with keeper_of(web, store, clock) as one, keeper_of(web, store, clock) as other:
        with pytest.raises(AuthorizationRequiredError):
            other.get_token("crm")
        assert sign_in(web, one) == other.get_token("crm") == "token-1"
        clock.step(3600)
        assert other.get_token("crm") == one.get_token("crm") == "token-2"
    with keeper_of(web, store, clock) as restarted:
        assert restarted.get_token("crm") == "token-2"


def test_a_refused_refresh_token_is_replaced(web, store, clock):
    """The failure that the fleet shares goes with it, so that no process asks in vain."""
    with keeper_of(web, store, clock) as one, keeper_of(web, store, clock) as other:
        sign_in(web, one)
        clock.step(3600)
        web.answers = [(400, {"error": "invalid_grant"})]
        for keeper in (one, other, one):
            with pytest.raises(AuthorizationRequiredError, match="sign-in is needed"):
                keeper.get_token("crm")
        assert len(web.sent) == 2
        assert sign_in(web, other) == "token-3"
        assert one.get_token("crm") == other.get_token("crm") == "token-3"


def test_it_waits_for_the_refresh_token_before(web, store, clock):
    """While another process uses that one, the record stays claimed, and then is replaced."""
    with keeper_of(web, store, clock) as one, keeper_of(web, store, clock) as other:
        sign_in(web, one)
        clock.step(3600)
        authorization = one.authorize("crm")
        answer = web.sign_in(authorization.url)
        claimed_at = clock.monotonic()

        def meanwhile():
            assert authorization.complete(answer).access_token == "token-3"

        web.during = meanwhile  # the request with the refresh token before is under way
        assert other.get_token("crm") == "token-3"
        assert clock.monotonic() - claimed_at >= 10  # then the claim is taken over
        assert one.get_token("crm") == "token-3"
        clock.step(3600)
        assert other.get_token("crm") == "token-4"
    assert web.sent[-1]["refresh_token"] == "refresh-3"


def test_it_waits_for_a_request_of_the_same_process(web, store, clock):
    """The same holds for a request of this process, which a nested sign-in would wait for."""
    with keeper_of(web, store, clock) as one:
        sign_in(web, one)
        clock.step(3600)
        authorization = one.authorize("crm")
        answer = web.sign_in(authorization.url)
        web.during = lambda: authorization.complete(answer)
        one.get_token("crm")
        assert one.get_token("crm") == "token-3"
        clock.step(3600)
        assert one.get_token("crm") == "token-4"
    assert web.sent[-1]["refresh_token"] == "refresh-3"


@pytest.mark.parametrize("operation", ["read", "claim", "publish"])
def test_the_store_fails_at_that_moment(web, store, clock, operation):
    """The token serves from memory, and its refresh token is stored once the store is back."""
    with keeper_of(web, store, clock) as one:
        sign_in(web, one)
        authorization = one.authorize("crm")
        answer = web.sign_in(authorization.url)
        web.during = lambda: store.go_down(operation)
        assert authorization.complete(answer).access_token == "token-2"
        assert one.get_token("crm") == "token-2"
        store.come_back()
        clock.step(5)
    with keeper_of(web, store, clock) as other:
        assert other.get_token("crm") == "token-2"
        clock.step(3600)
        assert other.get_token("crm") == "token-3"
    assert web.sent[-1]["refresh_token"] == "refresh-2"


def test_the_store_is_away_before(web, store, clock):
    """Then nothing is requested, so that the answer still counts once the store is back."""
    with keeper_of(web, store, clock) as one:
        authorization = one.authorize("crm")
        answer = web.sign_in(authorization.url)
        store.go_down()
        with pytest.raises(TokenAcquisitionError, match="without the store") as info:
            authorization.complete(answer)
        assert info.value.transient
        assert isinstance(info.value.__cause__, StoreUnavailableError)
        with pytest.raises(TokenAcquisitionError, match="without the store"):
            one.authorize("crm")
        store.come_back()
        clock.step(5)
        store.go_down("publish")
        with pytest.raises(TokenAcquisitionError, match="without the store"):
            one.authorize("crm")
        assert web.sent == []
        store.come_back()
        clock.step(5)
        assert authorization.complete(answer).access_token == "token-1"


def test_the_clocks_move_as_it_is_stored(web, store, clock):
    """A token that expires between its request and its first read is not served."""
    with keeper_of(web, store, clock) as keeper:

        def sleep():
            clock.step_wall(4000)
            internals.look_at_clocks(keeper)

        authorization = keeper.authorize("crm", timeout_seconds=9000)
        answer = web.sign_in(authorization.url)
        store.after["publish"] = sleep
        authorization.complete(answer)
        assert keeper.get_token("crm") == "token-2"


def test_another_process_is_faster(web, store, clock):
    """A token that is stored between claim and store does not replace that of the sign-in."""
    with keeper_of(web, store, clock) as one:
        sign_in(web, one)
        authorization = one.authorize("crm")
        answer = web.sign_in(authorization.url)
        (key,) = [key for key, entry in store.snapshot().items() if entry.keep]

        def overtake():
            store.put(key, store.snapshot()[key].generation, b"0.token.{}")

        store.before["publish"] = overtake
        assert authorization.complete(answer).access_token == "token-2"
    with keeper_of(web, store, clock) as other:
        assert other.get_token("crm") == "token-2"


# ---- completed by another process


def test_another_process_completes_it(web, store, clock):
    """It finds the sign-in by its state alone, and returns a handle on the account's token."""
    with keeper_of(web, store, clock) as one, keeper_of(web, store, clock) as other:
        authorization = one.authorize("crm", account="acme", resource="https://a.test")
        answer = web.sign_in(authorization.url)
        source = other.complete_authorization("crm", answer, state=authorization.state)
        assert source() == one.source("crm", account="acme")() == "token-1"
        assert source.name == authorization.token_name
        with pytest.raises(TokenAcquisitionError, match="completed already"):
            one.complete_authorization("crm", answer, state=authorization.state)
        with pytest.raises(TokenAcquisitionError, match="completed already"):
            authorization.complete(answer)
    assert len(web.sent) == 1


def test_the_providers_own_token(web, store, clock):
    """Without an account it is the provider's own."""
    with keeper_of(web, store, clock) as one:
        authorization = one.authorize("crm")
        answer = web.sign_in(authorization.url)
        assert one.complete_authorization("crm", answer, state=authorization.state).name == "crm"


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("a guessed state", "its state is not that of this session"),
        ("another session", "its state is not that of this session"),
        ("no state", "its state is not that of this session"),
        ("an unknown state", "there is no such sign-in"),
        ("expired", "there is no such sign-in"),
        ("another provider", "there is no such sign-in"),
        ("a foreign issuer", "which was not asked"),
        ("declined", "access_denied"),
    ],
)
def test_bad_answers(web, store, clock, kind, says):
    """Each is refused without a request; only a denial or its expiry ends the sign-in."""
    providers = [web.provider(name, clock=clock) for name in ("crm", "erp")]
    with web.keeper(*providers, clock=clock, store=store) as keeper:
        begun = keeper.authorize("crm", timeout_seconds=60)
        name, url, state = "crm", web.sign_in(begun.url), begun.state
        match kind:
            case "a guessed state":
                url = web.sign_in(begun.url, state="guessed")
            case "another session":
                state = keeper.authorize("crm").state
            case "no state":
                url, state = web.sign_in(begun.url, state=None), ""
            case "an unknown state":
                url, state = web.sign_in(begun.url, state="unknown"), "unknown"
            case "expired":
                clock.step(60)
            case "another provider":
                name = "erp"
            case "a foreign issuer":
                url = web.sign_in(begun.url, iss="https://evil.test")
            case "declined":
                url = web.decline(begun.url)
        with pytest.raises(TokenAcquisitionError, match=says) as info:
            keeper.complete_authorization(name, url, state=state)
        assert web.sent == []
        assert begun.state not in str(info.value)
        again = [web.sign_in(begun.url), begun.state]
        if kind in ("expired", "declined"):
            with pytest.raises(TokenAcquisitionError, match="no such sign-in"):
                keeper.complete_authorization("crm", again[0], state=again[1])
        else:
            assert keeper.complete_authorization("crm", again[0], state=again[1])() == "token-1"


def test_two_at_once(web, store, clock):
    """Of two processes that complete it at once, one sends the code, and the other is refused."""
    with keeper_of(web, store, clock) as one, keeper_of(web, store, clock) as other:
        authorization = one.authorize("crm")
        answer, state = web.sign_in(authorization.url), authorization.state
        seen = []

        def overtake():
            seen.append(other.complete_authorization("crm", answer, state=state)())

        store.before["forget"] = overtake
        with pytest.raises(TokenAcquisitionError, match="completed already"):
            one.complete_authorization("crm", answer, state=state)
        assert seen == ["token-1"]
    assert len(web.sent) == 1


def test_nothing_of_it_is_readable_in_the_store(web, store, clock):
    """The key does not have the state, and a record that is damaged is not a sign-in."""
    with keeper_of(web, store, clock) as one:
        authorization = one.authorize("crm")
        (key,) = store.keys()
        assert authorization.state not in key
        store.put(key, 1, b"0.token.damaged")
        answer = web.sign_in(authorization.url)
        with pytest.raises(TokenAcquisitionError, match="no such sign-in"):
            one.complete_authorization("crm", answer, state=authorization.state)


def test_the_store_is_away_as_it_is_found(web, store, clock):
    """Each operation that fails is an error that may pass, and the sign-in is still there."""
    events = EventRecorder()
    with keeper_of(web, store, clock) as one:
        one.add_hook(events)
        authorization = one.authorize("crm")
        answer, state = web.sign_in(authorization.url), authorization.state
        for operation in ("read", "the second read", "forget"):
            if operation == "the second read":
                store.after["read"] = lambda: store.go_down("read")
            else:
                store.go_down(operation)
            with pytest.raises(TokenAcquisitionError, match="without the store") as info:
                one.complete_authorization("crm", answer, state=state)
            assert info.value.transient
            store.come_back()
            clock.step(5)
        assert one.complete_authorization("crm", answer, state=state)() == "token-1"
        assert not [each for each in events.events if isinstance(each, SignInFailed)]


def test_a_sign_in_in_threads(web):
    """A keeper with threads stores what a sign-in brings while its own request is under way."""
    clock = SteppedClock()
    store = FaultyStore(clock)
    with web.keeper(web.provider(clock=clock), clock=clock, store=store, background=True) as one:
        sign_in(web, one)
        authorization = one.authorize("crm")
        answer = web.sign_in(authorization.url)
        asked, go_on = threading.Event(), threading.Event()

        def hold():
            asked.set()
            go_on.wait(30)

        web.during = hold
        renewal, _ = in_thread(one.get_token, "crm", True)
        try:
            assert asked.wait(30)
            completed, outcomes = in_thread(authorization.complete, answer)
            while clock.waiting < 2:  # the scheduler, and the sign-in that waits its turn
                threading.Event().wait(0.002)
        finally:
            go_on.set()
        renewal.join(30)
        while completed.is_alive():
            clock.step(0.05)
            threading.Event().wait(0.002)
        assert outcomes[0].access_token == one.get_token("crm") == "token-3"
