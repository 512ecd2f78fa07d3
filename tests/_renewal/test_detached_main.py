"""Requests that helper processes make: the side of the helper."""

import io
import pickle
import signal
from functools import partial

import pytest
from kit.portable import Portable

from tokenkeeper import StoreUnavailableError
from tokenkeeper._renewal import detached_main
from tokenkeeper._renewal.detached_job import DONE, HEADER, STARTED, Job, framed
from tokenkeeper._renewal.detached_main import main, perform, read_job
from tokenkeeper._renewal.held import Held
from tokenkeeper._renewal.slot import Slot
from tokenkeeper._renewal.view import View
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.retry import RetryPolicy
from tokenkeeper.stores.sealed import Plain
from tokenkeeper.stores.settings import StoreSettings
from tokenkeeper.testing.stores import MemoryTokenStore


class Shaky(MemoryTokenStore):
    """A store that can't be used for the next ``failures`` writes."""

    failures = 0

    def publish(self, *args, **options):
        self.failures -= 1
        if self.failures >= 0:
            raise StoreUnavailableError("away")
        return super().publish(*args, **options)


@pytest.fixture
def store():
    Portable.asked.clear()
    return Shaky()


@pytest.fixture
def make_job(store):
    """Return a function that makes jobs with a claim in the store."""

    def make(*, age=0.0, refusal=None):
        claim = store.claim(
            "key", owner="owner", generation=0, older_than_seconds=35, intent="to ask"
        )
        now = SYSTEM_CLOCK.monotonic()
        return Job(
            make_provider=partial(Portable, refusal=refusal),
            method="acquire_token",
            token=None,
            store=StoreSettings(store, Plain()),
            token_name="api",
            replaces=None,
            held=Held(Slot("api", "key", None, True), claim, View(claim.record, now), now - age),
            longest_request_seconds=30.0,
            place="host:1",
            retry=RetryPolicy(),
            cooldown_seconds=30.0,
        )

    return make


def performed(job):
    """Perform *job*; return all that the helper writes."""
    pieces = []
    perform(job, pieces.append)
    return b"".join(pieces)


def test_a_token_is_answered_and_stored(store, make_job):
    """The helper writes that it begins, the token, and that it is stored."""
    output = performed(make_job())
    assert (output[:1], output[-1:]) == (STARTED, DONE)
    assert pickle.loads(output[1 + HEADER.size : -1]).access_token == "first"
    assert (store.read("key").generation, store.read("key").is_claimed) == (1, False)


@pytest.mark.parametrize("age", [2.6, 31.0])
def test_an_old_claim_sends_nothing(store, make_job, age):
    """A helper that started too late makes no request, and releases the claim."""
    assert performed(make_job(age=age)) == STARTED + DONE
    assert Portable.asked == []
    assert not store.read("key").is_claimed


def test_a_claim_that_grows_old_on_the_way(store, make_job, monkeypatch):
    """If the claim grows too old before the request is sent, none is sent, and none answered."""
    monkeypatch.setattr("kit.portable.last_look", lambda: (_ for _ in ()).throw(LOOK_AGAIN))
    assert performed(make_job()) == STARTED + DONE
    assert Portable.asked == []
    assert not store.read("key").is_claimed


LOOK_AGAIN = detached_main.LookAgain(0.0)


def test_a_refusal_is_answered_and_shared(store, make_job):
    """The helper answers with the server's refusal, and shares it with the fleet."""
    output = performed(make_job(refusal="invalid_client"))
    assert pickle.loads(output[1 + HEADER.size : -1]).error == "invalid_client"
    assert store.read("key").failure is not None


def test_the_store_is_away(store, make_job, monkeypatch):
    """The helper offers its token until the store takes it, long after it answered."""
    monkeypatch.setattr(detached_main, "RETRY_SECONDS", 0.0)
    job = make_job()
    store.failures = 4
    assert performed(job).endswith(DONE)
    assert store.failures == -1
    assert store.read("key").generation == 1


def test_another_process_was_faster(store, make_job, monkeypatch):
    """A token that another process stored meanwhile stays; the helper's own is only answered."""
    acquire = Portable.acquire_token

    def acquire_late(provider):
        store.publish(
            "key",
            owner="other",
            replaces=0,
            generation=1,
            sealed=Plain().seal(b"{}", "key", "token"),
            lifetime_seconds=3600,
            age_seconds=0,
            keep=True,
        )
        return acquire(provider)

    monkeypatch.setattr(Portable, "acquire_token", acquire_late)
    assert b"first" in performed(make_job())
    assert b"first" not in store.read("key").sealed
    assert not store.read("key").is_claimed


class Deaf(io.BytesIO):
    """The pipe of a process that was killed."""

    def write(self, content):
        raise BrokenPipeError


class Standard:
    """A standard stream."""

    def __init__(self, buffer):
        self.buffer = buffer


def portable_job(make_job):
    """Return a job that can be pickled, although its store can't: it is replaced by its class."""
    job = make_job()
    settings = StoreSettings(None, Plain())
    return Job(*(settings if name == "store" else getattr(job, name) for name in Job.__slots__))


@pytest.mark.parametrize(("pipe", "heard"), [(io.BytesIO(), STARTED), (Deaf(), b"")])
def test_the_process_that_waits(make_job, monkeypatch, pipe, heard):
    """The helper answers the process that waits, and goes on, within a time limit, if it is gone.

    It is gone if it was killed, and the pipe is broken.
    """
    alarms, performed_jobs = [], []

    def perform_and_write(job, write):
        performed_jobs.append(job)
        write(STARTED)

    monkeypatch.setattr(detached_main, "perform", perform_and_write)
    monkeypatch.setattr(signal, "alarm", alarms.append)
    source = io.BytesIO(framed(portable_job(make_job)))
    monkeypatch.setattr("sys.stdin", Standard(source))
    monkeypatch.setattr("sys.stdout", Standard(pipe))
    main()
    assert pipe.getvalue() == heard
    assert alarms == [690]
    assert performed_jobs[0].held.slot.key == "key"


def test_a_job_that_is_cut_short(make_job):
    """A process that was killed while it wrote the job has caused no request."""
    content = framed(portable_job(make_job))
    for length in (2, len(content) - 1):
        with pytest.raises(Exception, match=r"."):
            read_job(io.BytesIO(content[:length]))
    assert Portable.asked == []
