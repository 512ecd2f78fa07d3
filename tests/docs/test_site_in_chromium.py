"""The built site as a browser shows it: pictures load and are painted, and every page fits."""

import functools
import http.server
import json
import os
import queue
import re
import shutil
import subprocess
import threading

import pytest

# Opens the pages one after the other, on a wide screen and on a phone. Writes down the pictures
# that did not load, and the pages that have to be moved sideways to be read.
PROBE = """<!doctype html><body><script>
const pages = PAGES, broken = [], wide = [];
const opened = (page, width) => new Promise((resolve) => {
  const frame = document.createElement("iframe");
  frame.width = width;
  frame.height = 20000;
  frame.onload = async () => {
    const shown = frame.contentDocument, images = [...shown.images];
    images.forEach((image) => { image.loading = "eager"; });
    await Promise.all(images.map((image) => image.decode().catch(() => {})));
    for (const image of images)
      if (!image.naturalWidth) broken.push(page + ": " + image.getAttribute("src"));
    if (shown.documentElement.scrollWidth > width) wide.push(page + " at " + width);
    frame.remove();
    resolve();
  };
  frame.src = page;
  document.body.append(frame);
});
(async () => {
  for (const page of pages) for (const width of [1400, 400]) await opened(page, width);
  fetch("/said", {method: "POST", body: JSON.stringify({opened: pages.length, broken, wide})});
})();
</script></body>"""

SPOILT = """<!doctype html><img src="nowhere.png">
<p style="width: 600px">wide</p><script>nothing()</script>"""

OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-quic --no-first-run"
    " --disable-sync --disable-background-networking --disable-component-update"
    " --enable-logging=stderr --hide-scrollbars"
)


class Listener(http.server.SimpleHTTPRequestHandler):
    """Serves files, and puts what is posted to it into its server's queue."""

    def do_POST(self):
        self.server.said.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args):
        """Say nothing of a request."""


@pytest.fixture
def chromium(tmp_path):
    """Return the words that start Chromium. Where all is to be tested, it has to be there.

    ``TOKENKEEPER_CHROMIUM=none`` says that it can't be.
    """
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        must = os.environ.get("CI") or os.environ.get("TOKENKEEPER_INTEROP") == "all"
        must = must and os.environ.get("TOKENKEEPER_CHROMIUM") != "none"
        (pytest.fail if must else pytest.skip)("no Chromium: nobody looked at the pages")
    return [found, *OPTIONS.split(), f"--user-data-dir={tmp_path / 'profile'}"]


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
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("spoilt", [False, True])
def test_every_page_shows(chromium, copy, server, tmp_path, spoilt):
    """Each page shows its pictures, fits on screen and phone and logs no error, or it is found."""
    pages = sorted(str(path.relative_to(copy)) for path in copy.rglob("*.html"))
    pages = [page for page in pages if not page.startswith("_static")]
    if spoilt:
        pages = ["spoilt.html"]
        (copy / "spoilt.html").write_text(SPOILT)
    (copy / "probe.html").write_text(PROBE.replace("PAGES", json.dumps(pages)))
    log = tmp_path / "log"
    with (
        log.open("wb") as stderr,
        subprocess.Popen(
            [*chromium, "--remote-debugging-port=0", f"{server.url}/probe.html"], stderr=stderr
        ) as browser,
    ):
        try:
            said = server.said.get(timeout=90)
        finally:
            browser.terminate()
    broken = ["spoilt.html: nowhere.png"] * 2 if spoilt else []
    wide = ["spoilt.html at 400"] if spoilt else []
    assert said == {"opened": len(pages), "broken": broken, "wide": wide}
    errors = [line for line in log.read_text(errors="replace").splitlines() if "CONSOLE" in line]
    assert bool(errors) == spoilt, errors


def painted(picture, image):
    """Return the colours of *picture*'s larger areas."""
    if picture.suffix == ".svg":
        fills = re.findall(r'<rect [^>]*fill="#(\w{6})"', picture.read_text())
        return {tuple(bytes.fromhex(fill)) for fill in fills}
    with image.open(picture) as opened:
        areas = sorted(opened.convert("RGB").getcolors(1 << 24), reverse=True)
    return {colour for _, colour in areas[:3]}


@pytest.mark.parametrize(
    ("page", "height", "gone"),
    [
        ("explanation/life-of-a-token.html", 3000, False),
        ("explanation/life-of-a-token.html", 3000, True),
        ("benchmarks.html", 14000, False),
    ],
)
def test_pictures_are_on_the_screenshot(chromium, copy, server, tmp_path, page, height, gone):
    """A screenshot of a page has the colours of its pictures, and lacks them without these."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed: tox -e docs")
    names = re.findall(r'<img [^>]*src="[./]*(_images/[^"]+)"', (copy / page).read_text())
    assert names
    wanted = set().union(*(painted(copy / name, image) for name in names))
    if gone:
        shutil.rmtree(copy / "_images")
    shot = tmp_path / "shot.png"
    command = [*chromium, f"--window-size=1400,{height}", f"--screenshot={shot}"]
    subprocess.run([*command, f"{server.url}/{page}"], capture_output=True, check=True, timeout=90)
    with image.open(shot) as opened:
        areas = opened.convert("RGB").getcolors(1 << 24)
    seen = {colour for count, colour in areas if count > 500}
    assert (wanted <= seen) != gone, wanted - seen
