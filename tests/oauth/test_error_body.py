"""What is read from a response that grants no token, whatever its format."""

from dataclasses import fields

import pytest

from tokenkeeper.oauth.error_body import BodyFormat, ErrorResponse, read_error
from tokenkeeper.oauth.exchange import HttpAnswer


def read(body, status=400, **headers):
    """Return what is read from a response: its format, and each value that is not the default."""
    body = body if isinstance(body, bytes) else body.encode()
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    error = read_error(HttpAnswer(status, headers, body))
    plain = ErrorResponse(error.format)
    values = {each.name: getattr(error, each.name) for each in fields(ErrorResponse)[1:]}
    differing = {name: it for name, it in values.items() if it != getattr(plain, name)}
    return error.format, differing


ONE = {"codes": ("e_1",), "is_object": True}

OBJECTS = [
    ("{}", {"is_object": True}),
    ('{"error": "e_1"}', ONE),
    ('\ufeff{"error": "e_1"}', ONE),
    ('[{"error": "e_1"}]', ONE),
    ('[[{"error": "e_1"}, {"error": "e_2"}]]', ONE),
    (
        '{"error": "e_1", "error_description": "the words"}',
        ONE | {"words": "the words", "is_described": True},
    ),
    ('{"error": "e_1", "message": "the words"}', ONE | {"words": "the words"}),
    ('{"error": "e_1", "status": 503, "code": 400}', ONE | {"status": 400}),
    ('{"error": "e_1", "retry_after": 7}', ONE | {"wait_seconds": 7.0}),
    ('{"error": "e_1", "client_secret": "abc"}', ONE | {"secrets": ("abc",)}),
    ('{"error": "e_1", "access_token": "abc"}', ONE | {"secrets": ("abc",), "has_token": True}),
    ('{"error": "e_1", "access_token": ""}', ONE),
    (f'{{"code": {"9" * 5000}}}', {"codes": ("a number",), "is_object": True}),
]


@pytest.mark.parametrize(("body", "content"), OBJECTS, ids=range(len(OBJECTS)))
def test_json_objects(body, content):
    """The members of an object are read, also of the first one in a list."""
    assert read(body) == (BodyFormat.JSON, content)


@pytest.mark.parametrize("body", ["[]", "[[]]", "7", "true", "null", '""'])
def test_json_that_says_nothing(body):
    """JSON without an object and without text says nothing."""
    assert read(body) == (BodyFormat.JSON, {})


def test_many_codes():
    """The first five codes are read."""
    names = ("error", "error_code", "code", "err_code", "error_type", "suberror")
    members = ", ".join(f'"{name}": "e_{number}"' for number, name in enumerate(names))
    assert read(f"{{{members}}}")[1]["codes"] == ("e_0", "e_1", "e_2", "e_3", "e_4")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ('"title": "Bad"', "Bad"),
        ('"title": "Bad", "detail": "why"', "Bad: why"),
        ('"title": "Bad.", "detail": "why"', "Bad. why"),
        ('"title": "Bad!", "detail": "why"', "Bad! why"),
        ('"title": "Bad?", "detail": "why"', "Bad? why"),
        ('"title": "Bad:", "detail": "why"', "Bad: why"),
        ('"title": "Bad. ", "detail": "why"', "Bad.  why"),
        ('"title": "One", "message": "Two.", "detail": "3", "hint": "4"', "One: Two. 3"),
        ('"title": "Bad", "error_description": "why"', "why"),
        ('"error_description": "one", "error": {"error_description": "two"}', "one"),
    ],
)
def test_words_are_joined(members, words):
    """Up to three texts are joined to sentences, unless there is a description."""
    assert read(f"{{{members}}}")[1]["words"] == words


@pytest.mark.parametrize(
    ("body", "content"),
    [
        ("error=e_1&error_description=two+words", {"words": "two words", "is_described": True}),
        (" error=e_1&message=hello \r\n", {"words": "hello"}),
        ("errorCode=e_1", {}),
        ("Code=e_1", {}),
        ("error=e_1&access_token=abc", {"secrets": ("abc",)}),
        ("a=b&error=e_1" + "&c=d" * 48, {}),
    ],
    ids=range(6),
)
def test_forms(body, content):
    """The fields of a form are read like the members of an object."""
    assert read(body) == (BodyFormat.FORM, {"codes": ("e_1",)} | content)
    assert read(body, 200) == (BodyFormat.FORM, {"codes": ("e_1",)} | content)


@pytest.mark.parametrize("name", ["message", "reason", "access_token"])
def test_forms_without_a_code(name):
    """One known field makes a text a form."""
    assert read(f"{name}=abc")[0] is BodyFormat.FORM


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("a=b", "a=b"),
        ("a=b&c=d", "a=b&c=d"),
        ("error=e_1 is wrong", "error=e_1 is wrong"),
        ("error", "error"),
        ("a=b&error=e_1" + "&c=d" * 49, ""),
        (f"a={'x' * 64_000}&error=e_1", ""),
        ("Xylophone", "Xylophone"),
        ("the words\nof a sentence", "the words of a sentence"),
        (b"zu gr\xf6\xdfer Mut", "zu größer Mut"),
        (b"123456789\x01", "123456789\x01"),
        ('"the words"', "the words"),
    ],
    ids=range(11),
)
def test_texts(body, words):
    """A text that is not a form is quoted, unless it may be a secret."""
    is_json = body[:1] == '"'
    content = {"words": words} if words else {}
    assert read(body) == (BodyFormat.JSON if is_json else BodyFormat.TEXT, content)


@pytest.mark.parametrize("body", ["abc", '"abc"'])
def test_a_lone_word_of_a_success(body):
    """A lone word with a success status may be the token, so it is not quoted."""
    assert read(body, 200)[1] == {}
    assert read(body, 400)[1] == {"words": "abc"}
    assert read(body.replace("b", " "), 200)[1] == {"words": "a c"}


@pytest.mark.parametrize(
    ("body", "body_format"),
    [
        ("", BodyFormat.EMPTY),
        (" \r\n", BodyFormat.EMPTY),
        ('{"error": "e_1"', BodyFormat.BROKEN_JSON),
        (' {"error=e_1', BodyFormat.BROKEN_JSON),
        ('["error=e_1', BodyFormat.BROKEN_JSON),
        ('"error=e_1', BodyFormat.BROKEN_JSON),
        ("many letters and one\0", BodyFormat.BINARY),
        (b"12345678\x01\x02", BodyFormat.BINARY),
    ],
)
def test_what_can_not_be_read(body, body_format):
    """An empty, a broken and a binary body are distinguished, and none is quoted."""
    assert read(body) == (body_format, {})


XML = "<r><Code>e_1</Code>"


@pytest.mark.parametrize(
    "body",
    [
        f"{XML}</r>",
        f"\n {XML}</r>",
        f'<?xml version="1.0"?>{XML}</r>',
        f"<!-- a comment -->{XML}</r>",
        "<ns:r><ns:Code>e_1</ns:Code></ns:r>",
        f"{XML}{' ' * (2001 - len(XML) - len('<html'))}<html",
    ],
    ids=range(6),
)
def test_xml(body):
    """The elements of an XML document are read like the members of an object."""
    assert read(body) == (BodyFormat.XML, {"codes": ("e_1",)})


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        ("<html><title>the Words</title>", "", "the Words"),
        ("<HTML><TITLE lang='en'>the Words</TITLE>", "", "the Words"),
        ("<!DOCTYPE html><title>the Words</title>", "", "the Words"),
        ("<p><title>the Words</title>", "Text/HTML; charset=utf-8", "the Words"),
        ("<title>&lt;the&gt; Words</title>", "text/html", "<the> Words"),
        ("please log in", "text/html", ""),
        (f"{XML}{' ' * (2000 - len(XML) - len('<html'))}<html", "", ""),
        ("<a></a>", "", ""),
        ("<", "", ""),
        ("<%>", "", ""),
        (f"<a>{' ' * 64_000}<Code>e_1</Code>", "", ""),
    ],
    ids=range(11),
)
def test_web_pages(body, content_type, words):
    """Of a web page, the title is read."""
    content = {"words": words} if words else {}
    assert read(body, content_type=content_type) == (BodyFormat.WEB_PAGE, content)


@pytest.mark.parametrize(
    ("header", "content"),
    [
        ('Bearer error="e_1"', {"codes": ("e_1",)}),
        (
            'Bearer error="e_1", error_description="why"',
            {"codes": ("e_1",), "words": "why", "is_described": True},
        ),
        ('Bearer error_description="why"', {"words": "why", "is_described": True}),
        ("Basic", {"words": "the server requires Basic authentication"}),
        ('Basic realm="x"', {"words": "the server requires Basic authentication for 'x'"}),
        (f"{'S' * 21}", {"words": f"the server requires {'S' * 20} authentication"}),
        ("", {}),
    ],
)
def test_challenges(header, content):
    """A challenge is read if the body says nothing."""
    assert read("", 401, www_authenticate=header) == (BodyFormat.EMPTY, content)


@pytest.mark.parametrize(
    ("header", "content"),
    [('Bearer error="e_1"', {"codes": ("e_1",)}), ("Basic", {})],
)
def test_a_challenge_beside_a_web_page(header, content):
    """A challenge adds to the title of a web page."""
    page = "<html><title>the words</title>"
    expected = (BodyFormat.WEB_PAGE, {"words": "the words"} | content)
    assert read(page, 401, www_authenticate=header) == expected


@pytest.mark.parametrize(
    "body", ["the words", '"the words"', "message=the+words", '{"error": "e_2"}']
)
def test_a_challenge_beside_words(body):
    """A challenge is ignored if the body says something."""
    assert read(body, 401, www_authenticate='Bearer error="e_1"') == read(body, 401)


@pytest.mark.parametrize(
    ("header", "content"),
    [
        (
            'Bearer error="e_1", error_description="abc"',
            {"codes": ("e_1",), "words": "abc", "is_described": True},
        ),
        ("Basic", {"words": "the server requires Basic authentication"}),
    ],
    ids=["an error", "a scheme"],
)
def test_a_challenge_beside_members_without_words(header, content):
    """A challenge adds to the wait, the status and the secrets that the body has."""
    body = '{"retry_after": 7, "code": 503, "access_token": "abc"}'
    kept = {"wait_seconds": 7.0, "status": 503, "secrets": ("abc",), "has_token": True}
    expected = content | kept | {"is_object": True}
    assert read(body, 401, www_authenticate=header) == (BodyFormat.JSON, expected)
