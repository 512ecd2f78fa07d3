"""Faults on the way to Entra: transient ones are retried, with requests on the wire."""

import time
from email.utils import formatdate

import pytest
from kit.servers.base import Answer
from kit.servers.entra import cut

from tokenkeeper import RetryPolicy, TokenAcquisitionError, TokenRefreshError

HTML = Answer(200, b"<html>sign in</html>", {"Content-Type": "text/html"})
HTML_503 = Answer(503, b"<html>bad gateway</html>", {"Content-Type": "text/html"})

PASSING = {
    "429": Answer(429, {"error": "throttled"}),
    "500": Answer(500, b""),
    "502": Answer(502, HTML_503.body, HTML_503.headers),
    "503": Answer(503, {"error": "temporarily_unavailable"}),
    "503 for now": Answer(503, b"", {"Retry-After": "0"}),
    "504": Answer(504, b""),
    "reset before the answer": cut(0),
    "reset in the status": cut(7),
    "reset in the headers": cut(40),
    "reset in the body": cut(100),
    "ended before the answer": cut(0, reset=False),
    "ended in the status": cut(7, reset=False),
    "ended in the headers": cut(40, reset=False),
    "ended in the body": cut(100, reset=False),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_fault_that_passes(entra, keeper, fault):
    """The retry is sent in spite of msal's throttle, and the caller gets its token."""
    entra.script.extend([fault] * 2)
    keeper.get_token("graph")
    assert len(entra.requests) == 3
    assert set(entra.correlations().values()) == {1}
    assert entra.discoveries == 1


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_fault_of_a_kept_connection(entra, keeper, fault):
    """A fault of a later request is retried as well."""
    before = keeper.get_token("graph")
    entra.script.append(fault)
    assert keeper.get_token("graph", force_refresh=True) != before
    assert len(entra.requests) == 3


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_fault_that_stays(entra, make_keeper, make_provider, fault):
    """The number of attempts is limited, and the error states it."""
    entra.outage = fault
    keeper = make_keeper(make_provider(), cooldown_seconds=600)
    with pytest.raises(TokenAcquisitionError, match="'graph'") as raised:
        keeper.get_token("graph")
    assert raised.value.attempts == 4
    assert len(entra.requests) == 4
    with pytest.raises(TokenAcquisitionError):  # for two seconds, as it may pass
        keeper.get_token("graph")


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after(entra, keeper, status):
    """After a Retry-After of one second the server is asked again, and not before."""
    entra.script.append(Answer(status, {"error": "throttled"}, {"Retry-After": "1"}))
    keeper.get_token("graph")
    first, second = (request.monotonic for request in entra.requests)
    assert second - first >= 1.0


def test_retry_after_a_date(entra, keeper):
    """A Retry-After may be a date."""
    moment = int(time.time()) + 2
    headers = {"Retry-After": formatdate(moment, usegmt=True)}
    entra.script.append(Answer(429, {"error": "throttled"}, headers))
    keeper.get_token("graph")
    assert entra.requests[1].wall >= moment - 0.1


def test_retry_after_that_is_too_long(entra, make_keeper, make_provider):
    """A Retry-After beyond the limit is not waited for, and no request is sent meanwhile."""
    entra.script.append(Answer(429, {"error": "throttled"}, {"Retry-After": "3600"}))
    keeper = make_keeper(make_provider(), cooldown_seconds=0)
    for _ in range(5):
        with pytest.raises(TokenAcquisitionError, match="'graph'") as raised:
            keeper.get_token("graph", timeout=5)
        assert raised.value.retry_after == 3600
    assert len(entra.requests) == 1
    keeper.get_token("graph", force_refresh=True)
    assert len(entra.requests) == 2


def test_a_page_instead_of_json(entra, make_keeper, make_provider):
    """A login page is reported as a web page, after one request, and not quoted."""
    entra.script.append(HTML)
    keeper = make_keeper(make_provider(), cooldown_seconds=600)
    for _ in range(5):
        with pytest.raises(TokenAcquisitionError, match="web page, not JSON") as raised:
            keeper.get_token("graph")
        assert raised.value.attempts == 1
        assert "sign in" not in str(raised.value)
    assert len(entra.requests) == 1
    keeper.get_token("graph", force_refresh=True)


@pytest.mark.parametrize("fault", [HTML, HTML_503, PASSING["429"], cut(100)])
def test_a_renewal_that_fails_while_a_token_is_valid(entra, keeper, fault):
    """A forced renewal raises the error, other callers get the current token."""
    token = keeper.get_token("graph")
    entra.outage = fault
    with pytest.raises(TokenRefreshError):
        keeper.get_token("graph", force_refresh=True)
    assert [keeper.get_token("graph") for _ in range(10)] == [token] * 10
    # The scheduler retries in the background, so there may be more by now.
    assert keeper.get_cached_token_info("graph")["failures"] >= 1
    entra.outage = None
    renewed = keeper.get_token("graph", force_refresh=True)
    assert keeper.get_token("graph") == renewed != token
    assert keeper.get_cached_token_info("graph")["failures"] == 0


DISCOVERY_PASSING = {
    "500": Answer(500, b""),
    "503": Answer(503, {"error": "temporarily_unavailable"}),
    "503 page": HTML_503,
    "reset before the answer": cut(0),
    "reset in the headers": cut(40),
    "reset in the body": cut(100),
    "ended in the headers": cut(40, reset=False),
    "ended in the body": cut(100, reset=False),
}


@pytest.mark.parametrize("fault", DISCOVERY_PASSING.values(), ids=DISCOVERY_PASSING)
def test_discovery_that_fails_for_a_moment(entra, keeper, fault):
    """Discovery is retried like a request, and not repeated once it succeeded."""
    entra.discovery_script.extend([fault] * 2)
    keeper.get_token("graph")
    keeper.get_token("graph", force_refresh=True)
    assert entra.discoveries == 3
    assert len(entra.requests) == 2


DISCOVERY_ODD = {
    "page": HTML,
    "list": Answer(200, []),
    "empty": Answer(200, {}),
    "endpoint without TLS": Answer(
        200, {"token_endpoint": "http://example.com/", "authorization_endpoint": "https://a/b"}
    ),
    "redirect": Answer(302, b"", {"Location": "https://example.com/"}),
}


@pytest.mark.parametrize("oddity", DISCOVERY_ODD.values(), ids=DISCOVERY_ODD)
def test_odd_metadata(entra, keeper, oddity):
    """Bad metadata is a final error before a secret is sent, and a later attempt may succeed."""
    entra.discovery_script.append(oddity)
    for _ in range(5):
        with pytest.raises(TokenAcquisitionError, match="'graph'") as raised:
            keeper.get_token("graph")
        assert raised.value.attempts == 1
    assert (entra.discoveries, len(entra.requests)) == (1, 0)
    keeper.get_token("graph", force_refresh=True)
    assert (entra.discoveries, len(entra.requests)) == (2, 1)


def test_an_unreachable_authority(make_entra, kit, make_provider):
    """A provider can be created while its authority is down; requests fail as transient."""
    down = make_entra(listens=False)
    with kit.WatchedKeeper(kit.Watch(down), cooldown_seconds=0) as keeper:
        keeper.add_provider(make_provider(authority=down.authority, verify=down.ca_file))
        assert keeper.get_cached_token_info("graph") is None
        with pytest.raises(TokenAcquisitionError, match="the connection was refused") as raised:
            keeper.get_token("graph")
        assert raised.value.attempts == 4
        assert raised.value.transient is True
        down.listen()
        keeper.get_token("graph")
        keeper.watch.assert_flawless()
    assert (down.discoveries, len(down.requests), down.calls) == (1, 1, 1)


def test_an_authority_that_comes_back_while_callers_wait(make_entra, kit, make_provider):
    """Callers that wait for a first token get it when the authority is back."""
    down = make_entra(listens=False)
    with kit.WatchedKeeper(kit.Watch(down)) as keeper:
        retry = RetryPolicy(attempts=1000, initial_wait_seconds=0.05, max_wait_seconds=0.1)
        provider = make_provider(authority=down.authority, verify=down.ca_file, retry=retry)
        keeper.add_provider(provider)

        def come_back():
            kit.until(lambda: keeper.watch.waiting == 16, "a crowd that waits")
            down.listen()

        *tokens, _ = kit.at_once(*[lambda: keeper.get_token("graph")] * 16, come_back)
        assert len(set(tokens)) == 1
        keeper.watch.assert_flawless()
    assert (down.discoveries, len(down.requests)) == (1, 1)
