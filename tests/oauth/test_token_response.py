"""What a token endpoint may say, case by case."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.models import OAuth2Token
from tokenkeeper.oauth.exchange import Expected, HttpAnswer
from tokenkeeper.oauth.token_response import parse_token_response

SENT = datetime(2030, 1, 1, tzinfo=UTC)
EXPECTED = Expected("api", SENT.timestamp(), scope="read", secrets=["hunter2"])
GOOD = {"access_token": "abc.DEF-1~2+3/4==", "token_type": "Bearer", "expires_in": 3600}


def parse(body, status=200, **headers):
    if not isinstance(body, (bytes, str)):
        body = json.dumps(body)
    if isinstance(body, str):
        body = body.encode()
    answer = HttpAnswer(status, {k.replace("_", "-"): v for k, v in headers.items()}, body)
    return parse_token_response(answer, EXPECTED)


def refused(body, status=200, **headers):
    with pytest.raises(TokenAcquisitionError) as caught:
        parse(body, status, **headers)
    error = caught.value
    assert error.provider_name == "api"
    assert "'api'" in str(error)
    assert "\n" not in str(error)
    assert error.status_code == status
    assert error.__cause__ is None
    assert error.__context__ is None  # a decoder's error would bring the whole body along
    return error


class TestGranted:
    """Answers that are taken."""

    def test_all_members(self):
        """A full answer becomes a token with all that was granted."""
        token = parse(GOOD | {"scope": "read write", "refresh_token": "r-1", "more": [1]})
        assert token == OAuth2Token(
            GOOD["access_token"], "Bearer", SENT + timedelta(hours=1), "read write", "r-1"
        )

    @pytest.mark.parametrize("kind", ["bearer", "BEARER", "Bearer"])
    def test_token_type_in_any_case(self, kind):
        """The token type is compared without case."""
        assert parse(GOOD | {"token_type": kind}).token_type == kind

    @pytest.mark.parametrize("body", [{}, {"token_type": None}])
    def test_token_type_left_out(self, body):
        """Servers that leave the token type out grant bearer tokens."""
        good = {k: v for k, v in GOOD.items() if k != "token_type"} | body
        assert parse(good).token_type == "Bearer"

    @pytest.mark.parametrize(
        ("given", "seconds"),
        [
            (3600, 3600),
            ("3600", 3600),
            (" 3600 ", 3600),
            (3599.5, 3599.5),
            ("3599.5", 3599.5),
            (None, 3600),
            (0.5, 0.5),
            (10**12, 365 * 86400),
            ("9" * 30, 365 * 86400),
            ("9" * 31, 365 * 86400),
            ("9" * 5000, 365 * 86400),
            ("0" * 40 + "60", 60),
            (1e300, 365 * 86400),
        ],
    )
    def test_expires_in(self, given, seconds):
        """Lifetimes come as numbers and as strings of them; enormous ones are clamped."""
        assert parse(GOOD | {"expires_in": given}).expires_at == SENT + timedelta(seconds=seconds)

    def test_expires_in_left_out(self):
        """Without a lifetime an hour is taken."""
        body = {"access_token": "abc", "token_type": "Bearer"}
        assert parse(body).expires_at == SENT + timedelta(hours=1)

    def test_expires_in_with_thousands_of_digits(self):
        """A number longer than Python likes to read is enormous, and clamped."""
        body = '{"access_token": "abc", "expires_in": ' + "9" * 5000 + "}"
        assert parse(body).expires_at == SENT + timedelta(days=365)

    @pytest.mark.parametrize(
        ("given", "scope"),
        [("a b", "a b"), (" a ", "a"), (["a", "b"], "a b"), ("", None), (None, "read"), ([], None)],
    )
    def test_scope(self, given, scope):
        """The scope granted is shown; where it is left out it is the one asked for."""
        assert parse(GOOD | {"scope": given}).scope == scope

    @pytest.mark.parametrize("given", [None, ""])
    def test_no_refresh_token(self, given):
        """An empty refresh token is none."""
        assert parse(GOOD | {"refresh_token": given}).refresh_token is None

    def test_byte_order_mark(self):
        """A byte order mark before the JSON is forgiven."""
        assert parse(b"\xef\xbb\xbf" + json.dumps(GOOD).encode()).token_type == "Bearer"

    def test_created(self):
        """Any status of success will do."""
        assert parse(GOOD, 201).access_token == GOOD["access_token"]


class TestUnusable:
    """Answers of success that grant nothing."""

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            ("", "not JSON"),
            ("{", "not JSON"),
            ("access_token=abc&token_type=bearer", "not JSON"),
            ("[" * 100_000, "not JSON"),
            ('{"a":' * 100_000, "not JSON"),
            (b"\xff\xfe{\x00}\x00", "not UTF-8"),
            ("[]", "list"),
            ('"token"', "str"),
            ("null", "NoneType"),
            ("<html>login</html>", "web page"),
            ("  <!DOCTYPE html>", "web page"),
            ('{"access_token": "a", "access_token": "b"}', "twice"),
            ('{"access_token": "a", "expires_in": NaN}', "NaN"),
            ('{"access_token": "a", "expires_in": Infinity}', "Infinity"),
            ('{"access_token": "a", "expires_in": -Infinity}', "-Infinity"),
            ('{"access_token": "a", "expires_in": 1e999}', "positive and finite"),
            ('{"access_token": "a", "expires_in": -' + "9" * 5000 + "}", "positive and finite"),
        ],
    )
    def test_bodies(self, body, says):
        """What is no JSON object with single members is refused, saying what it is."""
        error = refused(body)
        assert says in str(error)
        assert error.transient is False

    def test_html_by_its_type(self):
        """A web page is told by its content type as well."""
        assert "web page" in str(refused("please log in", content_type="Text/HTML; charset=utf-8"))

    def test_json_called_html(self):
        """JSON is read whatever the server calls it, its error code with it."""
        assert refused({"error": "invalid_client"}, content_type="text/html").error == (
            "invalid_client"
        )

    @pytest.mark.parametrize(
        ("member", "value", "says"),
        [
            ("access_token", None, "no access_token"),
            ("access_token", "", "empty access_token"),
            ("access_token", 7, "no string"),
            ("access_token", ["a"], "no string"),
            ("access_token", "a b", "RFC 6750"),
            ("access_token", "a\nb", "RFC 6750"),
            ("access_token", "=a", "RFC 6750"),
            ("access_token", "tökén", "RFC 6750"),
            ("access_token", "\ud800", "RFC 6750"),
            ("token_type", "mac", "other than Bearer"),
            ("token_type", "DPoP", "other than Bearer"),
            ("token_type", "", "other than Bearer"),
            ("token_type", 7, "other than Bearer"),
            ("expires_in", 0, "positive"),
            ("expires_in", -1, "positive"),
            ("expires_in", "0", "positive"),
            ("expires_in", "0" * 40, "positive"),
            ("expires_in", True, "no number"),
            ("expires_in", False, "no number"),
            ("expires_in", "soon", "no number"),
            ("expires_in", "-5", "no number"),
            ("expires_in", "inf", "no number"),
            ("expires_in", "1e3", "no number"),
            ("expires_in", "", "no number"),
            ("expires_in", "\uff13\uff16\uff10\uff10", "no number"),
            ("expires_in", [3600], "no number"),
            ("expires_in", {}, "no number"),
            ("scope", 7, "no string"),
            ("scope", [7], "no string"),
            ("scope", 'a"b', "RFC 6749"),
            ("scope", "a\nb", "RFC 6749"),
            ("refresh_token", 7, "refresh_token"),
            ("refresh_token", "a\nb", "refresh_token"),
        ],
    )
    def test_members(self, member, value, says):
        """Each member is checked, and the message says which one is wrong and shows none."""
        error = refused(GOOD | {member: value})
        assert says in str(error)
        assert error.transient is False
        assert GOOD["access_token"] not in str(error)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
MEMBERS = ["access_token", "token_type", "expires_in", "scope", "refresh_token", "error"]


@given(
    body=st.one_of(
        st.binary(max_size=200),
        st.dictionaries(st.sampled_from([*MEMBERS, "error_description", "x"]), JSON).map(
            lambda content: json.dumps(content).encode()
        ),
        st.fixed_dictionaries(
            {"access_token": st.text(max_size=9), "token_type": st.sampled_from(["Bearer", "x"])},
            optional={"expires_in": JSON, "scope": JSON, "refresh_token": JSON},
        ).map(lambda content: json.dumps(content).encode()),
    ),
    status=st.integers(100, 599),
    headers=st.dictionaries(
        st.sampled_from(["content-type", "retry-after", "date"]), st.text(max_size=40)
    ),
)
def test_only_our_errors_come_out(body, status, headers):
    """Whatever the bytes, there is a good token or one of our errors."""
    try:
        token = parse_token_response(HttpAnswer(status, headers, body), EXPECTED)
    except TokenAcquisitionError as error:
        token, message = None, str(error)
    if token is None:
        assert message.isprintable()
        assert len(message) < 700
    else:
        assert SENT < token.expires_at <= SENT + timedelta(days=365)
        assert token.access_token.isascii()


def test_reprs_show_nothing():
    """Neither an answer nor what is expected of it shows its contents."""
    answer = HttpAnswer(200, {}, b"hunter2")
    assert repr(answer) == "HttpAnswer(status=200, 7 bytes)"
    assert "hunter2" not in repr(EXPECTED)
