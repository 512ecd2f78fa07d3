"""The format of token requests, and what of them no message may show."""

import pytest

from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.oauth.request_style import (
    RequestStyle,
    checked_accept,
    checked_grant_type,
    checked_headers,
    checked_request_format,
)


def test_secrets_in_headers():
    """Header values and the words in them are secrets, unless they are short or name us."""
    headers = {
        "User-Agent": "billing/1.2",
        "X-Version": "2",
        "X-Build": "v12",
        "X-Tenant": "t123",
        "X-Pin": "42",
        "X-API-Key": "Key hunter-2",
    }
    assert set(RequestStyle(headers=headers).secrets()) == {
        "t123",
        "42",
        "Key hunter-2",
        "Key",
        "hunter-2",
    }


ACCEPT = {"Accept": "application/json"}
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("style", "arguments"),
    [
        (RequestStyle(), {"data": {"a": "1", "c": ["2", "true"]}, "headers": ACCEPT}),
        (
            RequestStyle("query"),
            {"params": {"a": "1", "c": ["2", "true"]}, "data": b"", "headers": ACCEPT},
        ),
        (
            RequestStyle("json"),
            {"data": b'{"a": 1, "c": [2, true]}', "headers": ACCEPT | JSON},
        ),
        (
            RequestStyle("json", "*/*", {"X-Tenant": "t123"}),
            {
                "data": b'{"a": 1, "c": [2, true]}',
                "headers": {"Accept": "*/*", "X-Tenant": "t123"} | JSON,
            },
        ),
    ],
)
def test_what_a_format_sends(style, arguments):
    """Each format has its own body and headers; empty parameters are left out."""
    assert style.encode({"a": 1, "b": "", "c": [2, True], "d": ()}) == arguments


@pytest.mark.parametrize(
    ("check", "value", "problem"),
    [
        (checked_request_format, "xml", " must be 'form', 'json' or 'query'"),
        (checked_request_format, None, " must be 'form', 'json' or 'query'"),
        (
            checked_accept,
            "a/\u0101",
            " has a value with a line break, outer spaces, or non-Latin-1 characters",
        ),
        (
            checked_grant_type,
            "two words",
            " must be a name or a URI, in ASCII and without spaces",
        ),
        (checked_headers, ["a"], " must be a mapping of names to values"),
        (checked_headers, {"a b": "c"}, " must have header names as its keys"),
        (checked_headers, {7: "c"}, " must have header names as its keys"),
        (
            checked_headers,
            {"Accept": "*/*"},
            " must not contain 'Accept': set accept instead",
        ),
        (
            checked_headers,
            {"X-A": "b", "x-a": "c"},
            " has 'x-a' twice. The case of a header name does not matter.",
        ),
        (checked_headers, {"X-A": None}, " must hold a string for 'X-A', not NoneType"),
        (checked_headers, {"X-A": 1.5}, " must hold a string for 'X-A', not float"),
        (
            checked_headers,
            {"X-A": " "},
            " has an empty value for 'X-A'. Set it, or check the variable that it comes from.",
        ),
        (
            checked_headers,
            {"X-A": "b "},
            (" has a value for 'X-A' with a line break, outer spaces, or non-Latin-1 characters"),
        ),
    ],
)
def test_what_can_not_be_sent(check, value, problem):
    """The error names the field, says what is wrong with it, and hides the value of a header."""
    with pytest.raises(InvalidConfigurationError) as caught:
        check(value, "a_field")
    assert str(caught.value) == "a_field" + problem
    assert caught.value.field == "a_field"
