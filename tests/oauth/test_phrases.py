"""What servers mean by their prose, and by codes that no list contains."""

import pytest

from tokenkeeper.oauth.phrases import (
    code_in,
    is_busy,
    last_part,
    says_later,
    sounds_final,
    sounds_transient,
)


@pytest.mark.parametrize(
    ("code", "part"),
    [
        ("invalid_client", "invalid_client"),
        (" invalid_client\n", "invalid_client"),
        ("https://id.example.com/errors/invalid_client", "invalid_client"),
        ("https://id.example.com/errors/invalid_client/", "invalid_client"),
        ("https://id.example.com/errors#invalid_client", "invalid_client"),
        ("urn:example:invalid_client", "invalid_client"),
        ("oauth.v2.InvalidClient", "InvalidClient"),
        ("/invalid_client", "invalid_client"),
        ("CODE_X", "CODE_X"),
        ("The client id.example.com is unknown", "The client id.example.com is unknown"),
        ("", ""),
    ],
)
def test_the_last_part_of_a_code(code, part):
    """A code may be the last part of a URI, a URN or a dotted name; a sentence is not divided."""
    assert last_part(code) == part


@pytest.mark.parametrize(
    ("code", "is_final"),
    [
        *(("invalid_app_key", True), ("InvalidAppKey", True), ("_invalid_app_key_", True)),
        *(("bad-tenant", True), ("no tenant", True), ("urn:x:AccountLocked", True)),
        *(("account_locked!", True), ("accountLocked", True), ("account--locked", True)),
        *(("unknown_error", False), ("made_up", False), ("locked_account", False), ("", False)),
    ],
)
def test_codes_that_blame_the_request(code, is_final):
    """An unlisted code is final if it blames the request, in any spelling."""
    assert sounds_final(code) is is_final
    if is_final:
        assert sounds_transient(code) is None


@pytest.mark.parametrize(
    ("code", "known"),
    [
        ("refresh_in_progress", "request_in_progress"),
        ("login_throttled", "too_many_requests"),
        ("LoginThrottled", "too_many_requests"),
        ("tenant quota", "too_many_requests"),
        ("backend_overloaded", "temporarily_unavailable"),
        ("pleaseTryAgain", "temporarily_unavailable"),
        ("internal_oops", "server_error"),
        ("made_up", None),
    ],
)
def test_codes_that_sound_transient(code, known):
    """An unlisted code may resemble a known transient one."""
    assert sounds_transient(code) == known


def test_long_codes():
    """The first 200 characters of a code count."""
    assert sounds_final(f"{'a' * 193}_denied") is True
    assert sounds_final(f"{'a' * 193}_denied_by_us") is True
    assert sounds_final(f"{'a' * 193}_deniedness") is True
    assert sounds_final(f"{'a' * 194}_denied") is False


@pytest.mark.parametrize(
    ("words", "busy"),
    [
        ("token request is already being processed", True),
        ("A REFRESH IS ALREADY IN PROGRESS", True),
        ("Another request for this client is in progress", True),
        ("A concurrent request used this token, which was revoked", False),
        ("Refresh token reuse: a concurrent request", False),
        ("No request is in progress", False),
        ("revoked", False),
        ("", False),
    ],
)
def test_a_request_that_is_being_processed(words, busy):
    """The server is busy with the same request, unless the credential was used up."""
    assert is_busy(words) is busy


@pytest.mark.parametrize(
    ("words", "later", "code"),
    [
        ("Too many login attempts", "too_many_requests", None),
        ("Please try again in 5 minutes", "temporarily_unavailable", None),
        ("TOO MANY REQUESTS: try again later", "too_many_requests", None),
        ("INVALID_SCOPE", None, "invalid_scope"),
        ("Unknown client. Invalid grant.", None, "invalid_client"),
        ("no", None, None),
    ],
)
def test_words(words, later, code):
    """A description may ask to return later, or spell out a code."""
    assert (says_later(words), code_in(words)) == (later, code)
