"""The built site: it builds without a warning, its links lead somewhere, its reference is whole."""

import pkgutil
from html.parser import HTMLParser
from importlib import import_module
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

import tokenkeeper.integrations


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


def pages_of(site):
    """Return each page of *site*, by its path."""
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def dead_links(site):
    """Return the links inside of *site* that lead nowhere, each as "page: link"."""
    pages = pages_of(site)
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


LIBRARIES = tokenkeeper.integrations.__path__
PUBLIC = [
    "tokenkeeper",
    "tokenkeeper.events",
    "tokenkeeper.exceptions",
    "tokenkeeper.testing",
    *(f"tokenkeeper.integrations.{m.name}" for m in pkgutil.iter_modules(LIBRARIES)),
]


@pytest.mark.parametrize("module", [name for name in PUBLIC if "._" not in name])
def test_every_public_name_is_in_the_reference(site, module):
    """What a public module offers has a place in the reference, under either of its names."""
    reference = pages_of(site / "reference").values()
    anchors = set().union(*(page.anchors for page in reference))
    public = import_module(module)
    for name in set(public.__all__) - {"__version__"}:
        home = getattr(getattr(public, name), "__module__", module)
        assert anchors & {f"{module}.{name}", f"{home}.{name}"}, f"{name} of {module}"
