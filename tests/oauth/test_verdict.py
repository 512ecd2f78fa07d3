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
from tokenkeeper.oauth.verdict import Verdict, judge, status_verdict
from tokenkeeper.retry import is_transient

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
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


ZOHO = "You have made too many requests continuously. Please try again after some time."
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"


@pytest.mark.parametrize(
    ("words", "grant", "code"),
    [
        (ZOHO, "refresh_token", "too_many_requests"),
        (ZOHO, DEVICE_CODE, "access_denied"),
        ("The user is blocked. Try again later.", "refresh_token", "access_denied"),
        ("", "refresh_token", "access_denied"),
    ],
    ids=["throttled", "a person's no", "another reason", "no reason"],
)
def test_access_denied_to_a_client_that_asks_too_often(words, grant, code):
    """A client that is throttled is not one that lacks a permission; a person's no stays a no."""
    verdict = judge(["Access Denied"], words, 400, grant=grant)
    assert (verdict.code, verdict.transient) == (code, code == "too_many_requests")


@pytest.mark.parametrize(
    "raw", ["", "x", "error", "Exception", "client", "invalid", "é", "_" * 500]
)
def test_unknown_codes(raw):
    """Unknown codes are not recognized."""
    assert known_code(raw) is None
    assert spelling_of(raw) is None


@pytest.mark.parametrize(
    "raw",
    [
        "InvalidClientException",
        "InvalidClientFault",
        "OAuthInvalidClient",
        "oauth_invalid_client_error",
        "OAuth2InvalidClientError",
        "oauth2.invalid_client",
        "oauth2_invalid_client",
    ],
)
def test_decorated_codes(raw):
    """What vendors put before and after a code does not hide it."""
    assert known_code(raw) == spelling_of(raw) == "invalid_client"


LATER = "Please try again later."


@pytest.mark.parametrize(
    ("codes", "words", "status", "row", "code"),
    [
        (["invalid_client"], "", 503, CODES["invalid_client"], "invalid_client"),
        (["E1", "slow_down"], "", 400, CODES["slow_down"], "slow_down"),
        (["login_throttled"], "", 400, CODES["too_many_requests"], "too_many_requests"),
        (["invalid_grant"], "is being processed", 400, CODES["request_in_progress"], "="),
        (["invalid_client"], "AADSTS7000222: no", 400, BY_AADSTS["7000222"], "invalid_client"),
        ([], "AADSTS1: see AADSTS7000222", 400, BY_AADSTS["7000222"], "AADSTS7000222"),
        (["AADSTS90033"], "", 400, BY_AADSTS["90033"], "AADSTS90033"),
        ([], LATER, 400, CODES["temporarily_unavailable"], "temporarily_unavailable"),
        (["invalid_request"], LATER, 400, CODES["temporarily_unavailable"], "="),
        (["invalid_scope"], LATER, 400, CODES["invalid_scope"], "invalid_scope"),
        (["invalid_request"], "mTLS required", 400, CODES["client_certificate_required"], "="),
        ([], "unknown client", 503, CODES["invalid_client"], "invalid_client"),
        ([], "", 503, STATUSES["5xx"], None),
        ([], "", None, STATUSES["other"], None),
        (["made_up"], "", 503, STATUSES["5xx"], None),
        (["account_locked"], "", 500, (False, STATUSES["other"].advice), None),
        (["account_locked"], "", 429, (False, STATUSES["429"].advice), None),
        (["account_locked"], "", 404, STATUSES["404, 405, 410"], None),
        (["account_locked"], "", None, STATUSES["other"], None),
    ],
)
def test_what_decides(codes, words, status, row, code):
    """A number of Entra ID decides, or a code, or the description, or else the status."""
    if code == "=":
        code = next(name for name, meaning in CODES.items() if meaning == row)
    assert judge(codes, words, status) == Verdict(*row, code)


@pytest.mark.parametrize(
    ("status", "row"),
    [
        *((status, row) for row in STATUSES for status in re.findall(r"[0-9]{3}", row)),
        *((500, "5xx"), (599, "5xx"), (499, "other"), (600, "other"), (400, "other")),
    ],
)
def test_rows_of_the_statuses(status, row):
    """Each status has the meaning of its row, and an unlisted one that of its class."""
    assert status_verdict(int(status)) == Verdict(*STATUSES[row])


@pytest.mark.parametrize(
    ("code", "grant", "says"),
    [
        ("invalid_grant", "refresh_token", "The refresh token has expired"),
        ("invalid_token", "refresh_token", "The refresh token has expired"),
        ("invalid_grant", "authorization_code", "The authorization code has expired"),
        ("invalid_grant", "urn:ietf:params:oauth:grant-type:device_code", "The device code"),
        ("invalid_grant", "urn:ietf:params:oauth:grant-type:jwt-bearer", "The assertion"),
        ("invalid_grant", "client_credentials", "The server does not grant this client"),
        ("invalid_grant", "password", "The username or the password is wrong"),
        ("invalid_grant", EXCHANGE, "The subject or actor token has expired"),
        ("invalid_request", EXCHANGE, "does not accept the subject or actor token"),
        ("invalid_request", "password", "or the username or the password is wrong"),
        ("invalid_request", "ciba", CODES["invalid_request"].advice),
        ("invalid_grant", "ciba", CODES["invalid_grant"].advice),
        ("invalid_grant", None, CODES["invalid_grant"].advice),
        ("consent_required", "client_credentials", "which a client on its own can't give"),
        ("consent_required", "refresh_token", CODES["consent_required"].advice),
        ("invalid_client", "client_credentials", CODES["invalid_client"].advice),
    ],
)
def test_advice_for_a_grant(code, grant, says):
    """The advice is about the grant that was sent."""
    verdict = judge([code], "", 400, grant=grant)
    assert says in verdict.advice
    assert (verdict.transient, verdict.code) == (False, code)


@pytest.mark.parametrize(("digits", "code"), [("90033", "AADSTS90033"), ("9003", None)])
def test_long_descriptions(digits, code):
    """The first 2,000 characters of a description count."""
    words = "AADSTS".rjust(2000 - len(digits)) + digits
    assert judge([], words, 400).code == code
    assert judge([], f"{words}3", 400).code == code


def test_long_codes():
    """The first 200 characters of a code count."""
    code = ".invalid_client".rjust(200, "x")
    assert known_code(code) == known_code(f"{code}x") == "invalid_client"
    assert known_code(f"x{code}") is None


@pytest.mark.parametrize("code", ["invalid_client", "server_error"])
def test_a_server_that_says_when_to_return(code):
    """A refusal with a Retry-After is transient; its advice stays."""
    waited = judge([code], "", 400, asked_to_wait=True)
    assert waited == judge([code], "", 400)._replace(transient=True)
