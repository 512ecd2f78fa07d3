"""How long metadata is kept, and how many requests it costs."""

import gc
import logging
import os
import threading
import weakref

import pytest
from kit.crowds import at_once, crowd, in_thread
from kit.guards import until
from kit.processes import exit_code_of
from kit.servers.base import Answer
from kit.servers.issuer import OAUTH, OPENID, IssuerServer

from tokenkeeper import TokenAcquisitionError
from tokenkeeper.oauth import metadata_cache
from tokenkeeper.oauth.metadata_cache import MetadataCache, cache_of
from tokenkeeper.oauth.transport import HttpTransport

THREADS = 24


@pytest.fixture
def server():
    with IssuerServer() as server:
        yield server


@pytest.fixture
def transport(clock):
    return HttpTransport(clock=clock)


@pytest.fixture
def cache(clock):
    return MetadataCache(clock)


@pytest.fixture
def get(cache, transport):
    """Return a function that gets the metadata of an issuer."""

    def get(issuer, provider_name="api"):
        return cache.get(issuer, transport, provider_name)

    return get


def failure(get, issuer):
    with pytest.raises(TokenAcquisitionError) as caught:
        get(issuer)
    return caught.value


class TestFresh:
    """Fresh metadata."""

    def test_it_is_kept_for_an_hour(self, get, server, clock):
        """Metadata is requested again after an hour, and not a tick before."""
        issuer = server.publish()
        first = get(issuer)
        clock.step(3599.999)
        assert get(issuer) is first
        assert len(server.received) == 1
        clock.step(0.001)
        assert get(issuer) is not first
        assert len(server.received) == 2

    def test_a_changed_endpoint(self, get, server, clock):
        """A server that moves its endpoint is followed after the hour."""
        issuer = server.publish()
        get(issuer)
        server.publish(token_endpoint=f"{server.origin}/v2/token")
        clock.step(3600)
        assert get(issuer).endpoint("token_endpoint") == f"{server.origin}/v2/token"

    def test_each_issuer_has_its_own(self, get, server):
        """The issuers of one host, and those that differ in a slash, have nothing in common."""
        paths = ["/t1", "/t2"]
        issuers = [server.publish(path) for path in paths]
        assert [get(issuer).issuer for issuer in issuers] == issuers
        assert "is that of the issuer" in str(failure(get, issuers[0] + "/"))
        assert get(issuers[0]).issuer == issuers[0]

    def test_many_issuers(self, get, server, monkeypatch):
        """Beyond a limit, the metadata that was read first is forgotten."""
        monkeypatch.setattr(metadata_cache, "MOST_ISSUERS", 2)
        issuers = [server.publish(f"/{number}") for number in range(3)]
        for issuer in [*issuers, *issuers[1:]]:
            get(issuer)
        assert len(server.received) == 3
        get(issuers[0])
        assert len(server.received) == 4

    def test_a_crowd(self, get, server):
        """However many threads need metadata at once, it is requested once."""
        issuer = server.publish()
        server.gate.clear()
        threads = crowd(THREADS, lambda: get(issuer))
        until(lambda: server.connections)
        server.gate.set()
        documents = threads.join()
        assert len(server.received) == 1
        assert {id(each) for each in documents} == {id(documents[0])}
        assert documents[0].issuer == issuer

    def test_crowds_for_several_issuers(self, get, server):
        """One issuer does not wait for another: each is requested once."""
        issuers = [server.publish(f"/{number}") for number in range(4)]
        jobs = [lambda each=each: get(each).issuer for each in issuers * 6]
        assert at_once(*jobs) == issuers * 6
        assert len(server.received) == 4


class TestFailures:
    """Failures to get the first metadata."""

    def test_a_crowd_shares_a_failure(self, get, server):
        """Threads that wait for one request share its failure, each with an error of its own."""
        server.published[OAUTH] = Answer(503)
        server.gate.clear()
        threads = crowd(THREADS, lambda: get(server.origin))
        until(lambda: server.connections)
        server.gate.set()
        errors = threads.join()
        assert server.metadata_requests == [OAUTH, OPENID]
        assert all(isinstance(each, TokenAcquisitionError) for each in errors)
        assert len({id(each) for each in errors}) == THREADS
        assert all(each.transient and each.status_code == 503 for each in errors)

    def test_each_error_names_its_provider(self, get, cache, transport, server):
        """The failure of one provider's request is another one's under its own name."""
        for name in ("one", "two"):
            with pytest.raises(TokenAcquisitionError, match=f"provider '{name}': the metad") as it:
                get(server.origin, name)
            assert it.value.provider_name == name
        assert len(server.received) == 2

    def test_a_failure_is_not_kept(self, get, server, clock):
        """After a second the metadata is requested again, and the failure is forgotten."""
        server.published[OAUTH] = [Answer(503), Answer(503), Answer(503)]
        first = failure(get, server.origin)
        assert first.retry_after == 1.0
        clock.step(0.75)
        assert failure(get, server.origin).retry_after == 0.25
        assert len(server.received) == 2
        clock.step(0.25)
        failure(get, server.origin)
        assert len(server.received) == 4
        clock.step(1)
        issuer = server.publish()
        assert get(issuer).issuer == issuer

    @pytest.mark.parametrize(("asked", "pause"), [("20", 20), ("86400", 60), ("0", 1)])
    def test_a_longer_pause(self, get, server, clock, asked, pause):
        """A server that asks for a longer pause gets it, up to a minute."""
        server.published[OAUTH] = Answer(503, b"", {"Retry-After": asked})
        assert failure(get, server.origin).retry_after == pause
        clock.step(pause - 0.001)
        failure(get, server.origin)
        assert len(server.received) == 2
        clock.step(0.001)
        failure(get, server.origin)
        assert len(server.received) == 4

    def test_a_final_failure(self, get, server, clock):
        """A final failure says nothing of a retry, and is asked about again after a second too."""
        assert failure(get, server.origin).retry_after is None
        issuer = server.publish()
        failure(get, issuer)
        clock.step(1)
        assert get(issuer).issuer == issuer

    def test_an_interrupted_request(self, get, cache, transport, server, monkeypatch):
        """If the thread of a request is interrupted, one of those that wait makes it again."""
        issuer = server.publish()
        started, go_on = threading.Event(), threading.Event()
        request = metadata_cache.request_metadata

        def interrupted(*arguments, **options):
            monkeypatch.setattr(metadata_cache, "request_metadata", request)
            started.set()
            go_on.wait()
            raise KeyboardInterrupt

        def interrupted_thread():
            with pytest.raises(KeyboardInterrupt):
                get(issuer)
            return "interrupted"

        monkeypatch.setattr(metadata_cache, "request_metadata", interrupted)
        first, outcome = in_thread(interrupted_thread)
        started.wait()
        others = crowd(4, lambda: get(issuer).issuer)
        go_on.set()
        assert others.join() == [issuer] * 4
        first.join()
        assert outcome == ["interrupted"]
        assert len(server.received) == 1

    def test_a_request_that_hangs(self, cache, server, clock):
        """A request that hangs holds no thread for long, and another one is made."""
        issuer = server.publish()
        impatient = HttpTransport(clock=clock, total_timeout=0.05)
        server.gate.clear()
        patient = HttpTransport(clock=clock)
        hanging, outcome = in_thread(lambda: cache.get(issuer, patient, "api").issuer)
        until(lambda: server.connections)
        with pytest.raises(TokenAcquisitionError, match="has not ended yet") as caught:
            cache.get(issuer, impatient, "api")
        assert (caught.value.transient, caught.value.network_reason) == (True, "timeout")
        second, other = in_thread(lambda: cache.get(issuer, patient, "api").issuer)
        until(lambda: server.connections == 2)
        server.gate.set()
        hanging.join()
        second.join()
        assert outcome == other == [issuer]

    def test_a_request_that_hangs_and_was_replaced(self, cache):
        """A thread that waited for a request that others gave up leaves the new one alone."""
        new = cache._flights["https://id.test"] = metadata_cache._Flight()
        outcome = cache._wait(metadata_cache._Flight(), "https://id.test", 0.001)
        assert outcome.transient
        assert cache._flights == {"https://id.test": new}


class TestReplacement:
    """Metadata that is an hour old."""

    @pytest.fixture
    def issuer(self, get, server, clock):
        issuer = server.publish()
        get(issuer)
        server.received.clear()
        clock.step(3600)
        return issuer

    @pytest.mark.parametrize(
        "answer", [Answer(503), Answer(404), Answer(200, {"issuer": "https://other.test"})]
    )
    def test_the_old_one_stays(self, get, server, clock, issuer, answer, caplog):
        """If metadata can't be read again, the old one is used, and tried again each minute."""
        server.published[OAUTH] = answer
        for _ in range(3):
            assert get(issuer).endpoint("token_endpoint") == f"{issuer}/token"
        assert server.metadata_requests == [OAUTH, OPENID]
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert record.getMessage().startswith(f"the earlier metadata of {issuer} is still used: ")
        clock.step(60)
        server.publish(token_endpoint=f"{issuer}/v2")
        assert get(issuer).endpoint("token_endpoint") == f"{issuer}/v2"

    def test_no_other_thread_waits(self, get, server, issuer):
        """While one thread replaces the metadata, all others get the old one at once."""
        server.publish(token_endpoint=f"{issuer}/v2")
        server.gate.clear()
        first, outcome = in_thread(lambda: get(issuer).endpoint("token_endpoint"))
        until(lambda: server.received)
        others = at_once(*[lambda: get(issuer).endpoint("token_endpoint")] * THREADS)
        assert set(others) == {f"{issuer}/token"}
        server.gate.set()
        first.join()
        assert outcome == [f"{issuer}/v2"]
        assert len(server.received) == 1

    def test_it_takes_five_seconds_at_most(self, get, cache, server, issuer, monkeypatch):
        """A replacement takes less time than a first request may, as there is an old one."""
        limits = []
        request = metadata_cache.request_metadata

        def noted(*arguments, seconds, **options):
            limits.append(seconds)
            return request(*arguments, seconds=seconds, **options)

        monkeypatch.setattr(metadata_cache, "request_metadata", noted)
        get(issuer)
        get(server.publish("/new"))
        assert limits == [5.0, 30.0]

    def test_finished_in_between(self, get, cache, server, issuer, monkeypatch):
        """A thread that is late to the lock finds what another one has just read."""

        class Late:
            """A lock before which another thread replaces the metadata."""

            def __init__(self, lock):
                self.lock = lock

            def __enter__(self):
                cache._lock = self.lock
                get(issuer)
                self.lock.acquire()

            def __exit__(self, *_):
                self.lock.release()

        cache._lock = Late(cache._lock)
        assert get(issuer).issuer == issuer
        assert len(server.received) == 1

    def test_metadata_that_lacks_something(self, get, cache, server, clock):
        """Metadata that lacks what is needed is replaced after a minute, not after an hour."""
        issuer = server.publish("/t1")
        document = get(issuer)
        cache.renew_soon(document)
        clock.step(59.999)
        cache.renew_soon(document)  # it was replaced by one that is fresh for a minute
        cache.renew_soon(get(issuer))  # a minute from now would be later
        assert len(server.received) == 1
        clock.step(0.001)
        get(issuer)
        assert len(server.received) == 2


class TestForks:
    """Forked children."""

    def test_a_child_keeps_what_was_read(self, get, server):
        """A child uses the metadata that its parent read."""
        issuer = server.publish()
        get(issuer)
        assert exit_code_of(lambda: int(get(issuer).issuer != issuer)) == 0
        assert len(server.received) == 1

    def test_a_child_waits_for_no_thread_of_its_parent(self, get, server):
        """A child that is forked during a request makes its own."""
        issuer = server.publish()
        server.gate.clear()
        first, outcome = in_thread(lambda: get(issuer).issuer)
        until(lambda: server.received)
        opener = threading.Timer(0, server.gate.set)

        def child():
            return int(get(issuer).issuer != issuer)

        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                code = child()
            finally:
                os._exit(code)
        until(lambda: len(server.received) == 2)
        opener.start()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        first.join()
        assert outcome == [issuer]

    def test_what_a_child_replaces(self, cache, get, server):
        """In a child, requests and failures of the parent are gone, and documents are not."""
        document = get(server.publish())
        failure(get, f"{server.origin}/t1")
        lock = cache._lock
        cache.after_fork_in_child()
        assert cache._lock is not lock
        assert not cache._failures
        assert get(server.origin) is document

    def test_a_lock_that_was_held(self, get, cache, server):
        """A child does not wait for a lock that a thread of its parent held."""
        issuer = server.publish()
        with cache._lock:
            assert exit_code_of(lambda: int(get(issuer).issuer != issuer)) == 0


def test_a_transport_has_one_cache(clock):
    """The clients of one transport share its cache, which does not keep the transport alive."""
    one, two = HttpTransport(clock=clock), HttpTransport(clock=clock)
    assert cache_of(one, clock) is cache_of(one, clock) is not cache_of(two, clock)
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None
