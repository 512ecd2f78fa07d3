"""Whatever names and errors contain, the page has it as text, and nothing runs or breaks out."""

from html.parser import HTMLParser

import pytest
from kit.stored import StoredFleet

from tokenkeeper.dashboard import dashboard
from tokenkeeper.stores.settings import StoreSettings

HOSTILE = {
    "a script": "<script>alert(1)</script>",
    "an end of a script": "</script><script>alert(1)</script>",
    "an image": "<img src=x onerror=alert(1)>",
    "an end of an attribute": '" onmouseover="alert(1)" x="',
    "an apostrophe": "' onmouseover='alert(1)",
    "an end of the row": "</td></tr></tbody></table><h1>All is well</h1>",
    "an end of the template": "</template><h1>All is well</h1>",
    "a comment": "<!-- ",
    "an entity": "&lt;b&gt;&#60;script&#62;",
    "a placeholder": "$title ${life} $$",
    "a null": "a\x00b",
    "escape sequences": "\x1b[31mred\x1b[0m\x1b]0;owned\x07",
    "right to left": "\u202egnp.exe\u2066abc",
    "zero width": "bill\u200bing",
    "a line end": "two\r\nlines",
    "long": "x" * 5000,
}
TAGS_OF_THE_PAGE = {
    *("html", "head", "meta", "title", "link", "script", "noscript", "body", "header", "div"),
    *("h1", "p", "svg", "path", "main", "strong", "span", "label", "input", "table", "thead"),
    *("tr", "th", "abbr", "tbody", "code", "td", "rect", "footer", "ul", "li", "template"),
}


class Outline(HTMLParser):
    """Collects elements, attributes and texts of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture
def plain():
    """Return a store without encryption, into which others may write."""
    return StoredFleet()


@pytest.fixture
def outline(fetch):
    """Return a function that opens the page of a store, and returns its outline."""

    def outline(settings):
        response = fetch(dashboard(settings), "/")
        assert response.status_code == 200
        assert all(each.isprintable() or each == "\n" for each in response.text)
        return Outline(response.text)

    return outline


@pytest.fixture
def expected(plain, outline):
    """Return the elements of a page with the same records, whose texts are harmless."""
    put(plain, "harmless")
    return outline(plain.settings).tags


def put(fleet, text):
    """Write *text* wherever a store has a text."""
    key = fleet.token(text.replace("\n", " "), granted_to=text, scope=["read"])
    fleet.failure(text.replace("\n", " "), text, reported_by=text, scope=["read"])
    fleet.claim(key, owner=text, intent=text)
    fleet.sealed(text, b"")  # the key of a record is in an attribute


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_texts_stay_texts(outline, expected, text):
    """A hostile text adds no element and no attribute, and is readable as it was written."""
    fleet = StoredFleet()
    put(fleet, text)
    settings = StoreSettings(fleet.store, fleet.sealer, label=f"redis://{text}")
    found = outline(settings)
    assert found.tags == expected
    assert set(found.tags) <= TAGS_OF_THE_PAGE
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert not any("\u202e" in each or "\x1b" in each for each in found.texts)
    if text.isprintable() and len(text) < 200:
        assert sum(text in each for each in found.texts) >= 4
    else:
        assert max(map(len, found.texts)) < 1000


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_the_data_is_json(fetch, text):
    """The data is valid JSON of a JSON media type, whatever a store contains."""
    fleet = StoredFleet()
    fleet.claim(fleet.key("a"), owner=text, intent=text)
    fleet.sealed("key\x1b", text.encode(errors="surrogatepass"))
    response = fetch(dashboard(fleet.settings), "/data.json")
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert len(response.json()["shown"]["records"]) == 2


def test_a_lone_surrogate(fetch):
    """A lone surrogate, which UTF-8 can't express, is escaped."""
    fleet = StoredFleet()
    fleet.claim(fleet.key("a"), intent="web-\udcff is about to ask")
    assert r"web-\udcff is about to ask" in fetch(dashboard(fleet.settings), "/").text
    assert fetch(dashboard(fleet.settings), "/data.json").status_code == 200
