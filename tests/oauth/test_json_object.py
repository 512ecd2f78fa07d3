"""The lenient reading of JSON objects."""

import json

import pytest

from tokenkeeper.oauth.exchange import HttpAnswer
from tokenkeeper.oauth.json_object import (
    MAX_DEPTH,
    JsonObject,
    UnusableResponseError,
    any_int,
    narrow_text,
    read_json,
    read_object,
)

OBJECT = {"a": "b"}
TEXT = json.dumps(OBJECT)


def read(body, content_type=None):
    headers = {} if content_type is None else {"content-type": content_type}
    return read_object(HttpAnswer(200, headers, body))


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (TEXT.encode(), None),
        (b"\xef\xbb\xbf" + TEXT.encode(), None),
        (TEXT.encode(), "application/json; charset=utf-16"),
        (TEXT.encode() + b" ", "application/json; charset=utf-16"),
        (TEXT.encode("utf-16"), "application/json; charset=utf-16"),
        (TEXT.encode("utf-16-le"), 'application/json; charset="UTF-16LE"'),
        (TEXT.encode("utf-16-be"), "application/json; Charset = utf16be"),
        (TEXT.encode("utf-32"), "text/plain; charset=utf-32"),
    ],
    ids=range(8),
)
def test_encodings(body, content_type):
    """UTF-8 is read whatever the header names, and UTF-16 and UTF-32 if it names them."""
    assert read(body, content_type) == OBJECT


@pytest.mark.parametrize("order", ["be", "le"])
@pytest.mark.parametrize("charset", ["utf-16{}", "utf16{}", "UTF-16-{}", "utf-32{}", "utf32-{}"])
def test_spellings_of_encodings(charset, order):
    """An encoding may be spelled with dashes or without them, in any case."""
    body = TEXT.encode(f"utf-{charset.strip('{}-')[-2:]}-{order}")
    assert read(body, f"application/json; charset={charset.format(order)}") == OBJECT
    assert read(TEXT.encode(), f"application/json; charset={charset.format(order)}") == OBJECT


def test_a_body_that_is_not_utf_8():
    """A body in another encoding is read as Latin-1."""
    assert read('{"a": "\xe9"}'.encode("latin-1")) == {"a": "\xe9"}
    assert narrow_text(b"\xef\xbb\xbf\xe9") == "\xef\xbb\xbf\xe9"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "is not JSON"),
        (b"abc", "is not JSON"),
        (TEXT.encode("utf-16"), "is not JSON"),
        (b"[]", "is a JSON array, not an object"),
        (b'"abc"', "is a JSON string, not an object"),
        (b"true", "is a JSON boolean, not an object"),
        (b"7", "is a JSON number, not an object"),
        (b"7.5", "is a JSON number, not an object"),
        (b"null", "is JSON null, not an object"),
    ],
)
def test_other_bodies(body, reason):
    """The error says what a body is that is not an object."""
    with pytest.raises(UnusableResponseError) as caught:
        read(body)
    assert str(caught.value) == reason


@pytest.mark.parametrize("text", ['{"a": "b\nc"}', '{"a": NaN}', '{"a": 1, "a": 2}'])
def test_lenient(text):
    """Line breaks in strings, NaN and duplicate members are accepted."""
    assert isinstance(read_json(text), JsonObject)


def test_duplicates():
    """The last value of a duplicate member is the item, and every value can be had."""
    content = read_json('{"a": 1, "b": 2, "a": 3}')
    assert content == {"a": 3, "b": 2}
    assert [content.every(name) for name in "abc"] == [[1, 3], [2], []]


def test_no_duplicates():
    """A member that is there once has one value."""
    content = read_json('{"a": 1}')
    assert (content.every("a"), content.every("b")) == ([1], [])


def nested(depth, inside=""):
    """Return arrays within arrays, the innermost with *inside* in it."""
    return "[" * depth + inside + "]" * depth


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (nested(MAX_DEPTH - 1), nested(MAX_DEPTH - 1)),
        (nested(MAX_DEPTH), nested(MAX_DEPTH)),
        (nested(MAX_DEPTH + 1), nested(MAX_DEPTH, "null")),
        (nested(MAX_DEPTH + 9), nested(MAX_DEPTH, "null")),
        (nested(MAX_DEPTH, "[1], 2, {}, 3"), nested(MAX_DEPTH, "null, 2, null, 3")),
        (nested(MAX_DEPTH, '"]}[{\\"]"'), nested(MAX_DEPTH, '"]}[{\\"]"')),
        (f"[{nested(MAX_DEPTH - 1)}, [[]], {{}}]", f"[{nested(MAX_DEPTH - 1)}, [[]], {{}}]"),
        (f"[{nested(MAX_DEPTH)}, [7]]", f"[{nested(MAX_DEPTH - 1, 'null')}, [7]]"),
    ],
    ids=range(8),
)
def test_depth(text, kept):
    """A value that is nested too deeply becomes null, and all others stay."""
    assert read_json(text) == json.loads(kept)


@pytest.mark.parametrize("text", ["[" * 100, "[" * MAX_DEPTH + "[1], 2", nested(100)[:-1]])
def test_unclosed_depths(text):
    """A truncated text is not JSON, however deep it is."""
    with pytest.raises(ValueError, match="Expecting"):
        read_json(text)


def test_a_full_stack(monkeypatch):
    """A text that the parser has no stack left for is an invalid one."""

    def overflow(*_, **__):
        raise RecursionError

    monkeypatch.setattr(json, "loads", overflow)
    with pytest.raises(ValueError, match=r"^nested too deeply$") as caught:
        read_json("{}")
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("sign", ["", "-"])
def test_long_integers(sign):
    """An integer of 30 characters or more is a rough number."""
    assert any_int(sign + "9" * (29 - len(sign))) == int(sign + "9" * (29 - len(sign)))
    for length in (30, 31, 5000):
        rough = any_int(sign + "9" * (length - len(sign)))
        assert (rough, type(rough)) == (float(f"{sign}1e30"), float)
    assert read_json(f"[{sign}{'9' * 5000}]") == [float(f"{sign}1e30")]
