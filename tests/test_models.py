"""OAuth2Token and OAuth2Config: contents, validation and reprs."""

import copy
import operator
import pickle
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from tokenkeeper import InvalidConfigurationError, OAuth2Config, OAuth2Token

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
SECRET = "s3cr3t-Value"


def a_config(**changes):
    fields = {
        "provider_name": "api",
        "client_id": "me",
        "client_secret": SECRET,
        "token_url": "https://id.example.com/token",
    }
    return OAuth2Config(**(fields | changes))


class TestToken:
    """OAuth2Token."""

    def test_fields(self):
        """A token contains what the server granted; optional parts may be omitted."""
        token = OAuth2Token("abc", "Bearer", NOON)
        assert (token.access_token, token.token_type, token.expires_at) == ("abc", "Bearer", NOON)
        assert token.scope is None
        assert token.refresh_token is None

    def test_expires_at_is_held_as_utc(self):
        """An expiry in another time zone is converted to UTC."""
        there = NOON.astimezone(timezone(timedelta(hours=9)))
        token = OAuth2Token("abc", "Bearer", there)
        assert token.expires_at == NOON
        assert token.expires_at.tzinfo is UTC

    @pytest.mark.parametrize(
        "text",
        [
            "abc",
            "00D50000000IZ3Z!AQ0AQDpEDKYsn7ioKug2aSmgCjgrPjG",
            "Atza|IQEBLjAsAhRmHjNgHpi0U-Dme37rR6CuUpSR",
            "=a",
            '{"json":"too"}',
            "".join(map(chr, range(0x21, 0x7F))),
            "two words",
            "a" * 100_000,
        ],
    )
    def test_any_text_that_fits_into_a_header(self, text):
        """Any printable ASCII is an access token (RFC 6749 A.12)."""
        assert OAuth2Token(text, "Bearer", NOON).access_token == text

    @pytest.mark.parametrize(
        "text",
        [
            "",
            " ",
            None,
            7,
            b"abc",
            ["abc"],
            "a\nb",
            "abc\n",
            " abc",
            "abc ",
            "a\tb",
            "a\x00b",
            "a\x7fb",
            "a\x85b",
            "t\xf6k\xe9n",
            "a\u2028b",
            "\u6f22",
            "a\xa0b",
            "\ud800",
        ],
    )
    def test_text_that_does_not_fit_into_a_header(self, text):
        """Text that can't be sent unchanged in a header is refused, and not shown."""
        with pytest.raises(ValueError, match="access_token must") as caught:
            OAuth2Token(text, "Bearer", NOON)
        assert str(caught.value).isascii()
        assert "abc" not in str(caught.value)

    @pytest.mark.parametrize("field", ["expires_at", "refresh_at"])
    @pytest.mark.parametrize("moment", [NOON.replace(tzinfo=None), 1234567890, "2030-01-01"])
    def test_moments_are_aware(self, field, moment):
        """A time that is not an aware datetime is refused by name."""
        with pytest.raises(ValueError, match=f"{field} must be an aware datetime"):
            OAuth2Token("abc", "Bearer", **({"expires_at": NOON} | {field: moment}))

    def test_expires_at_is_needed(self):
        """A token without an expiry is refused."""
        with pytest.raises(ValueError, match="expires_at must"):
            OAuth2Token("abc", "Bearer", None)

    @pytest.mark.parametrize(
        ("moment", "seconds"),
        [
            (datetime(1970, 1, 1, 0, 1, tzinfo=UTC), 60),
            (datetime(2030, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC), 1_893_456_000),
            (datetime(1969, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC), -1),
        ],
    )
    def test_expires_on(self, moment, seconds):
        """The expiry in whole seconds since the epoch is never later than the expiry itself."""
        assert OAuth2Token("abc", "Bearer", moment).expires_on == seconds

    def test_refresh_at_is_held_as_utc(self):
        """refresh_at is stored as UTC; by default it is None."""
        there = NOON.astimezone(timezone(timedelta(hours=-3)))
        assert OAuth2Token("abc", "Bearer", NOON).refresh_at is None
        assert OAuth2Token("abc", "Bearer", NOON, refresh_at=there).refresh_at.tzinfo is UTC

    @pytest.mark.parametrize(("left", "expired"), [(299, True), (300, True), (302, False)])
    def test_is_expired_against_the_buffer(self, left, expired):
        """A token counts as expired once at most the buffer is left."""
        token = OAuth2Token("abc", "Bearer", datetime.now(UTC) + timedelta(seconds=left))
        assert token.is_expired() is expired
        assert token.is_expired(buffer_seconds=0) is False

    def test_remaining_lifetime(self):
        """The remaining lifetime is a timedelta, negative once the token has expired."""
        ended = OAuth2Token("abc", "Bearer", datetime.now(UTC) - timedelta(seconds=5))
        assert timedelta(seconds=-10) < ended.remaining_lifetime <= timedelta(seconds=-5)

    def test_immutable(self):
        """A token can't be changed."""
        token = OAuth2Token("abc", "Bearer", NOON)
        with pytest.raises(AttributeError):
            token.access_token = "other"

    def test_repr_shows_no_secret(self):
        """The repr shows neither the tokens nor other members of the response."""
        extra = {"id_token": "id-secret", "user": {"key": "key-secret"}}
        token = OAuth2Token("at-secret", "Bearer", NOON, "read", "rt-secret", extra=extra)
        assert "secret" not in repr(token) + repr(token.extra) + repr(token.extra["user"])
        assert "read" in repr(token)
        assert "id_token" in repr(token.extra)

    def test_pickles(self):
        """A token can be pickled, to be sent to another process."""
        extra = {"user": {"roles": ["a", "b"]}}
        token = OAuth2Token("abc", "Bearer", NOON, "read", "rt", extra=extra, refresh_at=NOON)
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            assert pickle.loads(pickle.dumps(token, protocol)) == token
        assert copy.deepcopy(token) == copy.copy(token) == replace(token) == token
        assert hash(copy.deepcopy(token)) == hash(token)


class TestExtra:
    """OAuth2Token.extra."""

    def test_none_by_default(self):
        """A token without other members has an empty mapping."""
        assert OAuth2Token("abc", "Bearer", NOON).extra == {}

    def test_what_was_handed_in_may_change(self):
        """A later change to the argument does not affect the token."""
        given = {"user": {"roles": ["a"]}}
        token = OAuth2Token("abc", "Bearer", NOON, extra=given)
        given["user"]["roles"].append("b")
        given["more"] = 1
        assert token.extra == {"user": {"roles": ("a",)}}

    @pytest.mark.parametrize(
        "change",
        [
            lambda extra: operator.setitem(extra, "a", 1),
            lambda extra: operator.delitem(extra, "user"),
            lambda extra: extra.update(a=1),
            lambda extra: extra.clear(),
            lambda extra: operator.ior(extra, {"a": 1}),
            lambda extra: operator.setitem(extra["user"], "a", 1),
            lambda extra: extra["user"]["roles"].append("b"),
            lambda extra: operator.setitem(extra["user"]["roles"], 0, "b"),
            lambda extra: setattr(extra, "_content", {}),
            lambda extra: delattr(extra, "_content"),
        ],
    )
    def test_immutable_all_the_way_down(self, change):
        """No nested value can be changed."""
        token = OAuth2Token("abc", "Bearer", NOON, extra={"user": {"roles": ["a"]}})
        with pytest.raises((TypeError, AttributeError)):
            change(token.extra)
        assert token.extra == {"user": {"roles": ("a",)}}

    @pytest.mark.parametrize("extra", [None, [], "text", 7])
    def test_not_a_mapping(self, extra):
        """Anything but a mapping is refused."""
        with pytest.raises(ValueError, match="extra must be a mapping"):
            OAuth2Token("abc", "Bearer", NOON, extra=extra)

    def test_counts_for_equality(self):
        """Tokens with different members are not equal; equal tokens have equal hashes."""
        one, other = (OAuth2Token("abc", "Bearer", NOON, extra={"a": n}) for n in (1, 2))
        assert one != other
        assert hash(one) == hash(replace(other, extra={"a": 1}))


class TestConfig:
    """OAuth2Config."""

    @pytest.mark.parametrize(
        ("given", "held"),
        [
            ("read write", "read write"),
            (["read", "write"], "read write"),
            (("read",), "read"),
            (" read  write ", "read write"),
            ("", None),
            ([], None),
            (None, None),
            ("https://graph.microsoft.com/.default", "https://graph.microsoft.com/.default"),
        ],
    )
    def test_scope(self, given, held):
        """A scope is a string or a list, and stored in the form of RFC 6749."""
        assert a_config(scope=given).scope == held

    @pytest.mark.parametrize("field", ["provider_name", "client_id", "client_secret", "token_url"])
    @pytest.mark.parametrize("value", ["", "  ", None, 7, "a\nb", "a\x00b", "a\u2028b", "a\udcff"])
    def test_needed_fields(self, field, value):
        """An empty, missing or unprintable field is refused by name."""
        if (field, value) == ("client_secret", None):
            return  # a public client; see below
        with pytest.raises(InvalidConfigurationError, match=field) as caught:
            a_config(**{field: value})
        assert caught.value.field == field

    def test_a_client_without_a_secret(self):
        """A public client omits its secret or passes None; the token URL is still required."""
        public = OAuth2Config("api", "me", token_url="https://id.example.com/token")
        assert public.client_secret is None
        assert public == OAuth2Config("api", "me", None, "https://id.example.com/token")
        assert pickle.loads(pickle.dumps(public)) == public
        with pytest.raises(InvalidConfigurationError, match="token_url is empty"):
            OAuth2Config("api", "me")

    @pytest.mark.parametrize(
        "url",
        [
            "http://id.example.com/token",
            "http://127.0.0.1.example.com/token",
            "http://localhost.example.com/token",
            "http://localhost@example.com/token",
            "http://[::2]/token",
            "http://0.0.0.0/token",
            "https://user:pw@id.example.com/token",
            "https://user@id.example.com/token",
            "https://@id.example.com/token",
            "https://id.example.com/token#part",
            "https://id.example.com/token#",
            "https://id.example.com/to ken",
            "https://id.example.com\\@evil.example/token",
            "https:///token",
            "https://id.example.com:port/token",
            "https://id.example.com:99999/token",
            "https://[::1/token",
            "ftp://id.example.com/token",
            "id.example.com/token",
            "/token",
        ],
    )
    def test_token_url_refused(self, url):
        """A URL that must not receive a secret is refused by name."""
        with pytest.raises(InvalidConfigurationError, match="token_url") as caught:
            a_config(token_url=url)
        assert caught.value.field == "token_url"
        assert caught.value.provider_name == "api"

    @pytest.mark.parametrize(
        "url",
        [
            "https://id.example.com/token",
            "https://id.example.com:8443/a/token?tenant=7",
            "HTTPS://ID.example.com/token",
            "http://localhost:8080/token",
            "http://127.0.0.1/token",
            "http://127.9.8.7:1/token",
            "http://[::1]:8080/token",
        ],
    )
    def test_token_url_taken(self, url):
        """A URL may use https for any host, and http for a loopback host."""
        assert a_config(token_url=url).token_url == url

    @pytest.mark.parametrize("scope", ['re"ad', "re\\ad", ["a b"], "naïve", "a\tb", [7], 7, b"a"])
    def test_scope_refused(self, scope):
        """A scope with characters that RFC 6749 forbids, or of another type, is refused."""
        with pytest.raises(InvalidConfigurationError, match="scope") as caught:
            a_config(scope=scope)
        assert caught.value.field == "scope"

    @pytest.mark.parametrize(
        "name",
        ["grant_type", "client_id", "client_secret", "scope", "client_assertion"],
    )
    def test_parameters_do_not_override_the_grant(self, name):
        """An additional parameter can't override one of the grant's own."""
        with pytest.raises(InvalidConfigurationError, match=name):
            a_config(additional_params={name: "x"})

    @pytest.mark.parametrize(
        "parameters",
        [
            {"a": 1.5},
            {"a": None},
            {"a": [None]},
            {"a": {"b": "c"}},
            {"a": b"c"},
            {1: "a"},
            {"": "a"},
            ["a"],
            "a",
        ],
    )
    def test_parameters_refused(self, parameters):
        """Additional parameters must be strings, integers, booleans or lists, by name."""
        with pytest.raises(InvalidConfigurationError, match="additional_params"):
            a_config(additional_params=parameters)

    def test_parameters_of_any_plain_kind(self):
        """Strings, integers and booleans are kept unchanged, lists become tuples."""
        given = {"text": "a", "number": 3, "switch": False, "list": ["a", 1, True]}
        held = a_config(additional_params=given).additional_params
        assert held == given | {"list": ("a", 1, True)}

    def test_parameters_are_held_for_good(self):
        """A later change to the argument does not affect the configuration."""
        given = {"audience": "api", "resource": ["https://a", "https://b"]}
        config = a_config(additional_params=given)
        given["audience"] = "other"
        given["resource"].append("https://c")
        assert config.additional_params == {
            "audience": "api",
            "resource": ("https://a", "https://b"),
        }
        with pytest.raises(TypeError):
            config.additional_params["audience"] = "other"

    def test_immutable(self):
        """A configuration can't be changed."""
        with pytest.raises(AttributeError):
            a_config().client_secret = "other"

    def test_repr_shows_no_secret(self):
        """The repr shows neither the secret nor the values of additional parameters."""
        config = a_config(additional_params={"password": "pw-" + SECRET})
        assert SECRET not in repr(config)
        assert "id.example.com" in repr(config)
        assert "hunter2" not in repr(a_config(token_url="https://id.example.com/t?key=hunter2"))

    def test_pickles(self):
        """A configuration can be pickled, as spawned workers receive it that way."""
        config = a_config(scope="read", additional_params={"resource": ["https://a"]})
        assert pickle.loads(pickle.dumps(config)) == config
