"""Codes, words and waits in the members of an error response."""

from dataclasses import asdict

import pytest

from tokenkeeper.oauth.error_members import (
    LONGEST_SECRETS,
    LONGEST_VALUE,
    MAX_DEPTH,
    MOST_SECRETS,
    normalized,
    read_error_members,
)


def read(content):
    """Return what the members of *content* say, without empty lists."""
    return {name: found for name, found in asdict(read_error_members(content)).items() if found}


STRONG = ["error", "errorCode", "code", "err_code", "error-type", "faultcode", "sub_error"]
WEAK = ["type", "Name", "status", "statusCode"]
WORDS = [
    *("title", "message", "error_message", "errorMsg", "msg", "error_summary", "summary"),
    *("detail", "details", "description", "faultstring", "reason", "error_reason", "hint"),
    *("error_hint", "developerMessage", "user_message", "Cause"),
]
INNER = [
    *("error", "errors", "fault", "detail", "details", "error_info", "exception", "response"),
    *("result", "data", "body", "Envelope", "errorResponse", "meta"),
]


@pytest.mark.parametrize("name", [*STRONG, *WEAK])
def test_names_of_codes(name):
    """A code is read from any of the usual members."""
    assert read({name: "e_1"}) == {"codes": ["e_1"]}


@pytest.mark.parametrize("name", WORDS)
def test_names_of_texts(name):
    """A text is read from any of the usual members."""
    assert read({name: "the words"}) == {"words": ["the words"]}


@pytest.mark.parametrize("name", INNER)
def test_names_of_objects(name):
    """An object within the object, or in a list, is read too."""
    assert read({name: {"code": "e_1"}}) == {"codes": ["e_1"]}
    assert read({name: [{"code": f"e_{number}"} for number in range(4)]}) == {
        "codes": ["e_0", "e_1", "e_2"]
    }


@pytest.mark.parametrize("name", ["unknown", "other", "err"])
def test_other_members(name):
    """Other members are ignored."""
    assert read({name: "e_1"}) == read({name: {"code": "e_1"}}) == {}


def test_names_are_cut():
    """The first 100 characters of a name count."""
    assert normalized(f" A-{'b' * 100}") == f"a{'b' * 97}"


def test_depth():
    """Four levels of objects within the object are read."""
    assert MAX_DEPTH == 4
    content = {}
    for level in reversed(range(7)):
        content = {"code": f"e_{level}", "error": content}
    assert read(content) == {"codes": ["e_0", "e_1", "e_2", "e_3", "e_4"]}


def test_all_levels_add_up():
    """What an inner object says comes after what the outer one says, each once."""
    inner = {"code": "e_2", "error_description": "two", "message": "m 2", "retry_after": 2}
    outer = {"code": "e_1", "error_description": "one", "message": "m 1", "retry_after": 1}
    again = outer | {"status": 400, "error_codes": [7]}
    assert read(outer | {"errors": [inner, again]}) == {
        "codes": ["e_1", "e_2", "AADSTS7"],
        "descriptions": ["one", "two"],
        "words": ["m 1", "m 2"],
        "statuses": [400],
        "waits": [1.0, 2.0, 1.0],
    }


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"error": "one two"}, {"codes": ["one two"]}),
        ({"error": "one two", "code": "E1"}, {"codes": ["E1"], "words": ["one two"]}),
        (
            {"error": "one two", "code": "E1", "message": "three"},
            {"codes": ["E1"], "words": ["one two", "three"]},
        ),
        ({"error": "Invalid Client", "code": "E1"}, {"codes": ["Invalid Client", "E1"]}),
        ({"error": "E1", "code": "E2"}, {"codes": ["E1", "E2"]}),
        ({"error": "E1", "message": "E1"}, {"codes": ["E1"]}),
    ],
)
def test_sentences_and_codes(content, found):
    """A sentence where the code should be is a text if there is a code elsewhere."""
    assert read(content) == found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        *((value, {}) for value in (True, False, None, "", " ", [], {})),
        *((value, {"statuses": [value]}) for value in (100, 401, 599)),
        *((value, {"codes": [str(value)]}) for value in (0, -1, 99, 600, 401.0, 10**15 - 1)),
        *((value, {"codes": ["a number"]}) for value in (10**15, -(10**15), 1e15)),
        *((text, {"statuses": [int(text)]}) for text in ("100", "503")),
        *((text, {"codes": [text]}) for text in ("50", "5030", "E17", "001", "600", "٤٠٠")),
        ("Not Found", {"words": ["Not Found"]}),
        (["e_1", "e_2"], {"codes": ["e_1"]}),
        ("e" * 4001, {"codes": ["e" * LONGEST_VALUE]}),
    ],
    ids=str,
)
def test_values_of_codes(value, found):
    """A status is distinguished from a code, and a phrase of HTTP from both."""
    assert read({"error": value}) == found


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("invalid_client", "invalid_client"),
        ("invalid-client", "invalid-client"),
        ("https://id.example.com/problems/invalid_client", "invalid_client"),
        ("https://id.example.com/problems/invalid_client/", "invalid_client"),
        ("https://id.example.com/problems#E_X", "E_X"),
        ("urn:problems:invalid_client", "invalid_client"),
        ("OAuthException", "OAuthException"),
        ("AuthError", "AuthError"),
        ("UNAVAILABLE", "UNAVAILABLE"),
        ("ABCDEFG", "ABCDEFG"),
        *((value, None) for value in ("ABCDEF", "error", "failure", "Person", "anError", 99, 1e9)),
        *((value, None) for value in ("about:blank", "two words", "ThingErrors")),
    ],
)
def test_weak_names_of_codes(value, code):
    """A member that often holds something else is a code only if it looks like one."""
    assert read({"type": value}) == ({"codes": [code]} if code else {})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (["a b", "c d", "e f", "g h"], ["a b", "c d", "e f"]),
        (["a b", 7, None], ["a b"]),
        ("a" * 4001, ["a" * LONGEST_VALUE]),
        (7, []),
    ],
)
def test_values_of_texts(value, words):
    """Up to three texts of a list are read, and 4,000 characters of each."""
    assert read({"message": value}) == ({"words": words} if words else {})


@pytest.mark.parametrize(
    ("value", "codes"),
    [
        ([1, 2, 3, 4, 5, 6], ["1", "2", "3", "4", "5"]),
        ([0, -1, 10**9, True, "7", 7.0, None], []),
        ([0, 10**9 - 1], ["999999999"]),
        (7, []),
    ],
)
def test_numbers_of_entra(value, codes):
    """The first five values of error_codes are read if they are positive and not too large."""
    expected = [f"AADSTS{code}" for code in codes]
    assert read({"error_codes": value}) == ({"codes": expected} if codes else {})


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        *((0, 0.0), (0.5, 0.5), (999_999_999, 999_999_999.0), ("0", 0.0), ("7.25", 7.25)),
        *((value, None) for value in (-1, 10**9, True, False, None, "soon", " 7", "-1", [7])),
        *((value, None) for value in ("1" * 10, f"7.{'1' * 10}", float("inf"), float("nan"))),
    ],
)
@pytest.mark.parametrize("name", ["retry_after", "Retry-After", "retryAfterSeconds"])
def test_waits(name, value, seconds):
    """A wait is a number of seconds below 1e9."""
    assert read({name: value}) == ({} if seconds is None else {"waits": [seconds]})


def test_secrets():
    """Secrets are found at any depth by their names, from three characters on."""
    content = {
        "access_token": "one",
        "refresh_token": "ab",
        "a": {"client_secret": "two", "b": [[{"password": "three"}], "x"]},
        "c": [{"id_token": "four"}],
        "d": {"api_key": 7, "e": {"secret": "five"}},
        "code": "E1",
    }
    found = read(content)
    assert sorted(found.pop("secrets")) == ["five", "four", "one", "three", "two"]
    assert found == {"codes": ["E1"]}


MANY = {
    "most": ([f"{number:04}" for number in range(MOST_SECRETS)], True),
    "too many": ([f"{number:04}" for number in range(MOST_SECRETS + 1)], False),
    "longest": (["x" * (LONGEST_SECRETS - 3), "abc"], True),
    "too long": (["x" * (LONGEST_SECRETS - 3), "abcd"], False),
    "the same many times": (["x" * 1000] * 1000, True),
}


@pytest.mark.parametrize(("secrets", "are_hidden"), MANY.values(), ids=MANY)
def test_many_secrets(secrets, are_hidden):
    """More secrets than can be hidden in a short time leave only what can't contain one."""
    content = {f"token_{number}": secret for number, secret in enumerate(secrets)}
    content |= {"error": "InvalidGrant", "sub_error": "e_1", "code": 400, "retry_after": 7}
    found = read(content | {"error_description": "the description", "message": "the words"})
    rest = {"statuses": [400], "waits": [7.0]}
    if are_hidden:
        assert sorted(found.pop("secrets")) == sorted(set(secrets))
        rest |= {"descriptions": ["the description"], "words": ["the words"]}
    codes = ["InvalidGrant", "e_1"] if are_hidden else ["invalid_grant"]
    assert found == {"codes": codes} | rest
