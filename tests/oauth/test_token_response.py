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
            GOOD["access_token"],
            "Bearer",
            SENT + timedelta(hours=1),
            "read write",
            "r-1",
            extra={"more": (1,)},
        )

    @pytest.mark.parametrize(
        "token",
        [
            "00D50000000IZ3Z!AQ0AQDpEDKYsn7ioKug2aSmgCjgrPjG9eRLza8jXWoW7uA90V39rvQaIy1FGxjFHN1ZtusB",
            "Atza|IQEBLjAsAhRmHjNgHpi0U-Dme37rR6CuUpSR",
            "xoxb-1234-abc",
            "EAAC:abc",
            "v^1.1#i^1#I^3#r^0#p^3#t^H4sIAAAA",
            "=a",
            '{"a":"b"}',
            "a,b;c",
            "\\",
            "%20",
            "".join(map(chr, range(0x21, 0x7F))),
            "a" * 100_000,
        ],
    )
    def test_any_visible_access_token(self, token):
        """Any visible ASCII is an access token (RFC 6749 A.12), and is handed on to the letter."""
        assert parse(GOOD | {"access_token": token}).access_token == token

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
            ('{"access_token": "abc"} and more', "not JSON"),
            (b"\xff\xfe{\x00}\x00", "not UTF-8"),
            ("[]", "list"),
            ('[{"access_token": "abc"}]', "list"),
            ('"token"', "str"),
            ("null", "NoneType"),
            ("<html>login</html>", "web page"),
            ("  <!DOCTYPE html>", "web page"),
        ],
    )
    def test_bodies(self, body, says):
        """A body that is not a JSON object is refused, saying what it is."""
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
        ("value", "says"),
        [
            (None, "has no access_token"),
            ("", "empty access_token"),
            (7, "not a string"),
            (["a"], "not a string"),
            ({"token": "abc"}, "not a string"),
            (True, "not a string"),
            (" ", "visible ASCII"),
            ("a b", "visible ASCII"),
            (" abc", "visible ASCII"),
            ("abc\n", "visible ASCII"),
            ("a\nb", "visible ASCII"),
            ("a\x00b", "visible ASCII"),
            ("a\x7fb", "visible ASCII"),
            ("a\x85b", "visible ASCII"),
            ("tökén", "visible ASCII"),
            ("\u6f22", "visible ASCII"),
            ("\ud800", "visible ASCII"),
        ],
    )
    def test_access_tokens(self, value, says):
        """An access token that does not fit into a header is refused, and not shown."""
        error = refused(GOOD | {"access_token": value})
        assert says in str(error)
        assert error.transient is False
        assert "abc" not in str(error)

    def test_the_members_are_named_where_there_is_no_access_token(self):
        """An answer in another shape is refused with the names of its members, without values."""
        error = refused({"data": {"access_token": "abc"}, "accessToken": "def\n", "a\nb": 1})
        assert "only: data, accessToken, a?b" in str(error)
        assert "abc" not in str(error)

    @pytest.mark.parametrize(
        "body",
        [
            '{"access_token": "a", "access_token": "b"}',
            '{"access_token": "a", "expires_in": 60, "access_token": 7}',
            '{"access_token": "", "access_token": "b"}',
            '{"access_token": ["a"], "access_token": "a"}',
        ],
    )
    def test_two_access_tokens(self, body):
        """Two access tokens that differ are refused: it is unclear which one counts."""
        error = refused(body)
        assert "twice" in str(error)
        assert error.transient is False


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
