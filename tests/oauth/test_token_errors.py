"""Responses that grant no token, and the errors they become."""

import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.error_codes import BY_AADSTS, CODES
from tokenkeeper.oauth.exchange import Expected, HttpAnswer
from tokenkeeper.oauth.token_errors import retry_after
from tokenkeeper.oauth.token_response import parse_token_response

SENT = datetime(2030, 1, 1, tzinfo=UTC)
EXPECTED = Expected("api", SENT.timestamp(), scope="read", secrets=["hunter2"])
GOOD = {"access_token": "abc.DEF-1~2+3/4==", "token_type": "Bearer", "expires_in": 3600}


def refused(body, status=200, expected=EXPECTED, **headers):
    """Return the error for a response."""
    if not isinstance(body, (bytes, str)):
        body = json.dumps(body)
    if isinstance(body, str):
        body = body.encode()
    answer = HttpAnswer(status, {k.replace("_", "-"): v for k, v in headers.items()}, body)
    with pytest.raises(TokenAcquisitionError) as caught:
        parse_token_response(answer, expected)
    error = caught.value
    assert str(error).startswith("provider 'api': token request failed (HTTP ")
    assert "no token" not in str(error)
    assert str(error).isprintable()
    assert error.provider_name == "api"
    assert error.status_code == status
    assert isinstance(error.transient, bool)
    assert error.__cause__ is None
    assert error.__context__ is None  # a decoder's error would contain the whole body
    return error


FINAL = [
    # RFC 6749 §5.2 and related RFCs
    {"error": "invalid_client"},
    {"error": "invalid_scope"},
    {"error": "invalid_grant"},
    {"error": "invalid_request"},
    {"error": "unauthorized_client"},
    {"error": "unsupported_grant_type"},
    {"error": "invalid_target"},
    {"error": "access_denied"},
    {"error": "consent_required"},
    {"error": "interaction_required"},
    {"error": "login_required"},
    {"error": "invalid_token"},
    # other spellings
    {"error": "INVALID_CLIENT"},
    {"error": "invalid-client"},
    {"error": "invalidClient"},
    {"error": "Invalid Client"},
    {"error": " invalid_client "},
    {"error": "InvalidClientException"},
    {"error": "urn:example:errors:invalid_client"},
    # other places
    {"error": {"code": "invalid_client", "message": "no"}},
    {"error": {"type": "invalid_client"}},
    {"errors": [{"code": "invalid_client"}]},
    [{"errorCode": "invalid_client", "message": "no"}],
    {"errorCode": "invalid_client"},
    {"ErrorCode": "invalid_client", "Error": "ClientId is Invalid"},
    {"code": "invalid_client", "message": "no"},
    {"name": "invalid_client", "statusCode": 400},
    {"type": "https://id.example.com/problems/invalid_client", "title": "No", "status": 401},
    {"fault": {"faultstring": "no", "detail": {"errorcode": "oauth.v2.InvalidClientIdentifier"}}},
    # vendors' own
    {"ok": False, "error": "invalid_client_id"},
    {"ok": False, "error": "bad_client_secret"},
    {"error": "incorrect_client_credentials"},
    {"error": "invalid_app_key"},
    {"error": "client_disabled"},
    {"error": "E1", "error_description": "AADSTS7000222: The secret has expired."},
    {"error": "E1", "error_codes": [7000215]},
    # in prose only
    {"message": "Client authentication failed"},
    {"error_description": "Invalid client: client is invalid"},
    "Server error: missing client `grants`",
    "error=invalid_client&error_description=no",
    "<Error><Code>InvalidClient</Code><Message>no</Message></Error>",
    "<html><title>400 No required SSL certificate was sent</title></html>",
]

PASSING = [
    {"error": "server_error"},
    {"error": "temporarily_unavailable"},
    {"error": "slow_down"},
    {"error": "authorization_pending"},
    {"error": "SERVER_ERROR"},
    {"error": "TemporarilyUnavailable"},
    {"error": "over_quota"},
    {"error": "too_many_requests"},
    {"error": "too_many_attempts", "error_description": "Your account has been blocked"},
    {"error": "rate_limit_exceeded"},
    {"error": "ratelimited"},
    {"error": "service_unavailable"},
    {"error": "internal_error"},
    {"error": "login_throttled"},
    {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}},
    {"__type": "x", "code": "ThrottlingException", "message": "no"},
    {"fault": {"faultstring": "no", "detail": {"errorcode": "policies.ratelimit.QuotaViolation"}}},
    # the server is already processing this request
    {"error": "invalid_request", "error_description": "token request is already being processed"},
    {"error": "invalid_grant", "error_description": "token request is already being processed"},
    {"error": "invalid_request", "error_description": "Your request is being processed."},
    {"error": "invalid_grant", "error_description": "A refresh is already in progress"},
    {"error": "invalid_client", "error_description": "concurrent token request"},
    {"error": "conflict", "message": "Another request for this client is in progress"},
    {"error": "UNABLE_TO_LOCK_ROW"},
    {"error": "request_in_progress"},
    # try again later, in prose
    {"error": "unknown_error", "error_description": "retry your request"},
    {"error": "invalid_request", "error_description": "please retry"},
    {"message": "Service temporarily unavailable"},
    {"message": "Please try again later."},
    {"error": "oops", "error_description": "AADSTS90033: A transient error has occurred."},
    {"error": "invalid_grant", "error_codes": [50196]},
    "error=slow_down",
    "Too many requests",
]


class TestFinalOrTransient:
    """The server's code or description decides, and the status only without either."""

    @pytest.mark.parametrize("status", [200, 400, 401, 403, 429, 500, 503])
    @pytest.mark.parametrize("body", FINAL, ids=str)
    def test_final_at_any_status(self, body, status):
        """A client error is final, whatever the status."""
        assert refused(body, status).transient is False

    @pytest.mark.parametrize("status", [200, 400, 401, 403, 500, 503])
    @pytest.mark.parametrize("body", PASSING, ids=str)
    def test_transient_at_any_status(self, body, status):
        """A transient error is transient, whatever the status."""
        assert refused(body, status).transient is True

    @pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 503])
    @pytest.mark.parametrize("wait", ["0", "7", "Tue, 01 Jan 2030 00:02:00 GMT"])
    @pytest.mark.parametrize("body", ["", "{}", {"error": "invalid_client"}, "<html>", "down"])
    def test_retry_after_is_transient(self, body, wait, status):
        """A response with a Retry-After is transient, whatever else it says."""
        error = refused(body, status, retry_after=wait)
        assert error.transient is True
        assert error.retry_after is not None

    @pytest.mark.parametrize("wait", ["", "abc", "-1"])
    def test_retry_after_that_says_nothing(self, wait):
        """An unreadable Retry-After changes nothing."""
        assert refused({"error": "invalid_client"}, 401, retry_after=wait).transient is False

    @pytest.mark.parametrize("body", ["", "{}", "[]", "oops", "<html>", {"error": 7}, {"x": "y"}])
    @pytest.mark.parametrize(
        ("status", "transient"),
        [
            *((status, True) for status in (408, 425, 429, 500, 502, 503, 504, 599)),
            *((status, False) for status in (200, 204, 301, 307, 400, 401, 404, 409, 415, 422)),
        ],
    )
    def test_the_status_decides_where_nothing_is_said(self, body, status, transient):
        """Without an explanation in the body, the status decides."""
        assert refused(body, status).transient is transient

    @pytest.mark.parametrize(
        ("status", "phrase", "transient"),
        [(500, "Internal Server Error", True), (401, "Unauthorized", False)],
    )
    def test_a_status_phrase_is_not_a_code(self, status, phrase, transient):
        """A status phrase as the error, as Spring sends it, means no more than the status."""
        error = refused({"status": status, "error": phrase, "path": "/token"}, status)
        assert (error.error, error.transient) == (None, transient)

    @pytest.mark.parametrize("status", [503, "503"])
    def test_a_status_as_the_code(self, status):
        """A status as the error code of a 200 counts as the actual status."""
        error = refused({"error": status}, 200)
        assert error.transient is True
        assert error.error is None

    def test_the_first_known_number_decides(self):
        """The first number of Entra ID that is in the table decides."""
        words = "AADSTS99999: see AADSTS7000222 and AADSTS90002"
        error = refused({"error": "invalid_client", "error_description": words}, 503)
        assert error.transient is False
        assert "Create a new one" in str(error)

    def test_numbers_of_entra_in_a_list(self):
        """A number in error_codes decides; other values in that list are ignored."""
        error = refused({"error": "invalid_client", "error_codes": ["x", True, 7000222]}, 401)
        assert "Create a new one" in str(error)
        assert "AADSTSTrue" not in str(error)

    @pytest.mark.parametrize(
        ("wait", "seconds"),
        [(7, 7.0), ("7.5", 7.5), (True, None), ("soon", None), (-1, None), ([7], None)],
    )
    def test_a_wait_in_the_body(self, wait, seconds):
        """A retry_after in the body is a number of seconds, as a number or as text."""
        error = refused({"error": "made_up", "retry_after": wait}, 400)
        assert error.retry_after == seconds
        assert error.transient is (seconds is not None)

    def test_a_status_within_a_success(self):
        """A status in the body of a 200 counts as the actual one."""
        assert refused({"status": 503, "error": "Service Unavailable"}).transient is True

    @pytest.mark.parametrize(
        "description",
        [
            "Refresh token reuse detected in concurrent requests",
            "No request is in progress",
            "The token was revoked while a request was pending",
            "Invalid client secret. Please try again later.",
        ],
    )
    def test_words_that_are_no_promise(self, description):
        """An invalid credential is final, even if the description sounds transient."""
        body = {"error": "invalid_grant", "error_description": description}
        assert refused(body, 400).transient is False

    @pytest.mark.parametrize("secret", ["client", "invalid_client", "invalid", "i", "_"])
    def test_a_secret_that_is_part_of_the_code(self, secret):
        """A secret that is a common word does not change the meaning of a code."""
        expected = Expected("api", SENT.timestamp(), secrets=[secret])
        error = refused({"error": "invalid_client"}, 503, expected)
        assert (error.error, error.transient) == ("invalid_client", False)
        assert "Check client_id and client_secret" in str(error)
        busy = Expected("api", SENT.timestamp(), secrets=["slow", "down"])
        assert refused({"error": "slow_down"}, 400, busy).transient is True

    def test_the_first_known_code_decides(self):
        """Among several codes, ``error`` comes first, and known codes come before others."""
        assert refused({"error": "server_error", "suberror": "invalid_client"}, 400).transient
        assert refused({"error": "E17", "suberror": "slow_down"}, 400).transient


WORDS = [
    ({"error": "made_up_code"}, "made_up_code"),
    ({"error": "x", "error_description": "the words"}, "the words"),
    (
        {"error": {"message": "Invalid application ID.", "type": "OAuthException", "code": 101}},
        "ID.",
    ),
    ({"error": {"errors": [{"reason": "the words"}]}}, "the words"),
    ({"error": "the words of a sentence"}, "the words of a sentence"),
    ({"error": 4711}, "4711"),
    ({"message": "the words"}, "the words"),
    ({"Message": "the words"}, "the words"),
    ({"msg": "the words"}, "the words"),
    ({"error_message": "the words"}, "the words"),
    ({"errorMessage": "the words"}, "the words"),
    ({"errorCode": "E0000011", "errorSummary": "the words"}, "the words"),
    ({"errorCode": "E0000011", "errorSummary": "no"}, "E0000011"),
    ({"reason": "the words"}, "the words"),
    ({"detail": "the words"}, "the words"),
    ({"detail": [{"loc": ["body"], "msg": "the words"}]}, "the words"),
    ({"title": "some title", "detail": "the words", "status": 400}, "some title: the words"),
    ({"type": "https://x.example/problem", "title": "the words"}, "the words"),
    ({"code": "E17", "message": "the words"}, "E17"),
    ({"fault": {"faultstring": "the words"}}, "the words"),
    ({"errors": [{"code": "E17", "message": "the words"}]}, "the words"),
    ({"errors": ["the words"]}, None),
    ([{"message": "the words", "errorCode": "E17"}], "the words"),
    ({"timestamp": 1, "status": 401, "error": "Unauthorized", "message": "the words"}, "the words"),
    ('"the words"', "the words"),
    ("the words", "the words"),
    ("error=x&error_description=the+words", "the words"),
    ("<Error><Message>the words</Message></Error>", "the words"),
    ("<soap:Envelope><faultstring>the words</faultstring></soap:Envelope>", "the words"),
    ("<html><head><title>the words</title></head>", "the words"),
    ("zu gr\u00f6\u00dfer".encode("latin-1"), "zu gr\u00f6\u00dfer"),
]


class TestServersWords:
    """The server's own text is shown, whatever its format."""

    @pytest.mark.parametrize("status", [200, 400, 500])
    @pytest.mark.parametrize(("body", "words"), [row for row in WORDS if row[1]], ids=str)
    def test_words_are_shown(self, body, words, status):
        """Codes and descriptions are in the message."""
        assert words in str(refused(body, status))

    @pytest.mark.parametrize(
        ("header", "words"),
        [
            ('Bearer error="invalid_client", error_description="the words"', "the words"),
            ('Bearer realm="x", error="made_up"', "made_up"),
            ("Bearer error=made_up", "made_up"),
            ('BEARER ERROR="made_up"', "made_up"),
            ('Basic realm="x", Bearer error="made_up"', "made_up"),
            ('Bearer error_description="a \\"quoted\\" word"', 'a "quoted" word'),
            ('Basic realm="Kong"', "requires Basic authentication for 'Kong'"),
            ("Negotiate", "requires Negotiate"),
        ],
    )
    def test_a_challenge_is_read_where_the_body_says_nothing(self, header, words):
        """A WWW-Authenticate header is used if the body explains nothing."""
        for body in ("", "{}", "<html>"):
            assert words in str(refused(body, 401, www_authenticate=header))
        assert words not in str(refused({"error": "x_y"}, 401, www_authenticate=header))

    def test_a_challenge_decides(self):
        """A code in the header counts like one in the body."""
        error = refused("", 503, www_authenticate='Bearer error="invalid_client"')
        assert (error.error, error.transient) == ("invalid_client", False)

    @pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 429, 500, 502, 503])
    @pytest.mark.parametrize(
        ("body", "content_type"),
        [
            ("<html>hello</html>", ""),
            ("  <!DOCTYPE html><p>", ""),
            ("please log in", "Text/HTML; charset=utf-8"),
            ('<?xml version="1.0"?><!DOCTYPE html PUBLIC "x"><html>', "application/xml"),
        ],
    )
    def test_a_web_page_is_called_one(self, body, content_type, status):
        """A web page is reported as one at any status, along with the status."""
        error = refused(body, status, content_type=content_type)
        assert "web page" in str(error)
        assert f"HTTP {status}" in str(error)
        assert "hello" not in str(error)

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize(
        "location",
        [
            "https://sso.example/login?token=abc#frag",
            "https://sso.example:8443/abc",
            "https://user:abc@sso.example/",
            "//sso.example/abc",
            " https://sso.example/abc ",
        ],
    )
    def test_a_redirect_names_the_host(self, location, status):
        """A redirect names its host, and shows nothing else of the URL."""
        error = refused("", status, location=location)
        assert "redirects to sso.example." in str(error)
        assert "abc" not in str(error)
        assert error.transient is False

    @pytest.mark.parametrize("location", ["/elsewhere", "", "https://[", "mailto:x", "\u2028"])
    def test_a_redirect_to_no_host(self, location):
        """A redirect without a host is reported too."""
        assert "redirects. " in str(refused("", 302, location=location))

    @pytest.mark.parametrize(
        ("value", "shown"), [("30", "30 s"), ("0.5", "0.5 s"), ("0", "0 s"), ("86400", "86400 s")]
    )
    @pytest.mark.parametrize("status", [400, 429, 503])
    def test_the_seconds_to_wait(self, status, value, shown):
        """A Retry-After is shown in seconds."""
        assert f"asks to wait {shown}." in str(refused("", status, retry_after=value))

    def test_seconds_of_the_body(self):
        """A number of seconds in the body counts like the header."""
        error = refused({"message": "You are being rate limited.", "retry_after": 64.5}, 429)
        assert error.retry_after == 64.5
        assert "asks to wait 64.5 s" in str(error)

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            ("", "the response is empty"),
            (" \n", "the response is empty"),
            ("access_token=abcdefgh&expires_in=3600&token_type=bearer", "form-encoded, not JSON"),
            ("out of order", 'plain text, not JSON: "out of order"'),
            ('{"access_token": "abcdefgh', "malformed or truncated"),
            (b"\x00\x01\x02", "not JSON"),
            ("abcdefghijklmnopqrstuvwxyz0123456789", "plain text, not JSON."),
            ("abcdefgh", "plain text, not JSON."),
            ('"abcdefgh"', "is a JSON string"),
            ("eyJhbGciOiJub25lIn0.e30.", "plain text, not JSON"),
            ("token abcdefgh0123456789abcdefgh", "plain text, not JSON"),
            ("token: abcdefgh", "plain text, not JSON"),
            ("Bearer abcdefgh1", "plain text, not JSON"),
        ],
    )
    def test_what_is_not_json(self, body, says):
        """A body that is not JSON is described, with its first words unless they may be secret."""
        error = refused(body)
        assert says in str(error)
        assert "abcdefgh" not in str(error)
        assert "eyJ" not in str(error)

    def test_a_form_with_too_many_fields(self):
        """A form with more than 50 fields is not read as one."""
        error = refused("error=invalid_client&" * 51, 400)
        assert error.error is None
        assert "plain text" in str(error)

    def test_text_with_a_token(self):
        """Text that may be a truncated grant is not shown at all."""
        error = refused("truncated: access_token: abc def", 200)
        assert "truncated" not in str(error)
        assert "the response is plain text, not JSON" in str(error)

    def test_an_excerpt_is_short(self):
        """The beginning of a long text is shown."""
        assert len(str(refused("word " * 1000, 500))) < 350


class TestAdvice:
    """Advice in the message."""

    def test_what_it_says_is_on_the_error(self):
        """Code, description and status are attributes, and the message says what to do."""
        body = {"error": "invalid_client", "error_description": "who are you?"}
        error = refused(body, 401)
        assert (error.error, error.error_description) == ("invalid_client", "who are you?")
        assert str(error) == (
            "provider 'api': token request failed (HTTP 401): invalid_client "
            '("who are you?"). Check client_id and client_secret. The secret may be '
            "wrong, expired, or sent by the wrong token_endpoint_auth_method."
        )

    def test_a_server_that_fails(self):
        """The message for an outage."""
        assert str(refused({}, 503)) == (
            "provider 'api': token request failed (HTTP 503). "
            "If this persists, contact the server's operator."
        )

    def test_an_error_in_a_success(self):
        """An error in a 200 is an error, even beside a token."""
        assert refused(GOOD | {"error": "server_error"}).error == "server_error"

    def test_an_unusable_token_beside_other_words(self):
        """The message names the fault of the token, even if other members look like errors."""
        body = GOOD | {"access_token": "a b", "message": "ok", "status": "approved"}
        error = refused(body)
        assert "access_token" in str(error)
        assert "approved" not in str(error)
        assert error.transient is False

    @pytest.mark.parametrize("code", sorted(CODES))
    def test_codes(self, code):
        """Each known error code has its own advice."""
        assert CODES[code].advice in str(refused({"error": code}, 400))

    @pytest.mark.parametrize("number", sorted(BY_AADSTS))
    def test_entra_numbers(self, number):
        """Entra ID's own numbers take precedence over its error codes."""
        description = f"AADSTS{number}: something. Trace ID: 1"
        body = {"error": "invalid_request", "error_description": description}
        error = refused(body, 400)
        assert BY_AADSTS[number].advice in str(error)
        assert error.transient is BY_AADSTS[number].transient

    @pytest.mark.parametrize(
        ("status", "says"),
        [
            (400, "operator"),
            (401, "secret"),
            (403, "permissions"),
            (404, "URL"),
            (415, "request_format"),
            (429, "too many requests"),
            (500, "persists"),
            (503, "persists"),
        ],
    )
    @pytest.mark.parametrize("body", ["", "oops", "{}", '{"error": 7}', "[]"])
    def test_answers_that_say_nothing(self, status, says, body):
        """Without a usable body the status decides the advice."""
        error = refused(body, status)
        assert says in str(error)
        assert f"HTTP {status}" in str(error)
        assert error.error is None

    @pytest.mark.parametrize(
        "code", ["invalid_grant", "consent_required", "interaction_required", "login_required"]
    )
    def test_client_credentials_never_ask_to_sign_in(self, code):
        """For client credentials the advice does not ask a user to sign in."""
        for grant in ("client_credentials", "refresh_token"):
            expected = Expected("api", SENT.timestamp(), grant=grant)
            said = str(refused({"error": code}, 400, expected)).lower()
            assert ("sign in" in said) is (grant != "client_credentials" and "grant" not in code)
        client = Expected("api", SENT.timestamp(), grant="client_credentials")
        assert "refresh token" not in str(refused({"error": code}, 400, client))

    def test_a_dead_refresh_token_is_called_one(self):
        """For a refresh token grant the advice is about the refresh token."""
        expected = Expected("api", SENT.timestamp(), grant="refresh_token")
        assert "The refresh token has expired" in str(
            refused({"error": "invalid_grant"}, 400, expected)
        )

    @pytest.mark.parametrize(
        ("body", "status", "shown"),
        [
            ({"error": "invalid_client"}, 400, True),
            ({"error": "invalid_client"}, 401, True),
            ("", 401, True),
            ({"message": "Client authentication failed"}, 400, True),
            ({"error": "unauthorized"}, 401, True),
            ({"error": "invalid_scope"}, 401, False),
            ("", 503, False),
        ],
    )
    def test_advice_on_the_client_s_authentication(self, body, status, shown):
        """Advice on client authentication is given if the client was refused."""
        expected = Expected("api", SENT.timestamp(), auth_advice=lambda: "Try this.")
        assert ("Try this." in str(refused(body, status, expected))) is shown

    @pytest.mark.parametrize(
        "body",
        [
            "<html><head><title>400 No required SSL certificate was sent</title></head></html>",
            "<html><head><title>400 The SSL certificate required</title></head></html>",
            {"error": "invalid_client", "error_description": "Client certificate is required"},
            {"error": "invalid_request", "error_description": "missing client certificate"},
            "client certificate not provided",
        ],
    )
    def test_a_server_that_wants_a_certificate(self, body):
        """A server that requires a client certificate is reported as such."""
        assert "requires a TLS client certificate" in str(refused(body, 400))


class TestSecrets:
    """Errors contain no secrets."""

    @pytest.mark.parametrize(
        "body",
        [
            {"error": "invalid_hunter2", "error_description": "hunter2 is wrong"},
            {"error": {"code": "hunter2", "message": "hunter2"}},
            {"message": "hunter2"},
            {"title": "hunter2"},
            "no such secret: hunter2",
            "hunter2",
            '"hunter2"',
            "error=hunter2",
            "<html><title>hunter2</title>",
            "<Error><Code>hunter2</Code></Error>",
        ],
    )
    def test_secrets_of_the_request(self, body):
        """Echoed secrets of the request are hidden, wherever they are."""
        error = refused(body, 400)
        assert "hunter2" not in str(error) + repr(error.__dict__)

    @pytest.mark.parametrize(
        ("status", "headers"),
        [
            (302, {"location": "https://hunter2/"}),
            (401, {"www_authenticate": 'Bearer error="hunter2", error_description="hunter2"'}),
            (401, {"www_authenticate": 'Basic realm="hunter2"'}),
            (401, {"www_authenticate": "hunter2"}),
        ],
    )
    def test_secrets_in_headers(self, status, headers):
        """Echoed secrets in headers are hidden too."""
        error = refused("", status, **headers)
        assert "[hidden]" in str(error)
        assert "hunter2" not in str(error) + repr(error.__dict__)

    @pytest.mark.parametrize("name", ["access_token", "refresh_token", "id_token", "client_secret"])
    @pytest.mark.parametrize("inside", [False, True])
    def test_secrets_of_the_answer(self, name, inside):
        """A token beside an error that repeats it is hidden."""
        said = {"error": "x_y", "error_description": "not s3cr3t-t0ken", name: "s3cr3t-t0ken"}
        error = refused({"error": said} if inside else said, 400)
        assert "s3cr3t" not in str(error) + repr(error.__dict__)

    def test_unruly_words(self):
        """Line breaks are replaced, and a long text is truncated."""
        error = refused({"error": "a\nb", "error_description": "x\r\n" * 1000}, 400)
        assert error.error == "a?b"
        assert len(error.error_description) <= 300
        assert len(str(error)) < 600

    @pytest.mark.parametrize(
        "body",
        [
            "[" * 100_000,
            '{"error": ' * 100_000,
            {"error": {"error": {"error": {"error": {"error": {"error": "x"}}}}}},
            '{"error": 1e999, "code": NaN, "status": -1}',
            {"error": "x" * 100_000, "message": ["y" * 100_000] * 10},
            "a=" * 1000 + "&error=" + "b" * 100_000,
            "<" * 20_000,
            "<a>" + " " * 60_000,
            "<html>" + "<title" * 10_000,
            "a" * 60_000,
            "the " + "a" * 60_000,
            {"error_description": "is " * 60_000},
            {"error_description": "a concurrent " * 20_000},
            "<a>" * 20_000,
            "\ud83d",
            {"error": None, "error_description": None, "code": None},
            {"error": True, "status": False},
            {"error": [], "errors": [[]], "detail": [None, 1]},
        ],
        ids=range(18),
    )
    def test_hostile_bodies(self, body):
        """The error is one short line, whatever the body."""
        body = body.encode(errors="surrogatepass") if isinstance(body, str) else body
        # A pattern that backtracks without bound would run into the timeout of every test.
        assert len(str(refused(body, 500))) < 700


class TestHeaders:
    """Information from the headers."""

    def test_a_clock_that_is_off(self):
        """A large difference between the clocks is mentioned, a small one is not."""
        far = format_datetime(SENT + timedelta(hours=1), usegmt=True)
        assert "differs from ours by +3600 s" in str(refused({}, 400, date=far))
        near = format_datetime(SENT + timedelta(seconds=299), usegmt=True)
        assert "differs" not in str(refused({}, 400, date=near))
        assert "differs" not in str(refused({}, 400, date="nonsense"))

    def test_retry_after(self):
        """The error has the server's Retry-After as an attribute."""
        assert refused("", 429, retry_after="7").retry_after == 7.0
        assert refused("", 429).retry_after is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0),
        ("7", 7),
        (" 7 ", 7),
        ("7.5", 7.5),
        ("1000000000", 1e9),
        ("-1", None),
        ("abc", None),
        ("", None),
        ("NaN", None),
        ("9" * 400, None),
        ("Tue, 01 Jan 2030 00:02:00 GMT", 120),
        ("Mon, 31 Dec 2029 23:59:00 GMT", 0),
        ("Tue, 99 Jan 2030 00:02:00 GMT", None),
    ],
)
def test_retry_after_forms(value, seconds):
    """It is a number of seconds or a date; anything else is ignored."""
    assert retry_after(value, SENT.timestamp()) == seconds


@pytest.fixture
def new_york(monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone can't be set on Windows")
@pytest.mark.parametrize("value", ["Tue Jan  1 00:02:00 2030", "Tue, 01 Jan 2030 00:02:00 -0000"])
def test_dates_without_a_zone(new_york, value):
    """A date without a time zone is UTC, whatever the local time zone."""
    assert retry_after(value, SENT.timestamp()) == 120
    assert "differs" not in str(refused({}, 400, date=value))
