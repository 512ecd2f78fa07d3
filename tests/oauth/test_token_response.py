"""Successful token responses, case by case."""

import copy
import json
import pickle
from datetime import timedelta
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oauth.responses import EXPECTED, GOOD, SENT

from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.models import OAuth2Token
from tokenkeeper.oauth import json_object
from tokenkeeper.oauth.exchange import Expected, HttpAnswer
from tokenkeeper.oauth.token_response import parse_token_response


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
    assert error.__context__ is None  # a decoder's error would contain the whole body
    return error


class TestGranted:
    """Responses that grant a token."""

    def test_all_members(self):
        """A complete response becomes a token with all its members."""
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
        """Any visible ASCII is an access token (RFC 6749 A.12), and is kept unchanged."""
        assert parse(GOOD | {"access_token": token}).access_token == token

    def test_created(self):
        """Any 2xx status is accepted."""
        assert parse(GOOD, 201).access_token == GOOD["access_token"]


class TestMembersThatAreNotNeeded:
    """A fault in another member never costs a token."""

    @pytest.mark.parametrize(
        "error",
        [None, "", " ", False, 0, 0.0, [], {}, "null", "None", "false", "0", "ok", "SUCCESS"],
    )
    def test_an_error_that_is_none(self, error):
        """An empty error member is not an error."""
        token = parse(GOOD | {"error": error, "error_description": error})
        assert token.access_token == GOOD["access_token"]

    @pytest.mark.parametrize(
        "error", ["server_error", "x", 7, True, {"code": 1}, ["denied"], "0x", "not ok"]
    )
    def test_an_error_beside_a_token(self, error):
        """An error beside a token is an error, and the token is not used."""
        assert GOOD["access_token"] not in str(refused(GOOD | {"error": error}))

    def test_an_error_that_occurs_twice(self):
        """The last of two error members counts, as in JSON parsers."""
        body = '{"access_token": "abc", "error": null, "error": "server_error"}'
        assert refused(body).error == "server_error"
        assert parse('{"access_token": "abc", "error": "x", "error": null}').access_token == "abc"

    @pytest.mark.parametrize(
        ("given", "scope"),
        [
            ("a b", "a b"),
            (" a ", "a"),
            (["a", "b"], "a b"),
            (["a b", "c"], "a b c"),
            ("a  b", "a b"),
            ("a\tb\nc", "a b c"),
            ("repo,gist", "repo,gist"),
            ("https://graph.microsoft.com/.default", "https://graph.microsoft.com/.default"),
            ('a"b c', "c"),
            ("naïve read", "read"),
            ("a\x00b c", "c"),
            ("\ud800 c", "c"),
            ([7, "a", None], "a"),
            ("", None),
            (" ", None),
            ([], None),
            ([""], None),
            (["", " "], None),
            (None, "read"),
            (7, "read"),
            (True, "read"),
            ({"a": True}, "read"),
            ([7], "read"),
            ('a"b', "read"),
            ([["a"]], "read"),
        ],
    )
    def test_odd_scopes(self, given, scope):
        """The readable part of the scope is kept; without one, the requested scope."""
        assert parse(GOOD | {"scope": given}).scope == scope

    @pytest.mark.parametrize(
        "given", [None, "", " ", 7, True, [], {}, ["r"], {"token": "r"}, "a\nb", "a b", "tökén"]
    )
    def test_odd_refresh_tokens(self, given):
        """A refresh token that can't be sent back is ignored."""
        assert parse(GOOD | {"refresh_token": given}).refresh_token is None

    @pytest.mark.parametrize(
        "members",
        [
            '"a": 1, "a": 2',
            '"scope": "x", "scope": "y"',
            '"refresh_token": "x", "refresh_token": "y"',
            '"token_type": "Bearer", "token_type": "bearer"',
            '"access_token": "abc"',
            '"access_token": null',
            '"error": null, "error": ""',
            '"a": NaN, "b": Infinity, "c": -Infinity',
            '"a": {"b": NaN, "b": [Infinity]}',
            '"a": 1e999, "b": -1e999',
            '"a": ' + "9" * 5000,
            '"a": -' + "9" * 5000,
            '"a": "\\ud800", "\\ud800": 1',
            '"a": "\\u0000\\n", "": ""',
            '"a": "line\nend\t\x01"',
            '"not_before_policy": 0, "session_state": {}, "a.b": [[]]',
            '"a": ' + "[" * 40 + "]" * 40,
            '"a": ' + "[" * 5_000 + "]" * 5_000,
            '"a": ' + '{"access_token":' * 5_000 + '"b"' + "}" * 5_000,
            '"a": ' + '["]}",{"\\"[":' * 5_000 + "0" + "}]" * 5_000,
        ],
    )
    @pytest.mark.parametrize("order", ["before", "after"])
    def test_faults_elsewhere(self, members, order):
        """Duplicates, NaN, odd text and deep nesting in other members are harmless."""
        good = '"access_token": "abc", "expires_in": 600'
        body = f"{{{members}, {good}}}" if order == "before" else f"{{{good}, {members}}}"
        token = parse(body)
        assert token.access_token == "abc"
        assert token.expires_at == SENT + timedelta(seconds=600)
        assert pickle.loads(pickle.dumps(token)).expires_at == copy.deepcopy(token).expires_at

    @pytest.mark.parametrize(
        "content_type",
        [
            *("application/json; charset=utf-8", "application/json;charset=UTF8", "text/plain"),
            *("application/json; charset=iso-8859-1", "application/json; charset=us-ascii"),
            *("application/json; charset=utf-16", "application/json; charset=no-such-charset"),
            *("text/html; charset=shift_jis", 'application/json; charset="utf-7"', "", "=;=;"),
            *("application/x-www-form-urlencoded", "application/jwt", "a" * 10_000),
        ],
    )
    @pytest.mark.parametrize("name", ["José", "漢字", "plain"])
    def test_a_charset_in_the_header(self, content_type, name):
        """JSON in UTF-8 is read, whatever type and charset the header names."""
        body = json.dumps(GOOD | {"name": name}, ensure_ascii=False)
        token = parse(body, content_type=content_type)
        assert token.access_token == GOOD["access_token"]
        assert token.extra["name"] == name

    @pytest.mark.parametrize(
        ("encoding", "content_type"),
        [
            ("utf-8-sig", "application/json"),
            ("latin-1", "application/json; charset=iso-8859-1"),
            ("latin-1", "application/json"),
            ("cp1252", "application/json; charset=windows-1252"),
            ("utf-16", "application/json; charset=utf-16"),
            ("utf-16-le", 'application/json; charset="UTF-16LE"'),
            ("utf-16-be", "application/json;charset=utf-16be"),
            ("utf-32", "application/json; charset=utf-32"),
        ],
    )
    def test_other_encodings(self, encoding, content_type):
        """A body in another encoding than UTF-8 is read, as a token is ASCII in all of them."""
        body = json.dumps(GOOD | {"name": "José"}, ensure_ascii=False).encode(encoding)
        token = parse(body, content_type=content_type)
        assert token.access_token == GOOD["access_token"]
        assert token.extra["name"] == "José"


@pytest.mark.parametrize(
    ("members", "omitted"),
    [
        ({"scope": "read"}, set()),
        ({}, {"scope"}),
        ({"expires_in": None, "scope": "read"}, {"expires_in"}),
        ({"expires_in": None, "scope": None}, {"expires_in", "scope"}),
    ],
)
def test_members_that_are_left_to_the_client(members, omitted):
    """The names of optional members that the latest response left out are reported."""
    reported = {"expires_in", "scope"}  # by an earlier response
    body = json.dumps(GOOD | members).encode()
    parse_token_response(HttpAnswer(200, {}, body), Expected("api", 0.0, omitted=reported))
    assert reported == omitted


class TestExtra:
    """The other members of a response."""

    def test_all_others_are_kept(self):
        """All other members are in extra, which is immutable."""
        more = {
            "instance_url": "https://eu1.example.com",
            "id_token": "eyJhbGciOiJub25lIn0.e30.",
            "ext_expires_in": 7200,
            "authed_user": {"id": "U1", "scopes": ["a"]},
            "error": None,
        }
        token = parse(GOOD | {"scope": "a", "refresh_token": "r"} | more)
        assert token.extra == more | {"authed_user": {"id": "U1", "scopes": ("a",)}}
        with pytest.raises(TypeError):
            token.extra["authed_user"]["id"] = "U2"
        assert "eu1" not in repr(token)

    def test_none(self):
        """Without other members extra is empty."""
        assert parse(GOOD).extra == {}

    def test_the_last_of_two_is_kept(self):
        """The last value of a duplicate member is kept, as in JSON parsers."""
        assert parse('{"access_token": "abc", "a": 1, "a": 2}').extra == {"a": 2}

    @pytest.mark.parametrize(
        "around",
        [
            lambda member: member,
            lambda member: {"authed_user": member},
            lambda member: {"data": [{"more": [member]}]},
            lambda member: {"a": {"b": {"c": {"d": {"e": {"f": member}}}}}},
        ],
    )
    @pytest.mark.parametrize("name", ["id_token", "device_secret", "refresh_token", "session_key"])
    def test_redacted_in_errors(self, name, around):
        """The error for a response that repeats a secret member does not show it."""
        secret = "S3cret-value-of-some-length"
        words = {"error": "denied", "error_description": f"{name} is {secret}"}
        body = words | around({name: secret})
        for status in (200, 400):
            error = refused(body, status)
            assert secret not in str(error) + repr(vars(error))
            assert "denied" in str(error)


class TestUnusable:
    """2xx responses that grant no token."""

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            ("", "empty"),
            ("{", "not JSON"),
            ("access_token=abc&token_type=bearer", "not JSON"),
            ("[" * 100_000, "not JSON"),
            ('{"a":' * 100_000, "not JSON"),
            ('{"access_token": "abc"} and more', "not JSON"),
            (b"\xff\xfe{\x00}\x00", "not UTF-8"),
            ("[]", "is a JSON array, not an object"),
            ('[{"access_token": "abc"}]', "is a JSON array, not an object"),
            ("7", "is a JSON number, not an object"),
            ("NaN", "is a JSON number, not an object"),
            ("true", "is a JSON boolean, not an object"),
            ("null", "is JSON null, not an object"),
            ("<html>login</html>", "web page"),
            ("  <!DOCTYPE html>", "web page"),
        ],
    )
    def test_bodies(self, body, says):
        """A body that is not a JSON object is refused; the message says what it is."""
        error = refused(body)
        assert says in str(error)
        assert error.transient is False

    def test_html_by_its_type(self):
        """A web page is recognized by its content type too."""
        assert "web page" in str(refused("please log in", content_type="Text/HTML; charset=utf-8"))

    def test_json_called_html(self):
        """JSON with an error code is read, even if the server calls it HTML."""
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
        """An access token that can't be sent in a header is refused, and not shown."""
        error = refused(GOOD | {"access_token": value})
        assert says in str(error)
        assert error.transient is False
        assert "abc" not in str(error)

    def test_the_members_are_named_where_there_is_no_access_token(self):
        """A response without access_token is refused; the message lists its members."""
        error = refused({"data": {"access_token": "abc"}, "accessToken": "def\n", "a\nb": 1})
        assert "only these members: data, accessToken, a?b" in str(error)
        assert "abc" not in str(error)

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            ({}, "the response has no access_token, and no other members"),
            ({"a": 1}, "the response has no access_token, only these members: a"),
            ({"hunter2": 1}, "has no access_token, only these members: [hidden]"),
            (GOOD | {"access_token": ""}, "the response has an empty access_token"),
            (GOOD | {"access_token": 7}, "has an access_token of type int, not a string"),
            (
                '{"access_token": "a", "access_token": "b"}',
                "the response has two different access_token members",
            ),
            (
                GOOD | {"access_token": "a b"},
                (
                    "the response has an access_token that can't be sent in a header: it contains "
                    "characters other than visible ASCII (RFC 6749 A.12)"
                ),
            ),
        ],
    )
    def test_what_the_message_says(self, body, says):
        """The message says what is wrong with the response, in a whole sentence."""
        assert f"{says}. " in str(refused(body))

    def test_long_names_of_members(self):
        """A list of members is cut to 100 characters."""
        said = str(refused({f"member-{number}": 1 for number in range(100)}))
        assert len(said.partition("members: ")[2].partition("... ")[0]) == 97

    def test_a_caller_with_a_full_stack(self, monkeypatch):
        """JSON that can't be parsed as the caller's stack is full is our error."""

        def overflow(*_, **__):
            raise RecursionError

        monkeypatch.setattr(json_object, "json", SimpleNamespace(loads=overflow))
        assert "not JSON" in str(refused('{"access_token": "abc"'))

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
        """Two different access tokens are refused, as either could be the right one."""
        error = refused(body)
        assert "two different access_token members" in str(error)
        assert error.transient is False


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
MEMBERS = ["access_token", "token_type", "expires_in", "scope", "refresh_token", "error"]


@pytest.mark.slow
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
    """Any bytes give a valid token or one of our errors."""
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
    """The reprs of HttpAnswer and Expected do not show their contents."""
    answer = HttpAnswer(200, {}, b"hunter2")
    assert repr(answer) == "HttpAnswer(status=200, 7 bytes)"
    assert "hunter2" not in repr(EXPECTED)
