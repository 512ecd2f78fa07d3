"""The built site: no warnings, no dead links, a complete reference, and a search that works."""

import json
import pkgutil
import warnings
from html.parser import HTMLParser
from importlib import import_module
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

import tokenkeeper.integrations


class Page(HTMLParser):
    """The links of a page, and the anchors in it."""

    def __init__(self, text):
        super().__init__()
        self.links, self.anchors = [], {"", "top"}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors.update(values[key] for key in ("id", "name") if values.get(key))
        self.links.extend(values[key] for key in ("href", "src") if values.get(key))


def pages_of(site):
    """Return the pages of *site* by path."""
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def dead_links(site):
    """Return the links within *site* that are dead, each as "page: link"."""
    pages = pages_of(site)
    dead = []
    for path, page in pages.items():
        if "_modules" in path.parts:
            continue  # Sphinx links from source code to the right page, but not always to its part
        for link in page.links:
            if urlsplit(link).scheme or link.startswith("//"):
                continue
            address, anchor = urldefrag(link)
            name = unquote(urlsplit(address).path)
            goal = (path.parent / name).resolve() if name else path
            if not goal.is_file() or (goal in pages and unquote(anchor) not in pages[goal].anchors):
                dead.append(f"{path.relative_to(site)}: {link}")
    return dead


def test_links(site):
    """Each link to a page, to a part of a page or to a file has a target."""
    assert dead_links(site) == []


def test_a_dead_link_is_found(tmp_path):
    """The check finds a missing page, a missing part of a page and a missing picture."""
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


def imported(name):
    """Return a module. Some client libraries warn when they are imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(name)


@pytest.mark.parametrize("module", [name for name in PUBLIC if "._" not in name])
def test_every_public_name_is_in_the_reference(site, module):
    """Each name of a public module is in the reference, under one of the modules that offer it."""
    reference = pages_of(site / "reference").values()
    anchors = set().union(*(page.anchors for page in reference))
    public = imported(module)
    for name in set(public.__all__) - {"__version__"}:
        value = getattr(public, name)
        homes = [imported(each) for each in PUBLIC if "._" not in each]
        homes = {home.__name__ for home in homes if getattr(home, name, None) is value}
        homes.add(getattr(value, "__module__", module))
        assert anchors & {f"{home}.{name}" for home in homes}, f"{name} of {module}"


@pytest.mark.parametrize("code", ["401", "503"])
def test_the_search_index_has_status_codes(site, code):
    """The index leads from an HTTP status to the page on errors."""
    script = (site / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(script.removeprefix("Search.setIndex(").removesuffix(")"))
    found = index["terms"][code]
    assert index["docnames"].index("reference/errors") in found


def test_source_links(site):
    """Each class and function of the reference links to its source."""
    page = (site / "reference" / "keeper.html").read_text(encoding="utf-8")
    assert '_modules/tokenkeeper/keeper.html#TokenKeeper.get_token"' in page
    assert (site / "_modules" / "tokenkeeper" / "keeper.html").is_file()


@pytest.mark.parametrize(
    ("page", "diagram"),
    [
        ("index", "parts"),
        ("explanation/life-of-a-token", "life"),
        ("explanation/threads-and-forks", "forks"),
        ("explanation/fleet", "fleet"),
    ],
)
def test_diagrams_take_the_colours_of_the_page(site, page, diagram):
    """A diagram is part of its page, in the page's text colour, with a text for screen readers."""
    text = (site / f"{page}.html").read_text(encoding="utf-8")
    picture = text.partition(f'id="{diagram}" class="diagram"')[2].partition("</svg>")[0]
    assert 'fill="currentColor"' in picture
    assert f'<title id="{diagram}-title">' in picture
