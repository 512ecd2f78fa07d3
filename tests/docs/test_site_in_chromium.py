"""The built site in a browser: pictures are painted, pages fit, the search finds status codes."""

import json
import mimetypes
import queue
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest
from kit.browser import chromium_command
from kit.servers.base import Answer, LoopbackServer

# Opens the pages one after the other, on a wide screen and on a phone. Reports the pictures that
# did not load, and the pages that need horizontal scrolling.
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
  fetch("/report", {method: "POST", body: JSON.stringify({opened: pages.length, broken, wide})});
})();
</script></body>"""

BROKEN = """<!doctype html><img src="missing.png">
<p style="width: 600px">wide</p><script>missing()</script>"""

DOCS = Path(__file__).parent.parent.parent / "docs"


class SiteServer(LoopbackServer):
    """Serves the files of *folder*, and puts posted reports into a queue."""

    def __init__(self, folder):
        super().__init__()
        self.url = self.origin
        self.reports = queue.Queue()
        self._folder = folder

    def answer(self, request):
        if request.method == "POST":
            self.reports.put(json.loads(request.body))
            return Answer(204)
        file = self._folder / unquote(request.path).lstrip("/")
        if not file.is_file():
            return Answer(404)
        kind = mimetypes.guess_type(file)[0] or "application/octet-stream"
        return Answer(200, file.read_bytes(), {"Content-Type": kind})


@pytest.fixture
def chromium(tmp_path):
    """Return the command that starts Chromium."""
    return chromium_command(tmp_path / "profile")


@pytest.fixture
def copy(site, tmp_path):
    """Return a copy of the site that a test may change."""
    return shutil.copytree(site, tmp_path / "site")


@pytest.fixture
def server(copy):
    """Return a server for the copy, on loopback."""
    with SiteServer(copy) as server:
        yield server


@pytest.mark.parametrize("broken_page", [False, True])
def test_every_page(chromium, copy, server, tmp_path, broken_page):
    """Each page loads its pictures, fits screen and phone, and logs no error."""
    pages = sorted(str(path.relative_to(copy)) for path in copy.rglob("*.html"))
    pages = [page for page in pages if not page.startswith(("_static", "_modules"))]
    if broken_page:
        pages = ["broken.html"]
        (copy / "broken.html").write_text(BROKEN)
    (copy / "probe.html").write_text(PROBE.replace("PAGES", json.dumps(pages)))
    log = tmp_path / "log"
    with (
        log.open("wb") as stderr,
        subprocess.Popen(
            [*chromium, "--remote-debugging-port=0", f"{server.url}/probe.html"], stderr=stderr
        ) as browser,
    ):
        try:
            report = server.reports.get(timeout=90)
        finally:
            browser.terminate()
    broken = ["broken.html: missing.png"] * 2 if broken_page else []
    wide = ["broken.html at 400"] if broken_page else []
    assert report == {"opened": len(pages), "broken": broken, "wide": wide}
    errors = [line for line in log.read_text(errors="replace").splitlines() if "CONSOLE" in line]
    assert bool(errors) == broken_page, errors


def screenshot(chromium, url, height, file):
    """Return the colours of a page's larger areas, each with its size in pixels."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed: tox -e docs")
    command = [*chromium, f"--window-size=1400,{height}", f"--screenshot={file}", url]
    subprocess.run(command, capture_output=True, check=True, timeout=90)
    with image.open(file) as opened:
        areas = opened.convert("RGB").getcolors(1 << 24)
    return {colour: count for count, colour in areas if count > 500}


def themed(page, theme):
    """Fix the theme of a page, which depends on the visitor's system otherwise."""
    text = page.read_text(encoding="utf-8")
    automatic = 'localStorage.getItem("theme") || "auto"'
    assert automatic in text
    page.write_text(text.replace(automatic, f'"{theme}"'), encoding="utf-8")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    ("page", "diagram"),
    [
        ("index.html", "parts.svg"),
        ("explanation/life-of-a-token.html", "life.svg"),
        ("explanation/threads-and-forks.html", "forks.svg"),
        ("explanation/fleet.html", "fleet.svg"),
    ],
)
def test_diagrams_are_painted(chromium, copy, server, tmp_path, page, diagram, theme):
    """A screenshot shows the areas of a diagram, in light and in dark mode."""
    drawing = (DOCS / "pictures" / diagram).read_text(encoding="utf-8")
    fills = re.findall(r'<rect [^>]*fill="#(\w{6})"', drawing)
    assert fills
    themed(copy / page, theme)
    seen = screenshot(chromium, f"{server.url}/{page}", 3000, tmp_path / "shot.png")
    assert {tuple(bytes.fromhex(fill)) for fill in fills} <= set(seen)
    background = max(seen, key=seen.get)
    assert (sum(background) > 600) == (theme == "light")


@pytest.mark.parametrize("gone", [False, True])
def test_charts_are_painted(chromium, copy, server, tmp_path, gone):
    """A screenshot of the benchmarks has the colours of its charts."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed: tox -e docs")
    names = re.findall(
        r'<img [^>]*src="[./]*(_images/[^"]+)"', (copy / "benchmarks.html").read_text()
    )
    assert names
    wanted = set()
    for name in names:
        with image.open(copy / name) as opened:
            areas = sorted(opened.convert("RGB").getcolors(1 << 24), reverse=True)
        wanted |= {colour for _, colour in areas[:3]}
    if gone:
        shutil.rmtree(copy / "_images")
    seen = screenshot(chromium, f"{server.url}/benchmarks.html", 14000, tmp_path / "shot.png")
    assert (wanted <= set(seen)) != gone, wanted - set(seen)


@pytest.mark.parametrize("code", ["401", "503"])
def test_search(chromium, server, code):
    """A search for an HTTP status finds the page on errors."""
    command = [*chromium, "--virtual-time-budget=20000", "--dump-dom"]
    shown = subprocess.run(
        [*command, f"{server.url}/search.html?q={code}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=90,
    ).stdout
    results = shown.partition('id="search-results"')[2]
    assert 'href="reference/errors.html"' in results
