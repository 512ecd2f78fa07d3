"""The table of error codes, which feeds retries, advice, metrics and documentation."""

import re
from pathlib import Path

import pytest

from tokenkeeper.exceptions import TokenAcquisitionError, TokenRefreshError, TokenWaitTimeoutError
from tokenkeeper.oauth.error_codes import (
    ALIASES,
    BY_AADSTS,
    CODES,
    STATUSES,
    known_code,
    spelling_of,
)
from tokenkeeper.retry import is_transient

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"


def documented():
    """Yield the rows of the page's tables: the first column, and the verdict with the advice."""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        row = re.fullmatch(r"\| (.+?) \| (final|transient) \| (.+) \|", line)
        if row:
            yield row[1], (row[2] == "transient", row[3])


def test_the_documentation_says_what_the_code_does():
    """Each code and each status is on the page, with its verdict and its advice."""
    rows = {}
    for names, meaning in documented():
        for name in names.split(", ") if "`" in names else [names]:
            rows[name.strip("`")] = meaning
    assert rows == {name: tuple(meaning) for name, meaning in (CODES | STATUSES).items()}


def test_aliases_are_of_known_codes_and_of_one_each():
    """Each alias belongs to one known code."""
    seen = {}
    for code, names in ALIASES.items():
        assert code in CODES
        for name in names.split():
            assert name not in CODES
            assert seen.setdefault(name, code) == code
            assert known_code(name) == code
            assert spelling_of(name) == name


@pytest.mark.parametrize("meaning", [*CODES.values(), *STATUSES.values(), *BY_AADSTS.values()])
def test_advice_is_whole_sentences(meaning):
    """Advice consists of sentences."""
    assert re.fullmatch(r"[A-Z].*\.", meaning.advice)


@pytest.mark.parametrize(
    ("knows", "transient"),
    [
        ({}, False),
        ({"status_code": 503}, True),
        ({"status_code": 429}, True),
        ({"status_code": 401}, False),
        ({"status_code": 600}, False),
        ({"error": "invalid_client", "status_code": 503}, False),
        ({"error": "temporarily_unavailable", "status_code": 400}, True),
        ({"error": "made_up", "status_code": 400}, False),
        ({"error": "made_up", "status_code": 502}, True),
        ({"error_description": "request is being processed", "status_code": 400}, True),
        ({"retry_after": 3.0, "status_code": 401}, True),
        ({"error": "invalid_client", "transient": True}, True),
        ({"status_code": 503, "transient": False}, False),
        ({"status_code": 503, "transient": None}, True),
        ({"transient": 1}, True),
    ],
)
@pytest.mark.parametrize("kind", [TokenAcquisitionError, TokenRefreshError, TokenWaitTimeoutError])
def test_transient_is_always_a_bool(kind, knows, transient):
    """A custom provider's error uses the same table, unless it sets transient itself."""
    error = kind("no", **knows)
    assert error.transient is transient
    assert is_transient(error) is transient


@pytest.mark.parametrize(
    "raw", ["", "x", "error", "Exception", "client", "invalid", "é", "_" * 500]
)
def test_unknown_codes(raw):
    """Unknown codes are not recognized."""
    assert known_code(raw) is None
    assert spelling_of(raw) is None
