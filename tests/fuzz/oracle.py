"""What may come of any answer of a token endpoint, by the RFCs and not by the code under test."""

import json
import math
import string
import traceback
from datetime import UTC, datetime, timedelta

from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.token_response import Expected, HttpAnswer, parse_token_response

SECRET = "hunter2/hunter2+hunter2"
SENT = datetime(2030, 1, 1, tzinfo=UTC)
ASKED = "read write"
EXPECTED = Expected("api", SENT.timestamp(), ASKED, [SECRET], 1800.0)

LONGEST_MESSAGE = 700
YEAR_SECONDS = 365 * 86400.0

B64TOKEN = frozenset(string.ascii_letters + string.digits + "-._~+/")  # RFC 6750 §2.1
VSCHAR = frozenset(map(chr, range(0x21, 0x7F)))  # RFC 6749 appendix A, without the space
SCOPE_CHAR = VSCHAR - {'"', "\\"}  # RFC 6749 §3.3, without the space


def is_b64token(text):
    """Say whether *text* may stand behind ``Authorization: Bearer``."""
    body = text.rstrip("=")
    return bool(body) and set(body) <= B64TOKEN


def is_scope(text):
    """Say whether *text* is scope-tokens with spaces between them."""
    return bool(text) and text == text.strip(" ") and set(text) <= SCOPE_CHAR | {" "}


def read_case(data):
    """Return the answer that *data* describes: a status, header lines, an empty line, a body."""
    head, _, body = data.partition(b"\n\n")
    status, *lines = head.decode("latin-1").split("\n")
    pairs = [line.partition(": ") for line in lines]
    code = int(status) if status.isascii() and status.isdecimal() and len(status) == 3 else 200
    return HttpAnswer(code, {name.lower(): value for name, _, value in pairs}, body)


def check(answer, expected=EXPECTED):
    """Read *answer*; anything but a good token or a good error of ours is an AssertionError.

    Returns the token, or ``None`` where it was refused.
    """
    try:
        token = parse_token_response(answer, expected)
    except TokenAcquisitionError as error:
        check_error(error, answer, expected)
        return None
    check_token(token, answer, expected)
    return token


def check_error(error, answer, expected):
    """An error is one line that names the provider and shows no secret, and is ours alone."""
    assert type(error) is TokenAcquisitionError
    assert error.__cause__ is None
    assert error.__context__ is None
    message = str(error)
    assert message.isprintable()
    assert len(message) <= LONGEST_MESSAGE
    assert message.startswith(f"provider {expected.provider_name!r}: ")
    assert error.status_code == answer.status
    assert error.retry_after is None or 0 <= error.retry_after < math.inf
    shown = "".join([message, repr(error), repr(vars(error)), *traceback.format_exception(error)])
    for secret in [*expected.secrets, *_tokens_in(answer)]:
        assert secret not in shown, "a secret is shown"


def check_token(token, answer, expected):
    """A token is in the body, as RFC 6749 §5.1 says, and its end is counted from the request."""
    assert 200 <= answer.status < 300
    content = json.loads(answer.body.decode("utf-8-sig"), parse_int=float)
    assert "error" not in content
    assert content["access_token"] == token.access_token
    assert is_b64token(token.access_token)
    assert token.token_type.lower() == "bearer"
    assert (content.get("token_type") or "Bearer") == token.token_type
    said = content.get("expires_in")
    seconds = expected.default_lifetime if said is None else float(said)
    assert seconds > 0
    assert token.expires_at - SENT == timedelta(seconds=min(seconds, YEAR_SECONDS))
    assert token.scope is None or is_scope(token.scope)
    assert content.get("scope") is not None or token.scope == expected.scope
    refresh = token.refresh_token
    assert refresh is None or (refresh == content["refresh_token"] and set(refresh) <= VSCHAR)
    assert refresh is not None or not content.get("refresh_token")
    assert "access_token" not in repr(token)


def _tokens_in(answer):
    """Yield what a body that was refused holds of tokens, if they are long enough to be told."""
    try:
        content = json.loads(answer.body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return
    for name in ("access_token", "refresh_token"):
        token = content.get(name) if isinstance(content, dict) else None
        if isinstance(token, str) and len(token) >= 12:
            yield token
