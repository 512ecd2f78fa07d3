"""The dashboard as an application: routes, headers, mount paths, and one read for all viewers."""

import json
import os
import re
import threading
from dataclasses import replace
from html import unescape

import pytest
from kit.guards import until
from kit.stored import ACCESS_TOKEN, ACCOUNT, REFRESH_TOKEN, StoredFleet, fill
from starlette.applications import Starlette

from tokenkeeper import (
    GenericOAuth2Provider,
    InvalidConfigurationError,
    TokenAcquisitionError,
    TokenKeeper,
)
from tokenkeeper.dashboard import dashboard
from tokenkeeper.dashboard.words import record_texts
from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.testing import LoopbackAuthorizationServer
from tokenkeeper.testing.stores import MemoryTokenStore


def text_of(page):
    """Return what a person reads on a page, without the blank record of its script."""
    page = page.partition("<template")[0]
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", page)))


def test_the_page(app, fleet, fetch, backend):
    """The page has each token with its life, who renewed it, and what is wrong."""
    fill(fleet)
    response = fetch(app, "/", backend=backend)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    text = text_of(response.text)
    for words in (
        "3 problems, 1 warning 9 records: 4 fresh, 2 renewing, 1 expired, 1 without a token",
        "billing scope=invoices.read invoices.write",
        "47 min of 1 h left renewal in 41 min",
        "12 min ago by web-1:4711",
        "worker-3:190 is about to request a token (claimed 0 s ago by 0f1e2d3c…).",
        "token request failed (HTTP 503). The server answered: Service Unavailable",
        "3 failures in a row, the last 0 s ago, reported by web-2:815. The fleet waits 30 s longer",
        "The token can't be read: it is sealed with the key 'k0', which the key file does not have",
        "expired 6 min 40 s ago after 1 h",
    ):
        assert words in text
    assert text.index("payments") < text.index("warehouse") < text.index("billing")


def test_the_data(app, fleet, fetch, backend):
    """The script gets the same texts as the page, and other programs the values."""
    fill(fleet)
    found = fetch(app, "/data.json", backend=backend).json()
    assert found["store"]["totals"]["records"] == 9
    assert found["error"] == ""
    assert [each["key"] for each in found["store"]["records"]] == [
        each["key"] for each in found["shown"]["records"]
    ]
    page = text_of(fetch(app, "/").text)
    for record in found["shown"]["records"]:
        assert record["life"] in page
        assert record["failure"] in page
    assert found["shown"]["page"]["summary"] == "3 problems, 1 warning"


@pytest.mark.parametrize("path", ["/", "/data.json"])
def test_no_secret(app, fleet, fetch, path):
    """Neither page nor data contain a token, a refresh token, an account or a sealed text."""
    fill(fleet)
    fleet.token("echo", account=ACCOUNT)
    fleet.failure("echo", f"no {REFRESH_TOKEN} of {ACCOUNT}: {ACCESS_TOKEN}", account=ACCOUNT)
    body = fetch(app, path).text
    assert "no [hidden] of [hidden]: [hidden]" in body
    for secret in (ACCESS_TOKEN, REFRESH_TOKEN, ACCOUNT, "lovelace", "grace@", "1.k1."):
        assert secret not in body


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/data.json", 200),
        ("/static/dashboard.js", 200),
        ("/static/dashboard.css", 200),
        ("/static/..%2fapp.py", 404),
        ("/static/../app.py", 404),
        ("/static/", 404),
        ("/nothing", 404),
        ("/data.json/", 404),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_headers(app, fetch, path, status, method):
    """Every response forbids scripts of others, frames, caches and guesses about its type."""
    response = fetch(app, path, method=method)
    assert response.status_code == status
    policy = response.headers["Content-Security-Policy"]
    assert policy == (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert (method == "HEAD") == (response.content == b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["/", "/data.json", "/static/dashboard.js"])
def test_only_reads(app, fetch, method, path):
    """Other methods than GET and HEAD are refused."""
    assert fetch(app, path, method=method).status_code == 405


def test_nothing_is_written(app, fleet, fetch):
    """Opening the page changes no record."""
    fill(fleet)
    before = fleet.records()
    fetch(app, "/", "/data.json")
    assert fleet.records() == before


def test_what_the_policy_forbids(app, fleet, fetch):
    """The page has no inline script or style, no event handler, and no address elsewhere."""
    fill(fleet)
    page = fetch(app, "/").text
    assert re.findall(r"<script[^>]*>", page) == [
        '<script type="module" src="static/dashboard.js">'
    ]
    assert not re.search(r"<style|\sstyle=|\son\w+=", page)
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert [each for each in addresses if not each.startswith("data:")] == [
        "static/dashboard.css",
        "static/dashboard.js",
    ]


@pytest.mark.parametrize("path", ["/tokens", "/ops/tokens"])
def test_a_mount_path(app, fleet, fetch, path):
    """Under any path, the page has only relative addresses, and its own path leads to it."""
    fleet.token("billing")
    outer = Starlette()
    outer.mount(path, app)
    page = fetch(outer, f"{path}/")
    assert "billing" in page.text
    assert 'src="static/dashboard.js"' in page.text
    assert fetch(outer, f"{path}/static/dashboard.js").status_code == 200
    assert fetch(outer, f"{path}/data.json").json()["store"]["totals"]["records"] == 1
    assert fetch(outer, path).headers["Location"].endswith(f"{path}/")


def test_a_mount_path_of_another_framework(app, fetch):
    """A server that passes on the mount path itself is answered with a redirect to the page."""
    response = fetch(app, "/ops/tokens", root_path="/ops/tokens")
    assert (response.status_code, response.headers["Location"]) == (307, "tokens/")
    assert fetch(app, "/ops/tokens/", root_path="/ops/tokens").status_code == 200


def test_a_mount_path_that_is_cut_off(app, fetch):
    """A server that leaves nothing of the path is answered with a redirect below the mount path."""

    async def cut_off(scope, receive, send):
        await app({**scope, "path": "", "root_path": "/ops/tokens"}, receive, send)

    response = fetch(cut_off, "/ops/tokens")
    assert (response.status_code, response.headers["Location"]) == (307, "tokens/")


def test_what_interrupts_a_screen_reader(app, fleet, fetch, clock):
    """Only reasons do, which seldom change. How old the last state is changes every second."""
    fleet.token("billing")
    fetch(app, "/")
    fleet.store.keys = unavailable
    clock.step(2)
    page = fetch(app, "/").text
    assert re.findall(r'<(\w+)[^>]* role="alert"[^>]*>([^<]*)', page) == [
        ("p", ""),  # filled by the script
        ("p", "The store can&#x27;t be read: redis://cache:6379/0 refused the connection"),
    ]
    assert "Last known state, read 2 s ago." in text_of(page)


def unavailable(*_):
    """Fail as a store that is gone."""
    raise StoreUnavailableError("redis://cache:6379/0 refused the connection")


@pytest.mark.parametrize("path", ["/", "/data.json"])
def test_a_store_that_never_answered(app, fleet, fetch, path):
    """The page says why there is nothing to show."""
    fleet.store.keys = unavailable
    response = fetch(app, path)
    assert response.status_code == 200
    assert "can't be read: redis://cache:6379/0 refused the connection" in unescape(response.text)


def test_a_store_that_is_gone(app, fleet, fetch, clock):
    """The last known state stays, greyed, with its age and the reason; later it is current."""
    fleet.token("billing")
    keys = fleet.store.keys
    assert 'class="current"' in fetch(app, "/").text
    fleet.store.keys = unavailable
    clock.step(75)
    page = fetch(app, "/").text
    assert 'class="outdated"' in page
    text = text_of(page)
    assert "billing" in text
    assert "refused the connection Last known state, read 1 min 15 s ago." in text
    fleet.store.keys = keys
    clock.step(2)
    assert 'class="current"' in fetch(app, "/").text


def test_a_store_with_a_fault(app, fleet, fetch, caplog):
    """An unexpected error is named without its message, which may contain anything."""
    fleet.token("billing")

    def fail():
        raise RuntimeError("password=hunter2")

    fleet.store.keys = fail
    response = fetch(app, "/")
    assert response.status_code == 200
    assert "can't be read: unexpected RuntimeError" in text_of(response.text)
    assert "could not read the store: unexpected RuntimeError" in caplog.text
    assert "hunter2" not in response.text + caplog.text


@pytest.mark.parametrize("path", ["/", "/data.json"])
def test_a_store_that_cannot_be_shown(app, fleet, fetch, clock, monkeypatch, caplog, path):
    """A fault in making the page is on the page, which does not go on showing what was there."""
    key = fleet.token("billing")
    assert "billing" in fetch(app, path).text

    def fail(record, snapshot):
        if record.key:  # it is not the blank one of the template
            raise OverflowError("of hunter2")
        return record_texts(record, snapshot)

    with monkeypatch.context() as patched:
        patched.setattr("tokenkeeper.dashboard.page.record_texts", fail)
        clock.step(2)
        text = unescape(fetch(app, path).text)
    assert "can't be read: unexpected OverflowError" in text
    assert key not in text
    assert "hunter2" not in text + caplog.text
    clock.step(2)
    assert "billing" in fetch(app, path).text


def counted(fleet):
    """Return a list that grows with each read of the store."""
    reads, keys = [], fleet.store.keys

    def count():
        reads.append(threading.current_thread())
        return keys()

    fleet.store.keys = count
    return reads


def test_one_read_for_many_viewers(app, fleet, fetch, clock, backend):
    """A hundred viewers at once cost one read, on another thread, and none within two seconds."""
    fleet.token("billing")
    reads = counted(fleet)
    assert {each.status_code for each in fetch(app, *100 * ["/"], backend=backend)} == {200}
    assert len(reads) == 1
    assert reads[0] is not threading.current_thread()
    clock.step(1.9)
    fetch(app, "/", "/data.json", backend=backend)
    assert len(reads) == 1
    clock.step(0.1)
    fetch(app, *50 * ["/data.json"], backend=backend)
    assert len(reads) == 2


def test_nothing_is_read_without_viewers(app, fleet, fetch, clock):
    """Time alone causes no read."""
    reads = counted(fleet)
    clock.step(3600)
    assert reads == []
    fetch(app, "/")
    clock.step(3600)
    assert len(reads) == 1


def test_a_store_that_takes_long(app, fleet, fetch, clock):
    """Reads that take a second are made no more often than every ten seconds."""
    keys, reads = fleet.store.keys, []

    def take_long():
        reads.append(1)
        clock.step(1)
        return keys()

    fleet.store.keys = take_long
    fetch(app, "/")
    clock.step(8.9)
    fetch(app, "/")
    assert len(reads) == 1
    clock.step(0.1)
    fetch(app, "/")
    assert len(reads) == 2


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(2.9, ""), (60, "Reading the store takes 1 min, so this page changes every 10 min.")],
    ids=["brisk", "slow"],
)
def test_a_page_that_seldom_changes(app, fleet, fetch, clock, seconds, words):
    """A page whose store takes long to read says how old it may be."""
    keys = fleet.store.keys

    def take_long():
        clock.step(seconds)
        return keys()

    fleet.store.keys = take_long
    assert fetch(app, "/data.json").json()["shown"]["page"]["known"] == words


def test_a_store_that_hangs(app, fleet, fetch, clock, monkeypatch):
    """While a read hangs, viewers get the last known state, and no second read begins."""
    monkeypatch.setattr("tokenkeeper.dashboard.snapshots.LONGEST_WAIT_SECONDS", 0.05)
    hangs, started, keys = threading.Event(), [], fleet.store.keys

    def hang():
        started.append(1)
        hangs.wait(30)
        return keys()

    fleet.store.keys = hang
    assert "The store has not answered yet." in text_of(fetch(app, "/").text)
    fleet.token("billing")
    hangs.set()
    until(lambda: "billing" in fetch(app, "/").text)
    hangs.clear()
    clock.step(10)
    for _ in range(3):
        assert "billing" in fetch(app, "/").text
    until(lambda: len(started) == 2)
    hangs.set()


def test_a_store_that_others_can_read_needs_a_key():
    """A dashboard takes what a keeper takes as its store, and refuses the same."""
    shared = MemoryTokenStore()
    shared.is_private = False
    with pytest.raises(InvalidConfigurationError, match="key_file"):
        dashboard(shared)
    assert dashboard(StoredFleet().settings)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), "2"])
def test_odd_refresh_times(fleet, seconds):
    """A refresh time that is not a positive number is refused."""
    with pytest.raises(InvalidConfigurationError, match="refresh_seconds"):
        dashboard(fleet.settings, refresh_seconds=seconds)


def test_a_title(fleet, fetch):
    """The title is on the page, with the number of problems in the browser's tab."""
    fleet.failure("billing", "no")
    page = fetch(dashboard(fleet.settings, title="Tokens <of> ACME"), "/").text
    assert '<title data-text="title">(1) Tokens &lt;of&gt; ACME</title>' in page
    assert '<h1 data-text="heading">Tokens &lt;of&gt; ACME</h1>' in page


def test_compression(app, fleet, fetch):
    """A client that accepts gzip gets it, and others get the same without."""
    fill(fleet)
    for path in ("/", "/data.json"):
        plain = fetch(app, path, headers={"Accept-Encoding": "identity"})
        small = fetch(app, path, headers={"Accept-Encoding": "gzip, br"})
        assert "Content-Encoding" not in plain.headers
        assert small.headers["Content-Encoding"] == "gzip"
        assert plain.headers["Vary"] == small.headers["Vary"] == "Accept-Encoding"
        assert plain.text == small.text
        assert int(small.headers["Content-Length"]) < int(plain.headers["Content-Length"]) / 2


def test_without_a_script(app, fetch):
    """A browser without JavaScript reloads the page."""
    page = fetch(app, "/").text
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in page


def test_what_a_keeper_stores(fetch):
    """The dashboard reads the records of a keeper, and shows none of its secrets."""
    store = StoredFleet().store
    with LoopbackAuthorizationServer() as server, TokenKeeper(store=store) as keeper:
        keeper.add_provider(server.provider("billing"))
        wrong = replace(server.config("crm"), client_secret="a-wrong-secret")
        keeper.add_provider(GenericOAuth2Provider(wrong))
        token = keeper.get_token("billing")
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("crm")
    body = fetch(dashboard(store), "/data.json").text
    crm, billing = json.loads(body)["store"]["records"]
    assert (billing["name"], billing["state"], billing["generation"]) == ("billing", "fresh", 1)
    assert billing["granted_to"].endswith(f":{os.getpid()}")
    assert (crm["name"], crm["level"], crm["failure"]["error"]) == (
        "crm",
        "problem",
        "invalid_client",
    )
    for secret in (token, "a-wrong-secret", server.client_secret):
        assert secret not in body


def test_an_empty_store(app, fetch):
    """A store without records is described in words."""
    text = text_of(fetch(app, "/").text)
    assert "No tokens 0 records" in text
    assert "The store has no records." in text


def test_more_records_than_are_shown(app, fleet, fetch):
    """A page that shows a part of the records says so."""
    for number in range(1001):
        fleet.sealed(f"{number:04}", b"")
    text = text_of(fetch(app, "/").text)
    assert "Showing 1,000 of 1,001 records" in text
    assert "1,000 problems 1,000 of 1,001 records: 1,000 unreadable" in text
