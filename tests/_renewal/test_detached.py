"""Requests that helper processes make: the side of the process that hands them over."""

import pickle
from typing import ClassVar

import pytest
from kit.guards import until
from kit.portable import Fixed, OfMain, Portable, Reduced, Unpicklable

from tokenkeeper import InvalidConfigurationError, TokenAcquisitionError, TokenKeeper
from tokenkeeper._renewal import detached
from tokenkeeper._renewal.detached_job import STARTED
from tokenkeeper._renewal.detached_main import perform
from tokenkeeper.retry import RetryPolicy
from tokenkeeper.stores.sqlite import SQLiteTokenStore
from tokenkeeper.testing.stores import MemoryTokenStore


class Helper:
    """Stands in for a helper process: performs the job here, and then answers as a test wants.

    :cvar says: changes the answer; by default it is complete.
    :cvar jobs: the jobs so far.
    """

    jobs: ClassVar[list] = []

    def __init__(self, job):
        self._job = pickle.loads(job[4:])
        self.output = b""

    def says(self, output):
        """Return what the waiting process reads of *output*."""
        return output

    def hand_over(self):
        self.jobs.append(self._job)
        pieces = []
        perform(self._job, pieces.append)
        self.output = self.says(b"".join(pieces))

    def read(self, count, ends_at):
        found, self.output = self.output[:count], self.output[count:]
        return found

    def close(self):
        self.closed = True


@pytest.fixture
def path(tmp_path):
    """Return the path of a store that only this user can write."""
    tmp_path.chmod(0o700)
    return tmp_path / "store.db"


@pytest.fixture
def use(monkeypatch):
    """Return a function that has a stand-in make the requests."""
    Helper.jobs.clear()
    Portable.asked.clear()
    return lambda kind: monkeypatch.setattr(detached, "HelperProcess", kind)


@pytest.fixture
def make(path, use):
    """Return a function that makes keepers whose requests are made by stand-ins."""
    use(Helper)
    keepers = []

    def make(*providers, **options):
        options = {"retry": RetryPolicy(attempts=1), **options}
        store = {"url": f"sqlite:///{path}", "detached": True}
        keeper = TokenKeeper(store=store, **options)
        keepers.append(keeper)
        for provider in providers or [Portable()]:
            keeper.add_provider(provider)
        return keeper

    yield make
    for keeper in keepers:
        keeper.close()


def record(path):
    """Return the only record of the store."""
    store = SQLiteTokenStore(path)
    (key,) = store.keys()
    return store.read(key)


def test_a_helper_requests_and_stores(make, path):
    """A helper makes each request and stores its token; the process serves it as its own."""
    events = []
    keeper = make(hooks=[events.append])
    assert keeper.get_token("api") == "first"
    assert keeper.get_token("api", force_refresh=True) == "after-first"
    assert keeper.renew_refused("api", "after-first") == "in-place-of-after-first"
    until(lambda: len(events) == 4, "the events")
    kinds = [type(each).__name__ for each in events]
    assert kinds == ["TokenAcquired", "TokenRenewed", "TokenRefused", "TokenRenewed"]
    assert (record(path).generation, record(path).is_claimed) == (3, False)
    assert keeper.get_cached_token_info("api")["generation"] == 3


def test_each_claim_has_another_owner(make):
    """After a hand-over, the process can't claim on top of its helper."""
    keeper = make()
    keeper.get_token("api")
    keeper.get_token("api", force_refresh=True)
    assert len({job.held.claim.record.owner for job in Helper.jobs}) == 2


def test_repeatable_requests_are_made_here(make):
    """A provider whose request can be repeated needs no helper."""
    provider = Fixed()
    provider.repeatable = True
    assert make(provider).get_token("api") == "first"
    assert Helper.jobs == []


def test_a_refusal_is_shared(make):
    """What the server answered to the helper reaches callers, and the fleet, once."""
    keeper = make(Portable(refusal="invalid_grant"))
    with pytest.raises(TokenAcquisitionError, match="a new sign-in is needed") as raised:
        keeper.get_token("api")
    assert str(raised.value).count("sign-in") == 1
    with pytest.raises(TokenAcquisitionError):
        make(Portable("api")).get_token("api")
    assert Portable.asked == ["first"]


def answering(output):
    """Return a stand-in whose process reads only what *output* makes of the answer."""
    return type("Answering", (Helper,), {"says": lambda _, whole: output(whole)})


CUT = {
    "the helper was killed after it began": lambda whole: whole[:1],
    "within the length": lambda whole: whole[:3],
    "within the answer": lambda whole: whole[:9],
}


@pytest.mark.parametrize("output", CUT.values(), ids=CUT)
def test_no_answer(make, use, output):
    """If no answer comes, the process looks at the store, and finds what the helper stored."""
    use(answering(output))
    assert make().get_token("api") == "first"
    assert Portable.asked == ["first"]


class Lost(Helper):
    """A helper that is killed when it has begun."""

    def hand_over(self):
        self.jobs.append(self._job)
        self.output = STARTED


def test_a_helper_that_is_killed(make, use, path):
    """A claim that was handed over is not released: the request may have been made."""
    use(Lost)
    with pytest.raises(TokenAcquisitionError):
        make().get_token("api", timeout=0.5)
    assert record(path).is_claimed
    assert len(Helper.jobs) == 1


class Slow(Helper):
    """A helper that does not start in time."""

    def hand_over(self):
        self.output = b""


def test_a_helper_that_is_slow(make, use, path, monkeypatch):
    """A helper that has not begun in time may still begin, so it keeps the claim."""
    use(Slow)
    monkeypatch.setattr(detached, "START_SECONDS", 0.0)
    with pytest.raises(TokenAcquisitionError):
        make().get_token("api", timeout=0.5)
    assert record(path).is_claimed


class Broken(Helper):
    """A helper that ends while it reads its job."""

    def hand_over(self):
        raise BrokenPipeError


class Missing(Helper):
    """A helper that can't be started."""

    def __init__(self, job):
        raise FileNotFoundError("no such file")


@pytest.mark.parametrize("kind", [Broken, Missing, Slow])
def test_a_helper_that_does_not_start(make, use, path, kind):
    """If no helper starts, nothing was sent: the error says so, and the claim is free."""
    use(kind)
    with pytest.raises(TokenAcquisitionError, match=r"did not start.*Nothing was sent") as raised:
        make().get_token("api")
    assert raised.value.transient
    assert not record(path).is_claimed


def test_a_helper_is_interrupted(make, use, path):
    """An exception while the helper works leaves it the claim."""

    class Interrupted(Helper):
        def read(self, count, ends_at):
            raise MemoryError

    use(Interrupted)
    with pytest.raises(TokenAcquisitionError, match="MemoryError"):
        make(background=False).get_token("api")
    assert Portable.asked == ["first"]
    assert make().get_token("api") == "first"
    assert Portable.asked == ["first"]


@pytest.mark.parametrize(
    ("provider", "problem"),
    [
        (Fixed(), "Implement Fixed.for_another_process"),
        (Unpicklable(), "can't be pickled"),
        (OfMain(), "defined in the program that was started"),
    ],
)
def test_providers_that_stay(make, provider, problem):
    """A provider that another process can't make is rejected as it is added."""
    with pytest.raises(InvalidConfigurationError, match=problem) as raised:
        make(provider)
    assert raised.value.field == "store.detached"


def test_a_provider_that_can_be_pickled(make):
    """A provider that defines ``__reduce__`` is sent as it is."""
    assert make(Reduced()).get_token("api") == "first"


def test_a_store_that_stays():
    """A store object that can't be pickled is rejected as the keeper is made."""
    with pytest.raises(InvalidConfigurationError, match="memory can't be opened in another"):
        TokenKeeper(store={"store": MemoryTokenStore(), "detached": True})
