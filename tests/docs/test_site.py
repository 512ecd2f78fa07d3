"""The built site: it builds without a warning, its links lead somewhere, its pictures show."""

import functools
import http.server
import json
import queue
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

DOCS = Path(__file__).parent.parent.parent / "docs"

# Opens the pages one after the other, and writes down the pictures that did not load.
PROBE = """<!doctype html><body><script>
const pages = PAGES, broken = [];
const opened = (page) => new Promise((resolve) => {
  const frame = document.createElement("iframe");
  frame.width = 1200;
  frame.height = 20000;
  frame.onload = async () => {
    const images = [...frame.contentDocument.images];
    images.forEach((image) => { image.loading = "eager"; });
    await Promise.all(images.map((image) => image.decode().catch(() => {})));
    for (const image of images)
      if (!image.naturalWidth) broken.push(page + ": " + image.getAttribute("src"));
    frame.remove();
    resolve();
  };
  frame.src = page;
  document.body.append(frame);
});
(async () => {
  for (const page of pages) await opened(page);
  fetch("/said", {method: "POST", body: JSON.stringify({opened: pages.length, broken})});
})();
</script></body>"""


class Page(HTMLParser):
    """What a page links to, and where in it a link can lead."""

    def __init__(self, text):
        super().__init__()
        self.links, self.anchors = [], {"", "top"}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors.update(values[key] for key in ("id", "name") if values.get(key))
        self.links.extend(values[key] for key in ("href", "src") if values.get(key))


def dead_links(site):
    """Return the links inside of *site* that lead nowhere, each as "page: link"."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    dead = []
    for path, page in pages.items():
        for link in page.links:
            if urlsplit(link).scheme or link.startswith("//"):
                continue
            address, anchor = urldefrag(link)
            name = unquote(urlsplit(address).path)
            goal = (path.parent / name).resolve() if name else path
            if not goal.is_file() or (goal in pages and unquote(anchor) not in pages[goal].anchors):
                dead.append(f"{path.relative_to(site)}: {link}")
    return dead


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return the folder of the site, built where every warning is an error."""
    pytest.importorskip("sphinx", reason="Sphinx is not installed: tox -e docs")
    folder = (tmp_path_factory.mktemp("site") / "html").resolve()
    command = ["-m", "sphinx", "-q", "-n", "-W", "--keep-going", "-b", "html", DOCS, folder]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return folder


class Listener(http.server.SimpleHTTPRequestHandler):
    """Serves files, and puts what is posted to it into its server's queue."""

    def do_POST(self):
        self.server.said.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args):
        """Say nothing of a request."""


@pytest.fixture
def copy(site, tmp_path):
    """Return a copy of the site that a test may add to."""
    return shutil.copytree(site, tmp_path / "site")


@pytest.fixture
def server(copy):
    """Return a server of the copy, on loopback."""
    handler = functools.partial(Listener, directory=copy)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.said = queue.Queue()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_links_lead_somewhere(site):
    """Each link from page to page, to a part of a page or to a file has something at its end."""
    assert dead_links(site) == []


def test_a_dead_link_is_found(tmp_path):
    """A page, a part of a page and a picture that are not there are found."""
    (tmp_path / "a.html").write_text(
        '<p id="x"><a href="b.html#y"></a><a href="b.html#z"></a><a href="#x"></a>'
        '<a href="c.html"></a><img src="d.png"><a href="https://example.com"></a>'
    )
    (tmp_path / "b.html").write_text('<p id="y">')
    assert dead_links(tmp_path) == ["a.html: b.html#z", "a.html: c.html", "a.html: d.png"]


@pytest.mark.parametrize("missing", [None, "nowhere.png"])
def test_a_browser_shows_every_picture(copy, server, tmp_path, missing):
    """Chromium opens each page, shows its pictures and logs no error; it misses one not there."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("Chromium is not installed: nobody looked at the pages")
    pages = sorted(str(path.relative_to(copy)) for path in copy.rglob("*.html"))
    pages = [page for page in pages if not page.startswith("_static")]
    if missing:
        pages = ["spoilt.html"]
        (copy / "spoilt.html").write_text(
            f'<!doctype html><img src="{missing}"><script>nothing()</script>'
        )
    (copy / "probe.html").write_text(PROBE.replace("PAGES", json.dumps(pages)))
    options = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
        " --disable-background-networking --disable-component-update --enable-logging=stderr"
        f" --user-data-dir={tmp_path / 'profile'}"
    )
    log = tmp_path / "log"
    address = f"http://127.0.0.1:{server.server_port}/probe.html"
    with (
        log.open("wb") as stderr,
        subprocess.Popen(
            [chromium, *options.split(), "--remote-debugging-port=0", address], stderr=stderr
        ) as browser,
    ):
        try:
            said = server.said.get(timeout=90)
        finally:
            browser.terminate()
    broken = [f"spoilt.html: {missing}"] if missing else []
    assert said == {"opened": len(pages), "broken": broken}
    errors = [line for line in log.read_text(errors="replace").splitlines() if "CONSOLE" in line]
    assert bool(errors) == bool(missing), errors
