"""Providers that ask their keeper for another token while they request their own."""

import threading
from contextlib import ExitStack
from functools import partial

import anyio
import pytest
from kit import internals
from kit.crowds import at_once, crowd, tasks_at_once
from kit.guards import until
from kit.providers import WatchedSource

from tokenkeeper import (
    BaseOAuth2Provider,
    OAuth2TokenManager,
    RetryPolicy,
    TokenAcquisitionError,
    TokenKeeper,
    TokenWaitTimeoutError,
)
from tokenkeeper.names import TokenName, TokenParameters
from tokenkeeper.schedule import SOON_SECONDS

SUBJECTS = 64


class Exchange(WatchedSource):
    """Requests the token of another provider first, by ``need()``; takes any account."""

    takes = frozenset({"account"})

    def __init__(self, name, need, **options):
        super().__init__(name, **options)
        self.need = need

    def acquire_token(self):
        self.need()
        return super().acquire_token()


class AsyncExchange(Exchange):
    """The same with ``async def``."""

    async def acquire_token(self):
        await self.need()
        return WatchedSource.acquire_token(self)


@pytest.fixture
def make_keeper():
    """Return a function that makes keepers, which are closed at the end."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(TokenKeeper(**options))


MODES = [{"max_workers": 1}, {"max_workers": 3}, {"background": False}]


@pytest.mark.parametrize("options", MODES, ids=str)
@pytest.mark.parametrize("subjects", ["one", "many"])
def test_a_cold_crowd(make_keeper, options, subjects):
    """However few workers there are, each of many cold tokens gets the one that it needs first."""
    keeper = make_keeper(**options)
    subject = Exchange("subject", lambda: None)
    keeper.add_provider(subject)
    accounts = iter(range(SUBJECTS))

    def need():
        account = str(next(accounts)) if subjects == "many" else "1"
        keeper.source("subject", account=account)()

    keeper.add_provider(Exchange("api", need))
    sources = [keeper.source("api", account=str(number)) for number in range(SUBJECTS)]
    tokens = at_once(*sources)
    assert not [token for token in tokens if isinstance(token, Exception)]
    assert len(set(tokens)) == SUBJECTS
    assert subject.requests == (1 if subjects == "one" else SUBJECTS)


@pytest.mark.parametrize("options", MODES, ids=str)
def test_a_crowd_of_tasks(make_keeper, options):
    """An async provider that awaits another token does not wait for ever, on any loop."""
    keeper = make_keeper(**options)
    manager = OAuth2TokenManager(keeper)
    keeper.add_provider(WatchedSource("subject"))
    keeper.add_provider(AsyncExchange("api", lambda: manager.get_token("subject")))
    names = [keeper.source("api", account=str(number)).name for number in range(20)]
    results = at_once(
        *[lambda each=name: [keeper.get_token(each)] for name in names],
        lambda: tasks_at_once("asyncio", 20, lambda: manager.get_token("api")),
        lambda: tasks_at_once("trio", 20, lambda: manager.get_token("api")),
    )
    assert not [token for result in results for token in result if not isinstance(token, str)]
    assert len({token for result in results for token in result}) == 21


def test_a_request_that_waits_in_the_queue(make_keeper):
    """A worker that needs a token whose request waits behind its own does not wait for ever."""
    keeper = make_keeper(max_workers=1)
    queued = threading.Event()
    subject = WatchedSource("subject")
    keeper.add_provider(subject)
    keeper.add_provider(Exchange("api", lambda: (queued.wait(20), keeper.get_token("subject"))))
    api = crowd(1, lambda: keeper.get_token("api"))
    until(lambda: internals.worker_threads(keeper))
    until(lambda: not internals.jobs_waiting(keeper))
    other = crowd(1, lambda: keeper.get_token("subject"))
    until(lambda: internals.jobs_waiting(keeper) == 1)
    queued.set()
    assert isinstance(api.join()[0], str)
    assert other.join() == [keeper.get_token("subject")]
    assert subject.requests == 1


def test_few_further_threads(make_keeper):
    """Requests that workers wait for have threads of their own: no more than there are workers."""
    keeper = make_keeper(max_workers=2)
    subject = Exchange("subject", lambda: None)
    keeper.add_provider(subject)
    keeper.add_provider(Exchange("api", lambda: keeper.get_token("subject")))
    subject.hold()
    sources = [keeper.source("api", account=str(number)) for number in range(SUBJECTS)]
    everyone = [crowd(1, source) for source in sources]
    assert subject.entered.wait(20)
    until(lambda: internals.jobs_waiting(keeper) == SUBJECTS - 2)
    assert len(internals.worker_threads(keeper)) == 2
    assert len(internals.nested_threads(keeper)) <= 2
    subject.gate.set()
    assert all(isinstance(each.join()[0], str) for each in everyone)


@pytest.mark.parametrize("options", MODES, ids=str)
@pytest.mark.parametrize("length", [2, 3, 5])
def test_a_circle(make_keeper, options, length):
    """Providers that need each other's tokens get an error that names the circle."""
    keeper = make_keeper(**options)
    names = [f"p{number}" for number in range(length)]
    for name, following in zip(names, names[1:] + names[:1], strict=True):
        keeper.add_provider(Exchange(name, lambda each=following: keeper.get_token(each)))
    with pytest.raises(TokenAcquisitionError, match="in a circle") as caught:
        keeper.get_token("p0")
    assert not caught.value.transient
    assert all(f"{name!r} needs" in str(caught.value) for name in names)


@pytest.mark.parametrize("options", MODES, ids=str)
def test_a_circle_that_begins_at_both_ends(make_keeper, options):
    """Two requests that begin to wait for each other at the same moment both get an error."""
    keeper = make_keeper(**options)
    both = threading.Barrier(2)

    def meet_and_need(name):
        if both.n_waiting < 2 and not both.broken:
            both.wait(20)
        keeper.get_token(name)

    keeper.add_provider(Exchange("a", lambda: meet_and_need("b")))
    keeper.add_provider(Exchange("b", lambda: meet_and_need("a")))
    if options.get("max_workers") == 1:
        both.abort()  # one worker makes one request at a time
    errors = at_once(lambda: keeper.get_token("a"), lambda: keeper.get_token("b"))
    assert all(isinstance(error, TokenAcquisitionError) for error in errors)
    assert any("in a circle" in str(error) for error in errors)


def test_an_async_circle(make_keeper):
    """Async providers that need each other's tokens get the same error."""
    keeper = make_keeper(max_workers=1)
    manager = OAuth2TokenManager(keeper)
    keeper.add_provider(AsyncExchange("a", lambda: manager.get_token("b")))
    keeper.add_provider(AsyncExchange("b", lambda: manager.get_token("a")))
    with pytest.raises(TokenAcquisitionError, match="in a circle: 'b' needs 'a', 'a' needs 'b'"):
        keeper.get_token("a")


def test_a_circle_of_two_keepers(make_keeper):
    """A circle through two keepers is noticed as well."""
    one, two = make_keeper(max_workers=1), make_keeper(max_workers=1)
    one.add_provider(Exchange("a", lambda: two.get_token("b")))
    two.add_provider(Exchange("b", lambda: one.get_token("a")))
    with pytest.raises(TokenAcquisitionError, match="in a circle"):
        one.get_token("a")


def test_two_ways_to_one_token(make_keeper):
    """A token that two others need is not a circle."""
    keeper = make_keeper(max_workers=1)
    keeper.add_provider(WatchedSource("root"))
    keeper.add_provider(Exchange("left", lambda: keeper.get_token("root")))
    keeper.add_provider(Exchange("right", lambda: keeper.get_token("root")))
    needs = ("left", "right", "left")
    keeper.add_provider(Exchange("top", lambda: [keeper.get_token(each) for each in needs]))
    assert isinstance(keeper.get_token("top"), str)


def test_two_ways_at_once(make_keeper):
    """A request that waits for two others at once, which need the same token, is not a circle."""
    keeper = make_keeper(max_workers=2)
    manager = OAuth2TokenManager(keeper)
    root = WatchedSource("root")
    root.hold()
    sides = [Exchange(name, lambda: keeper.get_token("root")) for name in ("left", "right")]

    async def both():
        async with anyio.create_task_group() as tasks:
            for side in sides:
                tasks.start_soon(manager.get_token, side.provider_name)

    top = AsyncExchange("top", both)
    for provider in (root, *sides, top, Exchange("api", lambda: keeper.get_token("top"))):
        keeper.add_provider(provider)
    first = crowd(1, lambda: keeper.get_token("top"))
    until(lambda: internals.threads_waiting(keeper, "root") == 2)
    second = crowd(1, lambda: keeper.get_token("api"))
    until(lambda: internals.threads_waiting(keeper, "top") == 2)
    root.gate.set()
    assert all(isinstance(each.join()[0], str) for each in (first, second))


def test_a_wait_that_is_given_up(make_keeper):
    """A provider may wait for another token for a limited time, and then do without."""
    keeper = make_keeper(max_workers=1)
    subject = WatchedSource("subject")
    keeper.add_provider(subject)
    subject.hold()

    def need():
        with pytest.raises(TokenWaitTimeoutError):
            keeper.get_token("subject", timeout=SOON_SECONDS)

    keeper.add_provider(Exchange("api", need))
    assert isinstance(keeper.get_token("api"), str)
    subject.gate.set()


def test_an_error_of_the_other_provider(make_keeper):
    """An error names the provider that failed."""
    keeper = make_keeper(max_workers=1)
    subject = WatchedSource("subject")
    keeper.add_provider(subject)
    subject.error = TokenAcquisitionError("no", provider_name="subject", transient=False)
    keeper.add_provider(Exchange("api", lambda: keeper.get_token("subject")))
    with pytest.raises(TokenAcquisitionError) as caught:
        keeper.get_token("api")
    assert caught.value.provider_name == "subject"


@pytest.mark.parametrize("length", [2, 4])
def test_an_outage_at_the_start_of_a_chain(make_keeper, clock, length):
    """The request that fails is repeated as its policy says, and not once more for each link."""
    keeper = make_keeper(clock=clock)
    first = WatchedSource("p0", clock=clock)
    first.error = TokenAcquisitionError("down", provider_name="p0", transient=True)
    keeper.add_provider(first)
    for number in range(1, length):
        need = partial(keeper.get_token, f"p{number - 1}")
        keeper.add_provider(Exchange(f"p{number}", need, clock=clock))
    with pytest.raises(TokenAcquisitionError) as caught:
        keeper.get_token(f"p{length - 1}")
    assert caught.value.transient
    assert first.requests == RetryPolicy().attempts


def test_a_failure_of_its_own(make_keeper, clock):
    """A provider's own failure is repeated, whatever an earlier one left in the error."""
    keeper = make_keeper(clock=clock)
    provider = WatchedSource("api", clock=clock)
    provider.error = TokenAcquisitionError("down", provider_name="api", transient=True, attempts=3)
    keeper.add_provider(provider)
    with pytest.raises(TokenAcquisitionError):
        keeper.get_token("api")
    assert provider.requests == RetryPolicy().attempts


def test_hosts_without_a_further_thread(make_keeper, monkeypatch):
    """If no thread can be started, the worker makes the request that it needs itself."""
    keeper = make_keeper(max_workers=1)
    keeper.add_provider(WatchedSource("subject"))
    start = threading.Thread.start

    def refuse(thread):
        if threading.current_thread() in internals.worker_threads(keeper):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    keeper.add_provider(Exchange("api", lambda: keeper.get_token("subject")))
    assert isinstance(keeper.get_token("api"), str)


def test_idle_timeouts_of_subjects(clock, make_keeper):
    """A token for a subject is renewed only if it was used since; that can be changed."""
    for options, expected in [({}, 0.0), ({"idle_timeout_seconds": 7}, 7.0)]:
        keeper = make_keeper(clock=clock, **options)
        timeouts = internals.idle_timeouts(keeper)
        name = TokenName.of("api", TokenParameters.of(subject="x"))
        assert timeouts.of(name) == expected
        assert timeouts.of(TokenName.of("api", TokenParameters.of(scope="x"))) > 0


def test_an_error_that_two_providers_share_is_retried_for_both():
    """The attempts of one provider, counted in the error, do not count for another one."""
    error = TokenAcquisitionError("down", status_code=503)
    asked = []

    class Down(BaseOAuth2Provider):
        def acquire_token(self):
            asked.append(self.provider_name)
            raise error

    policy = RetryPolicy(attempts=2, initial_wait_seconds=0)
    with TokenKeeper(background=False, retry=policy) as keeper:
        for name in ("a", "b"):
            keeper.add_provider(Down(name))
            with pytest.raises(TokenAcquisitionError):
                keeper.get_token(name)
    assert asked == ["a", "a", "b", "b"]
