"""The rules for the result of parsing any answer, taken from the RFCs and not from the code."""

import json
import math
import pickle
import re
import traceback
from datetime import UTC, datetime, timedelta

from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.token_response import Expected, HttpAnswer, parse_token_response

SECRET = "hunter2/hunter2+hunter2"
SENT = datetime(2030, 1, 1, tzinfo=UTC)
ASKED = "read write"
EXPECTED = Expected("api", SENT.timestamp(), ASKED, [SECRET], 1800.0)

LONGEST_MESSAGE = 700
WORDS = re.compile("[a-z ]*")
CORE = ("access_token", "token_type", "scope", "refresh_token")
YEAR_SECONDS = 365 * 86400.0

VSCHAR = frozenset(map(chr, range(0x21, 0x7F)))  # RFC 6749 appendix A, without the space
SCOPE_CHAR = VSCHAR - {'"', "\\"}  # RFC 6749 §3.3, without the space


def fits_header(text):
    """Return whether *text* may follow ``Authorization: Bearer``."""
    return bool(text) and set(text) <= VSCHAR


def is_scope(text):
    """Return whether *text* consists of scope-tokens with spaces between them."""
    return bool(text) and text == text.strip(" ") and set(text) <= SCOPE_CHAR | {" "}


def read_case(data):
    """Return the answer that *data* describes: a status, header lines, an empty line, a body."""
    head, _, body = data.partition(b"\n\n")
    status, *lines = head.decode("latin-1").split("\n")
    pairs = [line.partition(": ") for line in lines]
    code = int(status) if status.isascii() and status.isdecimal() and len(status) == 3 else 200
    return HttpAnswer(code, {name.lower(): value for name, _, value in pairs}, body)


def check(answer, expected=EXPECTED):
    """Parse *answer*, and fail unless the result is a valid token or a valid error.

    Returns the token, or ``None`` for an error.
    """
    try:
        token = parse_token_response(answer, expected)
    except TokenAcquisitionError as error:
        check_error(error, answer, expected)
        return None
    check_token(token, answer, expected)
    return token


def check_error(error, answer, expected):
    """An error is one line that names the provider and shows no secret, and it has no cause."""
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
    """A token is in the body, fits into a header, and expires counted from the request."""
    assert 200 <= answer.status < 300
    assert fits_header(token.access_token)
    assert token.token_type.lower() == "bearer"
    lifetime = token.expires_at - SENT
    assert timedelta(0) < lifetime <= timedelta(seconds=YEAR_SECONDS)
    said = _pairs_in(answer)
    if said is None:
        return
    tokens = {value for name, value in said if name == "access_token" and value is not None}
    assert tokens == {token.access_token}
    for value in (value for name, value in said if name == "expires_in"):
        if type(value) is float and 0 < value < 1e9:
            assert lifetime <= timedelta(seconds=value)
    assert token.refresh_at is None or SENT < token.refresh_at < token.expires_at
    assert token.scope is None or is_scope(token.scope)
    refresh = token.refresh_token
    assert refresh is None or (("refresh_token", refresh) in said and set(refresh) <= VSCHAR)
    names = {name for name, _ in said}
    assert set(token.extra) == names - {*CORE, "expires_in"}
    assert pickle.loads(pickle.dumps(token)).expires_at == token.expires_at
    assert "access_token" not in repr(token)


def _pairs_in(answer):
    """Return the members of an accepted body, duplicates included.

    ``None`` if it is nested too deeply for this function.
    """
    body = answer.body
    encoding = json.detect_encoding(body)
    for text in (body.decode(encoding, "replace"), body.decode("latin-1")):
        try:
            return json.loads(text, object_pairs_hook=list, parse_int=float, strict=False)
        except ValueError:
            pass
        except RecursionError:
            return None
    raise AssertionError("a token from a body that is not JSON")


def _tokens_in(answer):
    """Yield the tokens in a rejected body that no message contains by chance.

    Short texts, and plain words, may be words of the message itself.
    """
    try:
        content = json.loads(answer.body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return
    for name in ("access_token", "refresh_token"):
        token = content.get(name) if isinstance(content, dict) else None
        if isinstance(token, str) and len(token) >= 12 and not WORDS.fullmatch(token):
            yield token
