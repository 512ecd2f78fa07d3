"""Responses that grant no token, and the errors they become."""

import pytest
from oauth.responses import SENT, refused

from tokenkeeper.oauth.exchange import Expected

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
