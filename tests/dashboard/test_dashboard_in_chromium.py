"""The dashboard of a running command in a browser: it fits, is painted, and follows the store."""

import json
import queue
import re
import subprocess
import sys
import threading
import urllib.request
from dataclasses import replace

import pytest
from kit.browser import chromium_command
from kit.guards import PROGRAM_SECONDS, until
from kit.servers.base import Answer, LoopbackServer
from kit.stored import StoredFleet, fill

from tokenkeeper.stores.sqlite import SQLiteTokenStore

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=\"document.title='owned'\">"

# Opens the dashboard at several widths, waits until it shows the second token, and reports what a
# person would see, and what the filter does.
PROBE = """<!doctype html><body><script>
const opened = (width) => new Promise((resolve) => {
  const frame = document.createElement("iframe");
  frame.width = width;
  frame.height = 4000;
  frame.onload = () => {
    const page = frame.contentDocument;
    const timer = setInterval(() => {
      const rows = [...page.querySelectorAll("tbody")];
      const text = (row) => row.textContent.replace(/\\s+/g, " ").trim();
      const billing = rows.find((row) => row.textContent.includes("billing"));
      if (!billing.textContent.includes("by web-9:1")) return;
      clearInterval(timer);
      const seen = rows.map(text);
      const bar = Math.round(billing.querySelector("svg").getBoundingClientRect().width);
      const filter = page.querySelector("input");
      filter.value = "crm worker-7";
      filter.dispatchEvent(new Event("input"));
      let requests = 0;
      frame.contentWindow.fetch = () => (requests += 1, new Promise(() => {}));
      const became = (hidden) => {
        Object.defineProperty(page, "hidden", {value: hidden, configurable: true});
        page.dispatchEvent(new Event("visibilitychange"));
        return requests;
      };
      resolve({
        width,
        wide: page.documentElement.scrollWidth > width,
        title: page.title,
        rows: seen,
        order: rows.map((row) => row.className),
        filtered: rows.filter((row) => !row.hidden).map(text),
        image: page.querySelectorAll("main img").length,
        bar,
        requests: [became(true), became(false)],
        trend: page.querySelector("[data-text=trend]").textContent,
      });
    }, 50);
  };
  frame.src = "/dashboard/";
  document.body.append(frame);
});
(async () => {
  const reports = await Promise.all([1600, 360].map(opened));
  fetch("/report", {method: "POST", body: JSON.stringify(reports)});
})();
</script></body>"""


@pytest.fixture
def fleet(tmp_path):
    """Return an SQLite store with records of each kind."""
    fleet = StoredFleet(SQLiteTokenStore(tmp_path / "private" / "tokens.db"))
    fill(fleet)
    return fleet


@pytest.fixture
def url(fleet, tmp_path):
    """Return the address of a running ``tokenkeeper dashboard``."""
    command = [sys.executable, "-W", "error", "-m", "tokenkeeper", "dashboard", "--port", "0"]
    with subprocess.Popen(
        [*command, "--store", fleet.store.label], stderr=subprocess.PIPE, text=True
    ) as process:
        line = process.stderr.readline()
        yield re.search(r"http://\S+/", line)[0]
        process.terminate()


@pytest.fixture
def chromium(tmp_path):
    """Return the command that starts Chromium."""
    return chromium_command(tmp_path / "profile")


class Between(LoopbackServer):
    """Passes requests on to the dashboard, and lets our own page have it in a frame.

    :param before_third: called before the third request for data is passed on: both frames have
        sent one, so the rest is due to their timers.
    """

    def __init__(self, url, before_third):
        super().__init__()
        self.reports = queue.Queue()
        self._url = url
        self._before_third = before_third
        self._lock = threading.Lock()  # guards the number of requests for data
        self._requests = 0

    def answer(self, request):
        if request.method == "POST":
            self.reports.put(json.loads(request.body))
            return Answer(204)
        if not request.path.startswith("/dashboard/"):
            return Answer(200, PROBE.encode(), {"Content-Type": "text/html"})
        path = request.path.removeprefix("/dashboard/")
        if path == "data.json":
            with self._lock:
                self._requests += 1
                if self._requests == 3:
                    self._before_third()
        with urllib.request.urlopen(self._url + path, timeout=20) as response:
            policy = response.headers["Content-Security-Policy"]
            headers = {
                "Content-Type": response.headers["Content-Type"],
                "Content-Security-Policy": policy.replace("frame-ancestors 'none'; ", ""),
            }
            return Answer(response.status, response.read(), headers)


def console(log):
    """Return what the browser's console has."""
    lines = log.read_text(errors="replace").splitlines()
    return [line for line in lines if "CONSOLE" in line]


def test_the_page_follows_the_store(chromium, fleet, url, tmp_path):
    """A page shows what happens after it was opened, on a wide screen and on a phone."""

    def change():
        fleet.token("billing", granted_to="web-9:1", scope="invoices.read invoices.write")
        fleet.failure("billing", HOSTILE, scope="invoices.read invoices.write")
        fleet.failure("a-new-one", "the first request failed")
        until(lambda: b"a-new-one" in urllib.request.urlopen(f"{url}data.json").read(), pause=0.1)

    log = tmp_path / "log"
    with (
        Between(url, change) as between,
        log.open("wb") as stderr,
        subprocess.Popen(
            [*chromium, "--remote-debugging-port=0", between.origin], stderr=stderr
        ) as browser,
    ):
        try:
            reports = between.reports.get(timeout=PROGRAM_SECONDS)
        finally:
            browser.terminate()
    assert console(log) == []
    assert [report["width"] for report in reports] == [1600, 360]
    for report in reports:
        assert not report["wide"]
        assert report["title"] == "(4) Tokenkeeper"
        assert len(report["rows"]) == 10
        assert report["rows"][0].startswith("a-new-one")
        assert report["order"] == (
            4 * ["record problem"] + 2 * ["record warning"] + 4 * ["record ok"]
        )
        (billing,) = (row for row in report["rows"] if row.startswith("billing"))
        assert HOSTILE in billing
        assert report["image"] == 0
        (crm,) = report["filtered"]
        assert crm.startswith("crm")
        assert 150 < report["bar"] < report["width"]
        assert report["requests"] == [0, 1]  # while the tab is hidden, and once it is seen again
        assert "3 requests for 1 new token" in report["trend"]


@pytest.mark.parametrize("scheme", [0, 1], ids=["dark", "light"])
def test_the_page_is_painted(chromium, url, tmp_path, scheme):
    """The page of the command itself has no error in the console, and the colours of its scheme."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed: tox -e docs")
    file = tmp_path / "shot.png"
    shot = [
        *chromium,
        f"--blink-settings=preferredColorScheme={scheme}",
        "--window-size=1200,900",
        "--virtual-time-budget=3000",
        f"--screenshot={file}",
        url,
    ]
    done = subprocess.run(shot, capture_output=True, check=True, text=True, timeout=90)
    assert "CONSOLE" not in done.stderr
    with image.open(file) as opened:
        areas = opened.convert("RGB").getcolors(1 << 24)
    seen = {colour for count, colour in areas if count > 500}
    background = max(areas)[1]
    assert (sum(background) > 600) == bool(scheme)
    zones = [("2f8f4e", "b37d10"), ("56b370", "e0a32e")][scheme]
    assert {tuple(bytes.fromhex(zone)) for zone in zones} <= seen


def test_the_dom(chromium, url):
    """The document of the command's page has the texts of the store, and a filter that works."""
    dump = [*chromium, "--virtual-time-budget=3000", "--dump-dom", url]
    done = subprocess.run(dump, capture_output=True, check=True, text=True, timeout=90)
    assert "CONSOLE" not in done.stderr
    assert '<label class="filter">' in done.stdout
    assert done.stdout.count('<tbody role="rowgroup" class="record ') == 10  # one is the blank
    assert "invalid_client (HTTP 401): the client secret has expired" in done.stdout


# Opens the dashboard, numbers its requests for data, and reports what it showed before each of
# them, which is what it made of the last answer.
WATCH = """<!doctype html><body><script>
const frame = document.createElement("iframe");
frame.onload = () => {
  const page = frame.contentDocument;
  const fetched = frame.contentWindow.fetch;
  const seen = [];
  frame.contentWindow.fetch = (source, options) => {
    seen.push({
      notice: page.querySelector(".notice").innerText.trim(),
      grey: page.documentElement.classList.contains("disconnected"),
      rows: page.querySelectorAll("tbody").length,
    });
    if (seen.length <= ANSWERS) return fetched(`${source}?number=${seen.length}`, options);
    fetch("/report", {method: "POST", body: JSON.stringify(seen)});
    return new Promise(() => {});
  };
};
frame.src = "/dashboard/";
document.body.append(frame);
</script></body>"""

SIGNED_OUT = "The dashboard does not answer. Reload the page if you were signed out."


class Scripted(Between):
    """Answers the numbered requests for data by a script, and others as the dashboard does."""

    def __init__(self, url, script):
        super().__init__(url, lambda: None)
        self._script = script

    def answer(self, request):
        if request.path == "/":
            probe = WATCH.replace("ANSWERS", str(len(self._script)))
            return Answer(200, probe.encode(), {"Content-Type": "text/html"})
        if request.path == "/login":
            return Answer(200, b"<h1>Sign in</h1>", {"Content-Type": "text/html"})
        answer = super().answer(request)
        if request.path == "/dashboard/":  # so that the script takes no half a minute
            page = answer.body.replace(b'data-refresh="2"', b'data-refresh="0.01"')
            return replace(answer, body=page)
        numbers = dict(request.query)
        if "number" not in numbers:
            return answer
        scripted = self._script[int(numbers["number"]) - 1]
        return scripted(json.loads(answer.body)) if callable(scripted) else scripted


def twice(found):
    """Return data in which each record occurs twice, as if two keys looked alike."""
    records = [each for each in found["shown"]["records"] for _ in range(2)]
    return Answer(200, {**found, "shown": {**found["shown"], "records": records}})


def without(found):
    """Return data without records."""
    return Answer(200, {**found, "shown": {**found["shown"], "records": []}})


SCRIPT = {
    "records that look alike": (twice, "", 18),
    "and again": (twice, "", 18),
    "as usual": (lambda found: Answer(200, found), "", 9),
    "401": (Answer(401), SIGNED_OUT, 9),
    "and it is back": (lambda found: Answer(200, found), "", 9),
    "403": (Answer(403), SIGNED_OUT, 9),
    "500": (Answer(500), SIGNED_OUT, 9),
    "a redirect to a login": (Answer(302, b"", {"Location": "/login"}), SIGNED_OUT, 9),
    "a login page": (Answer(200, b"<h1>Sign in</h1>"), SIGNED_OUT, 9),
    "other JSON": (Answer(200, {}), SIGNED_OUT, 9),
    "half an answer": (Answer(200, bytes(5000), cut_after=1000), SIGNED_OUT, 9),
    "no records": (without, "", 0),
    "all is well": (lambda found: Answer(200, found), "", 9),
}


def test_a_dashboard_that_does_not_answer(chromium, url, tmp_path):
    """The page says that it is cut off, greys what it knows, keeps asking, and recovers."""
    script = [answer for answer, _, _ in SCRIPT.values()]
    with (
        Scripted(url, script) as scripted,
        (tmp_path / "log").open("wb") as stderr,
        subprocess.Popen(
            [*chromium, "--remote-debugging-port=0", scripted.origin], stderr=stderr
        ) as browser,
    ):
        try:
            seen = scripted.reports.get(timeout=PROGRAM_SECONDS)
        finally:
            browser.terminate()
    found = dict(zip(SCRIPT, seen[1:], strict=True))
    assert found == {
        name: {"notice": notice, "grey": bool(notice), "rows": rows}
        for name, (_, notice, rows) in SCRIPT.items()
    }
