"""The whole message of an error, for responses of every kind."""

from datetime import timedelta
from email.utils import format_datetime

import pytest
from oauth.responses import SENT, refused

from tokenkeeper.oauth.exchange import Expected

PERSISTS = "If this persists, contact the server's operator."
ASK = "Check the request with the server's operator."
ENDPOINT = "Check that token_url is the token endpoint."
LOGIN = "Check that the URL is a token endpoint, without a login page in front of it."
CLIENT = (
    "Check client_id and client_secret. The secret may be wrong, expired, or sent by the wrong "
    "token_endpoint_auth_method."
)
PERMISSIONS = "Check client_id, client_secret and the client's permissions."
DOWN = f"The server is overloaded or down. {PERSISTS}"
TOO_MANY = (
    "The client sends too many requests. Send them less often, or ask the server's operator for a "
    "higher limit."
)
IN_JSON = "Have the server respond in JSON (RFC 6749 §5.1), or write a provider for it."
UNUSABLE = (
    "the response has an access_token that can't be sent in a header: it contains characters other "
    "than visible ASCII (RFC 6749 A.12). Check the response with the server's operator."
)
EXPIRED = (
    "the server granted a token that has already expired, according to expires_in. Try again in a "
    "moment. If this persists, set never_expires=True if the server's tokens do not expire, or "
    "lifetime_seconds if they do."
)
TEXT = "the response is plain text, not JSON"
PAGE = "the response is a web page, not JSON"
FORM = "the response is form-encoded, not JSON"


def said(body, status, expected=None, **headers):
    """Return the message for a response, without its beginning, which is always the same."""
    error = refused(body, status, expected or Expected("api", SENT.timestamp()), **headers)
    start = f"provider 'api': token request failed (HTTP {status})"
    assert str(error).startswith(start)
    return str(error).removeprefix(start)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", f": the response is empty, not JSON. {ASK}"),
        ("{}", f". {ASK}"),
        ("[]", f". {ASK}"),
        ("\0", f". {ASK}"),
        ('{"a', f": the response is not JSON: it is malformed or truncated. {ASK}"),
        ('"out of order"', f': "out of order". {ASK}'),
        ("out of order", f': {TEXT}: "out of order". {ASK}'),
        ("temporarily unavailable", f': {TEXT}: "temporarily unavailable". {DOWN}'),
        ("access_token=abc", f": {FORM}. {ASK}"),
        ("message=out+of+order", f': "out of order". {ASK}'),
        ("error=e_1", f": e_1. {ASK}"),
        ("<r><Message>out of order</Message></r>", f': "out of order". {ASK}'),
        ({"message": "out of order."}, f': "out of order." {ASK}'),
        ({"message": "out of order!"}, f': "out of order!". {ASK}'),
        ({"error": "E1"}, f": E1. {ASK}"),
        ({"error": "out-of-order!"}, f": out-of-order! {ASK}"),
        ({"error": "out-of-order?"}, f": out-of-order? {ASK}"),
        ({"error": "e_1", "message": "the words"}, f': e_1 ("the words"). {ASK}'),
        ({"error": "e_1", "code": "e_2", "suberror": "e_3"}, f": e_1, e_2. {ASK}"),
        ({"error": "e_1", "code": "e_2", "message": "e_1 it is"}, f': e_2 ("e_1 it is"). {ASK}'),
        (
            {"error": "e_1", "code": "e_2", "message": "e_1 and e_2"},
            f': e_1 ("e_1 and e_2"). {ASK}',
        ),
        ({"error": "E1", "code": "invalid-client"}, f": E1, invalid-client. {CLIENT}"),
        ({"error": 4711}, f": 4711. {ASK}"),
        ({"error": 10**20}, f": a number. {ASK}"),
        ({"status": 503}, f". {ASK}"),
        ({"error": "Bad Request", "status": 503}, f': "Bad Request". {ASK}'),
    ],
    ids=str,
)
def test_refusals(body, message):
    """The message quotes the server, or says what its response is, and then what to do."""
    assert said(body, 400) == message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", f": the response is empty, not JSON. {ENDPOINT}"),
        ("\0", f": the response is not JSON, and not UTF-8 text. {ENDPOINT}"),
        ('{"a', f": the response is not JSON: it is malformed or truncated. {ENDPOINT}"),
        ("{}", f": the response has no access_token, and no other members. {ENDPOINT}"),
        ({"a": 1}, f": the response has no access_token, only these members: a. {ENDPOINT}"),
        ({"error": True}, f": the response has no access_token. {ENDPOINT}"),
        ("[]", f": the response is a JSON array, not an object. {ENDPOINT}"),
        ("7", f": the response is a JSON number, not an object. {ENDPOINT}"),
        ("0.5", f": the response is a JSON number, not an object. {ENDPOINT}"),
        ("true", f": the response is a JSON boolean, not an object. {ENDPOINT}"),
        ("null", f": the response is JSON null, not an object. {ENDPOINT}"),
        ('"a b"', f': the response is a JSON string, not an object: "a b". {ENDPOINT}'),
        ('"try later"', f': the response is a JSON string, not an object: "try later". {DOWN}'),
        ("out of order", f': {TEXT}: "out of order". {ENDPOINT}'),
        ("please try later", f': {TEXT}: "please try later". {DOWN}'),
        ("access_token=abc", f": {FORM}. {IN_JSON}"),
        ("message=sorry", f': "sorry". {ASK}'),
        ("error=e_1", f": e_1. {ASK}"),
        ({"message": "sorry"}, f': "sorry". {ASK}'),
        ({"error": "e_1"}, f": e_1. {ASK}"),
        ({"error": "server_error"}, f": server_error. The server failed. {PERSISTS}"),
        ({"access_token": "a b", "code": "server_error"}, f": {UNUSABLE}"),
        ({"access_token": "abc", "expires_in": -5}, f": {EXPIRED}"),
    ],
    ids=str,
)
def test_successes_without_a_token(body, message):
    """The message says why a response with a success status grants no token."""
    assert said(body, 200) == message


@pytest.mark.parametrize(
    ("title", "status", "message"),
    [
        ("Log in", 200, f': {PAGE}: "Log in". {LOGIN}'),
        ("Log in", 400, f': {PAGE}: "Log in". {LOGIN}'),
        ("", 404, f": {PAGE}. {LOGIN}"),
        ("Stop", 429, f': {PAGE}: "Stop". {TOO_MANY}'),
        ("Stop", 430, f': {PAGE}: "Stop". {LOGIN}'),
        ("Stop", 499, f': {PAGE}: "Stop". {LOGIN}'),
        ("Stop", 500, f': {PAGE}: "Stop". {PERSISTS}'),
        ("Stop", 599, f': {PAGE}: "Stop". {PERSISTS}'),
        ("Invalid client", 400, f': {PAGE}: "Invalid client". {CLIENT}'),
    ],
)
def test_web_pages(title, status, message):
    """A web page is a login page, unless its title or the status says otherwise."""
    assert said(f"<html><title>{title}</title></html>", status) == message


def test_a_web_page_with_a_challenge():
    """A code in the header is shown before the title of the page."""
    header = 'Bearer error="e_1"'
    message = said("<html><title>Stop</title></html>", 401, www_authenticate=header)
    assert message == f': e_1 ("Stop"). {PERMISSIONS}'


@pytest.mark.parametrize("status", [300, 302, 399])
@pytest.mark.parametrize(
    ("location", "to"),
    [
        ("https://sso.example/login", " to sso.example."),
        (f"https://{'a' * 100}/", f" to {'a' * 100}."),
        (f"https://{'a' * 101}/", f" to {'a' * 97}..."),
        ("/login", "."),
        ("https://[", "."),
        (None, "."),
    ],
)
def test_redirects(location, to, status):
    """The message for a redirect says where it leads, and why it is not followed."""
    headers = {} if location is None else {"location": location}
    assert said("", status, **headers) == (
        f": the token endpoint redirects{to} Redirects are not followed, to keep the secret safe. "
        "Set token_url to the final URL."
    )


@pytest.mark.parametrize(
    ("secret", "code", "shown"),
    [
        ("client", "invalid-client", "invalid_client"),
        ("client", "invalid-client-7", "invalid-[hidden]-7"),
        ("other", "invalid-client", "invalid-client"),
        ("other", "invalid-client-7", "invalid-client-7"),
    ],
)
def test_a_code_with_a_secret_in_it(secret, code, shown):
    """A known code that a secret is part of is shown in our own spelling."""
    expected = Expected("api", SENT.timestamp(), secrets=[secret])
    assert said({"error": code}, 400, expected).startswith(f": {shown}. ")


@pytest.mark.parametrize(
    ("length", "ending"), [(100, "x" * 100), (101, f"{'x' * 97}..."), (120, f"{'x' * 97}...")]
)
def test_long_codes(length, ending):
    """A code is shown up to a length of 100 characters."""
    error = refused({"error": "x" * length}, 400)
    assert error.error == ending
    assert f"(HTTP 400): {ending}" in str(error)
    assert "x" * 101 not in str(error)


@pytest.mark.parametrize(("length", "dots"), [(240, ""), (241, "..."), (300, "...")])
def test_long_descriptions(length, dots):
    """A description is shown up to a length of 240 characters."""
    words = ("abc " * 100)[: length - 1] + "d"
    shown = words[: 240 - len(dots)] + dots
    error = refused({"error": "e_1", "error_description": words}, 400)
    assert error.error_description == shown
    assert f'e_1 ("{shown}")' in str(error)


@pytest.mark.parametrize("body", [{"message": "why"}, {"error": "e_1", "title": "why"}, "why not"])
def test_only_a_description_is_one(body):
    """Other texts are in the message, but are not the error_description."""
    error = refused(body, 400)
    assert "why" in str(error)
    assert error.error_description is None


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"error": 4711}, None),
        ({"error": 10**20}, None),
        ({"error": "4711"}, None),
        ({"error": "x_1", "code": "x_2"}, "x_1"),
        ({"error": "x_1", "code": "Invalid-Client"}, "invalid_client"),
        ({"error": 4711, "code": "x_2"}, "x_2"),
        ({"error": "\u200b"}, "?"),
    ],
)
def test_the_code(body, code):
    """The code of the error is the first known one, or else the first one, never a number."""
    assert refused(body, 400).error == code


@pytest.mark.parametrize(
    ("wait", "note"),
    [
        ("0", "0 s."),
        ("7.25", "7.2 s."),
        ("999999999", "999999999 s."),
        ("1000000000", None),
        ("1e9", None),
    ],
)
def test_the_wait(wait, note):
    """The message ends with the time that the server asks to wait, unless it is absurd."""
    message = said("{}", 503, retry_after=wait)
    assert message == (f". {PERSISTS} The server asks to wait {note}" if note else f". {PERSISTS}")


@pytest.mark.parametrize(
    ("seconds", "note"),
    [
        *((0, None), (299, None), (-299, None)),
        (300, "+300 s."),
        (-300, "-300 s."),
        (86400, "+86400 s."),
    ],
)
def test_the_difference_of_the_clocks(seconds, note):
    """The message ends with a difference of the clocks of five minutes or more."""
    message = said("{}", 503, date=format_datetime(SENT + timedelta(seconds=seconds), usegmt=True))
    differs = f" The server's clock differs from ours by {note}" if note else ""
    assert message == f". {PERSISTS}{differs}"


@pytest.mark.parametrize(
    ("wait", "seconds"),
    [(None, 1.0), ("7", 7.0), ("0", 1.0), ("Tue, 01 Jan 2030 00:02:00 GMT", 120.0)],
)
def test_the_wait_for_another_token(wait, seconds):
    """After an expired token, another request is made after the server's wait, or a second."""
    headers = {} if wait is None else {"retry_after": wait}
    error = refused({"access_token": "abc", "expires_in": -5}, 200, **headers)
    assert (error.retry_after, error.transient) == (seconds, True)


@pytest.mark.parametrize(("wait", "transient"), [(None, False), ("7", True)])
def test_an_unusable_token(wait, transient):
    """A token that can't be used is final, unless the server asks to wait."""
    headers = {} if wait is None else {"retry_after": wait}
    assert (
        refused({"access_token": "a b", "code": "server_error"}, **headers).transient is transient
    )


@pytest.mark.parametrize(
    ("status", "within", "transient"), [(200, 503, True), (200, 400, False), (400, 503, False)]
)
def test_a_status_in_the_body(status, within, transient):
    """A status in the body counts only if the actual one means success."""
    assert refused({"status": within}, status).transient is transient
