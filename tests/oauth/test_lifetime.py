"""A token's lifetime, from everything that its response states."""

import json
import logging
from datetime import timedelta
from email.utils import format_datetime

import pytest
from oauth.responses import NOW, SENT, jwt

from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.exchange import Expected, HttpAnswer
from tokenkeeper.oauth.lifetime import LONGEST_LIFETIME_SECONDS
from tokenkeeper.oauth.token_response import parse_token_response

DAY, YEAR = 86400, 365 * 86400


def grant(members, *, date=None, sent=SENT, **expected):
    """Return the token of a response with *members* and the ``Date`` *date*."""
    if isinstance(members, dict):
        members = json.dumps({"access_token": "abc", "token_type": "Bearer"} | members)
    headers = {} if date is None else {"date": format_datetime(date, usegmt=True)}
    answer = HttpAnswer(200, headers, members.encode())
    return parse_token_response(answer, Expected("api", sent.timestamp(), **expected))


def lifetime(members, *, sent=SENT, **options):
    """Return that token's lifetime in seconds, counted from the request."""
    return (grant(members, sent=sent, **options).expires_at - sent).total_seconds()


def expired(members, **options):
    """Return the error for a response whose token has already expired."""
    with pytest.raises(TokenAcquisitionError) as caught:
        lifetime(members, **options)
    error = caught.value
    assert error.transient is True
    assert error.retry_after == 1.0
    assert error.status_code == 200
    assert "expired" in str(error)
    assert "never_expires=True" in str(error)
    assert "abc" not in str(error)
    assert error.__context__ is None
    return error


class TestExpiresIn:
    """expires_in, the member of RFC 6749."""

    @pytest.mark.parametrize(
        ("given", "seconds"),
        [
            (3600, 3600),
            (3600.0, 3600),
            (3599.5, 3599.5),
            (0.5, 0.5),
            ("3600", 3600),
            (" 3600 ", 3600),
            ("\t3600\n", 3600),
            ("+3600", 3600),
            ("3599.5", 3599.5),
            ("3600.", 3600),
            ("0" * 40 + "60", 60),
            ("3600s", 3600),
            ("3600 seconds", 3600),
            ("60m", 3600),
            ("1h", 3600),
            ("PT1H", 3600),
            ("PT3600S", 3600),
            ("3600000ms", 3600),
            (10**12, YEAR),
            (10**40, YEAR),
            (1e300, YEAR),
            ("9" * 30, YEAR),
            ("9" * 31, YEAR),
            ("9" * 5000, YEAR),
            (NOW + 1800, 1800),
            (str(NOW + 1800), 1800),
            ((NOW + 1800) * 1000, 1800),
            ("2030-01-01T00:30:00Z", 1800),
        ],
    )
    def test_forms(self, given, seconds):
        """It may be a number, text with a unit, or even a timestamp; the maximum is a year."""
        assert lifetime({"expires_in": given}) == pytest.approx(seconds, abs=1e-6)

    def test_thousands_of_digits(self):
        """A number with more digits than Python parses counts as very large."""
        assert lifetime('{"access_token": "abc", "expires_in": ' + "9" * 5000 + "}") == YEAR
        assert lifetime('{"access_token": "abc", "expires_in": 1e999}') == YEAR

    @pytest.mark.parametrize("members", [{}, {"expires_in": None}, {"expires_in": ""}])
    def test_left_out(self, members, caplog):
        """Without a lifetime the default applies: an hour, or the provider's setting."""
        assert lifetime(members) == 3600
        assert lifetime(members, default_lifetime=600.0) == 600
        assert not caplog.records

    @pytest.mark.parametrize(
        "given",
        [
            *("soon", "1e3", "inf", "nan", "1,000", "--5", ".", "3600 bananas", "0x10", "PT", "s"),
            *(
                True,
                False,
                {},
                {"seconds": 60},
                [],
                [3600],
                "\uff13\uff16\uff10\uff10",
                "9" * 5000 + "x",
            ),
        ],
    )
    def test_unreadable(self, given, caplog):
        """An unreadable lifetime is ignored with one warning; other members count."""
        warned = set()
        assert lifetime({"expires_in": given}, warned=warned) == 3600
        assert lifetime({"expires_in": given, "expires_on": NOW + 60}, warned=warned) == 60
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        (message,) = caplog.messages
        assert message == (
            "provider 'api': the server's expires_in is not a number of seconds and was ignored. "
            "If you know the lifetime of its tokens, set lifetime_seconds."
        )

    @pytest.mark.parametrize("number", ["NaN", "[NaN]", '"NaN"'])
    def test_not_a_number(self, number):
        """Something other than a number is not a lifetime."""
        assert lifetime(f'{{"access_token": "abc", "expires_in": {number}}}') == 3600

    @pytest.mark.parametrize(
        "given", [0, 0.0, -0.0, "0", " 0 ", "0" * 40, -1, "-1", -1.5, -(10**40), "-" + "9" * 40]
    )
    def test_over(self, given):
        """A token that has already expired, such as a cached one, is a transient error."""
        assert "expires_in" in str(expired({"expires_in": given}))

    def test_infinite(self):
        """Minus infinity has expired; infinity is a long lifetime."""
        expired('{"access_token": "abc", "expires_in": -Infinity}')
        assert lifetime('{"access_token": "abc", "expires_in": Infinity}') == YEAR

    def test_the_server_s_own_wait(self):
        """A Retry-After in the response sets the wait."""
        answer = HttpAnswer(200, {"retry-after": "3"}, b'{"access_token": "abc", "expires_in": 0}')
        with pytest.raises(TokenAcquisitionError) as caught:
            parse_token_response(answer, Expected("api", NOW))
        assert caught.value.retry_after == 3.0

    def test_twice(self):
        """The shorter of two counts; without a readable one, the default."""
        assert lifetime('{"access_token": "abc", "expires_in": 600, "expires_in": 3600}') == 600
        assert lifetime('{"access_token": "abc", "expires_in": 3600, "expires_in": 600}') == 600
        assert lifetime('{"access_token": "abc", "expires_in": 600, "expires_in": "x"}') == 600


class TestOtherMembers:
    """Other members with a lifetime, instead of expires_in or beside it."""

    @pytest.mark.parametrize(
        "name",
        [
            *("expires_in", "expiresIn", "ExpiresIn", "expires-in", "expiresin", "EXPIRES_IN"),
            *("expire_in", "expires", "expires_in_sec", "expires_in_secs", "expires_in_seconds"),
            *("expiresInSeconds", "expires_on", "expiresOn", "expires_at", "expiresAt", "expiry"),
            *("exp", "expiration", "expiration_time", "token_expires_in", "accessTokenExpiresIn"),
            *("access_token_expires_in", "access_token_expires_at", "expires_after", "valid_until"),
        ],
    )
    def test_seconds(self, name):
        """A member with any of these names may contain seconds from now."""
        assert lifetime({name: 600}) == 600
        assert lifetime({name: "600"}) == 600
        assert lifetime({"expires_in": 3600, name: 600}) == 600

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("expires_in_ms", 600_000),
            ("expiresInMs", "600000"),
            ("expires_in_millis", 600_000),
            ("expiresInMilliseconds", 600_000),
            ("expires_in_minutes", 10),
        ],
    )
    def test_a_unit_in_the_name(self, name, value):
        """A unit in the name is the unit of the value."""
        assert lifetime({name: value}) == 600

    @pytest.mark.parametrize(
        "name",
        [
            *("expires_on", "expires_at", "expiresAt", "expires", ".expires", "exp", "expireTime"),
            *("expirationTimestamp", "expiry_ts", "tokenExpirationDate", "access_token_expiry"),
            *("expires_at_utc", "expires_at_ms", "expires_on_date", "validTo", "not_after"),
        ],
    )
    @pytest.mark.parametrize(
        "value",
        [
            *(NOW + 600, str(NOW + 600), f" {NOW + 600} ", float(NOW + 600), (NOW + 600) * 1000),
            *(str((NOW + 600) * 1000), (NOW + 600) * 10**6, (NOW + 600) * 10**9),
            *("2030-01-01T00:10:00Z", "2030-01-01T00:10:00+00:00", "2030-01-01T01:10:00+01:00"),
            *("2030-01-01T00:10:00", "2030-01-01 00:10:00", "2030-01-01 00:10:00 UTC"),
            *("2030-01-01 00:10:00 +00:00", "2030-01-01T00:10:00.000Z", "20300101T001000Z"),
            *("2030-01-01T00:10:00.0000000Z", "2029-12-31T19:10:00-0500"),
            *("Tue, 01 Jan 2030 00:10:00 GMT", "Tue, 01 Jan 2030 01:10:00 +0100"),
            *("Tuesday, 01-Jan-30 00:10:00 GMT", "Tue Jan  1 00:10:00 2030"),
            *("1/1/2030 12:10:00 AM +00:00", "01/01/2030 00:10:00", "01/01/2030 00:10:00 +00:00"),
            *("12/31/2029 07:10:00 PM -05:00", f"/Date({(NOW + 600) * 1000})/"),
        ],
    )
    def test_moments(self, name, value):
        """A timestamp is read in every format that servers use; without a time zone it is UTC."""
        assert lifetime({name: value}) == 600
        assert lifetime({name: value, "expires_in": 3600}) == 600
        assert lifetime({name: value, "expires_in": 60}) == 60

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *(("expires_on", value) for value in (0, "0", -1, "", None, "never", "soon", {}, [])),
            *(("expires_at", value) for value in (True, "0001-01-01T00:00:00", "1970-01-01")),
            *(("expires", value) for value in (0, "Mon, 99 Foo 2030", "13/13/2030 00:00:00")),
            *(("expires_in_sec", value) for value in (0, "0", -1, None, "x")),
            ("expires_at", "9999-99-99T00:00:00Z"),
            ("expires_at", "9" * 5000),
            ("expires_at", "9" * 5000 + "x"),
            ("expires_at", float("inf")),
        ],
    )
    def test_members_that_say_nothing(self, name, value):
        """A 0, a date long ago and an unreadable value are ignored; other members count."""
        assert lifetime({name: value, "expires_in": 600}) == 600
        if name != "expires_in_sec":
            assert lifetime({name: value}) == 3600

    @pytest.mark.parametrize(
        "name",
        [
            *("ext_expires_in", "extExpiresIn", "refresh_expires_in", "refresh_token_expires_in"),
            *("x_refresh_token_expires_in", "refreshTokenExpiresAt", "id_token_expires_in"),
            *("refresh_token_expires_at", "session_expires_in", "not_before", "issued_at", "age"),
            *("expires_reason", "expired", "password_expires_on", "experience", "export"),
        ],
    )
    def test_members_of_something_else(self, name):
        """The expiry of something other than the access token does not count."""
        for value in (60, NOW + 60):
            assert lifetime({name: value}) == 3600
            assert lifetime({name: value, "expires_in": 600}) == 600

    @pytest.mark.parametrize(
        "date", ["2029-12-31T19:10:00", "2029-12-31 19:10:00", "12/31/2029 07:10:00 PM"]
    )
    def test_a_local_time(self, date):
        """A past date without a time zone is ignored, as its zone is unknown."""
        assert lifetime({"expires_at": date, "expires_in": 600}, date=SENT) == 600
        assert lifetime({"expires_at": date}, date=SENT) == 3600
        expired({"expires_at": f"{date} +00:00", "expires_in": 600}, date=SENT)

    @pytest.mark.parametrize(
        "never",
        ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59.9999999Z", 253402300799, 253402300799000],
    )
    def test_a_date_that_means_never(self, never):
        """The last date of a calendar, which means "never", is far away and not long past."""
        assert lifetime({"expires_at": never, "expires_in": 600}, date=SENT) == 600
        assert lifetime({"expires_at": never}, date=SENT) == YEAR

    def test_a_name_without_end(self):
        """A long member name does not make the message long."""
        assert len(str(expired({"-" * 100_000 + "expires_in": 0}))) < 500

    def test_over(self):
        """A token that has expired according to another member is a transient error too."""
        assert "expiresIn" in str(expired({"expiresIn": 0}))
        assert "expire_seconds" in str(expired({"expire_seconds": 0}))
        assert "expires_in" in str(expired({"expires_in": 0, "expires_in_sec": 600}))
        assert "expires_on" in str(expired({"expires_on": NOW - 5}))
        assert "expires_on" in str(expired({"expires_on": NOW - 5, "expires_in": 3600}, date=SENT))


class TestJwt:
    """An access token that contains its own expiry."""

    def test_exp_is_the_lifetime_where_nothing_else_is_said(self):
        """The claim counts like a member."""
        assert lifetime({"access_token": jwt(exp=NOW + 600)}) == 600
        assert lifetime({"access_token": jwt(exp=NOW + 600.5)}) == 600.5
        assert lifetime({"access_token": jwt(exp=str(NOW + 600), iat=NOW)}) == 600
        assert lifetime({"access_token": jwt(exp=NOW + 600, iat=NOW + 900)}, date=SENT) == 600

    @pytest.mark.parametrize(("said", "exp", "seconds"), [(3600, 600, 600), (60, 600, 60)])
    def test_the_shorter_counts(self, said, exp, seconds):
        """The shorter of the claim and the response's members applies."""
        assert lifetime({"expires_in": said, "access_token": jwt(exp=NOW + exp)}) == seconds

    @pytest.mark.parametrize(
        "token",
        [
            *("a.b.c", "1000.abc.def", "..", "a..b", "eyJ.eyJ.x", "e30.e30.", "W10.W10.x"),
            *(jwt(), jwt(exp=None), jwt(exp=0), jwt(exp=-5), jwt(exp=True), jwt(exp="soon")),
            *(jwt(exp=[NOW + 60]), jwt(exp={}), jwt(exp=1e300), jwt(exp=NOW + 60) + ".x.y"),
            jwt(exp=NOW + 60).split(".", 1)[1] + ".x",
            "e30." + jwt(exp=NOW + 60).split(".", 1)[1],
            jwt(exp=NOW + 60).replace(".", "!", 1),
            "eyJhbGciOiJub25lIn0." + "A" * 100_001 + ".x",
        ],
    )
    def test_what_is_not_a_jwt_with_an_expiry(self, token):
        """A token that only resembles a JWT is treated as opaque."""
        assert lifetime({"access_token": token, "expires_in": 600}) == 600

    def test_claims_that_are_odd_elsewhere(self):
        """A deeply nested claim does not hide the expiry."""
        token = jwt(deep=json.loads("[" * 500 + "]" * 500), exp=NOW + 60)
        assert lifetime({"access_token": token, "expires_in": 600}) == 60

    def test_one_that_was_served_before(self):
        """The lifetime of a cached JWT is its remaining time, not its total."""
        token = jwt(iat=NOW - 3000, exp=NOW + 600)
        assert lifetime({"access_token": token, "expires_in": 3600}, date=SENT) == 600
        old = jwt(iat=NOW - 3700, exp=NOW - 100)
        expired({"access_token": old, "expires_in": 3600}, date=SENT)


class TestMilliseconds:
    """Lifetimes in milliseconds."""

    @pytest.mark.parametrize(
        "members",
        [
            {"expires_in": 3_600_000, "expires_in_sec": 3600},
            {"expires_in": "3600000", "expires_in_sec": "3600"},
            {"expires_in": 3_600_000, "expires_at": NOW + 3600},
            {"expires_in": 3_600_000, "expires_on": (NOW + 3600) * 1000},
            {"expires_in": 3_600_000, "access_token": jwt(exp=NOW + 3600)},
            {"expires_in": 3_600_000, "access_token": jwt(exp=NOW + 3600, iat=NOW)},
        ],
    )
    def test_recognized(self, members, caplog):
        """They are recognized if another member or the token contradicts them."""
        assert lifetime(members) == 3600
        assert not caplog.records

    def test_doubted(self, caplog):
        """More than 30 days are accepted, with one warning that names the option."""
        warned = set()
        for _ in range(3):
            assert lifetime({"expires_in": 3_600_000}, warned=warned) == 3_600_000
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert "'api'" in caplog.text
        assert "42 days" in caplog.text
        assert "lifetime_seconds" in caplog.text

    @pytest.mark.parametrize(
        ("members", "source", "days"),
        [
            ({"expires_in": 31 * DAY}, "expires_in", "31"),
            ({"expires_on": NOW + 100 * DAY}, "the response", "100"),
            ({"access_token": jwt(exp=NOW + 31 * DAY)}, "the response", "31"),
            ({"expires_in": 1e300}, "expires_in", "1000000"),
        ],
    )
    def test_what_the_doubt_says(self, members, source, days, caplog):
        """The warning says where the lifetime comes from, how long it is, and what to do."""
        lifetime(members)
        (message,) = caplog.messages
        assert message == (
            f"provider 'api': according to {source}, tokens are valid for {days} days. If the "
            "server means milliseconds, set lifetime_seconds to the true lifetime."
        )

    @pytest.mark.parametrize(("days", "warnings"), [(29, 0), (30, 0), (31, 1), (10**9, 1)])
    def test_the_limit(self, days, warnings, caplog):
        """Up to 30 days there is no warning."""
        lifetime({"expires_in": days * DAY})
        assert len(caplog.records) == warnings

    def test_the_longest(self):
        """A lifetime is at most a year."""
        assert LONGEST_LIFETIME_SECONDS == YEAR
        assert lifetime({"expires_in": 10 * YEAR}) == YEAR
        assert lifetime({"expires_at": "2099-01-01T00:00:00Z"}) == YEAR
        assert lifetime({}, default_lifetime=1e12) == YEAR


class TestOptions:
    """The provider's options that override the response."""

    @pytest.mark.parametrize(
        "members",
        [
            {},
            {"expires_in": 3600},
            {"expires_in": 0},
            {"expires_in": -1},
            {"expires_in": 3_600_000},
            {"expires_in": "soon"},
            {"expires_at": NOW - 60},
            {"access_token": jwt(exp=NOW + 60)},
            {"access_token": jwt(exp=NOW - 60)},
        ],
    )
    def test_lifetime_seconds(self, members, caplog):
        """It overrides the whole response, without a warning."""
        assert lifetime(members, lifetime_seconds=600.0) == 600
        assert lifetime(members, lifetime_seconds=600.0, never_expires=True, date=SENT) == 600
        assert lifetime(members, lifetime_seconds=1e12) == YEAR
        assert not caplog.records

    @pytest.mark.parametrize("value", [0, -1, "0", "-1", None, "", "x"])
    @pytest.mark.parametrize("name", ["expires_in", "expiresIn", "expires_on", "expires"])
    def test_never_expires(self, name, value):
        """If 0, -1 or nothing means never, the token is renewed daily."""
        assert lifetime({name: value}, never_expires=True) == DAY

    def test_never_expires_believes_a_lifetime(self):
        """A stated lifetime still counts."""
        assert lifetime({}, never_expires=True) == DAY
        assert lifetime({"expires_in": 600}, never_expires=True) == 600
        token = jwt(exp=NOW + 600)
        assert lifetime({"expires_in": 0, "access_token": token}, never_expires=True) == 600


class TestClocks:
    """Our clock, the server's clock, and which of them decides."""

    @pytest.mark.parametrize("ahead", [-7200, -600, 0, 600, 3000, 7200, 10 * DAY])
    @pytest.mark.parametrize(
        "members",
        [
            {"expires_on": NOW + 600},
            {"expires_at": "2030-01-01T00:10:00Z"},
            {"access_token": jwt(exp=NOW + 600)},
            {"access_token": jwt(exp=NOW + 600, iat=NOW), "expires_in": 600},
            {"expires_on": NOW + 600, "expires_in": 3600},
        ],
    )
    def test_the_server_s_clock_counts(self, members, ahead):
        """A timestamp is compared with the response's Date, whatever our clock shows."""
        sent = SENT + timedelta(seconds=ahead)
        assert lifetime(members, sent=sent, date=SENT) == 600

    @pytest.mark.parametrize("ahead", [600, 7200, 10 * DAY])
    @pytest.mark.parametrize("member", ["expires_on", "exp"])
    def test_our_clock_alone_kills_no_token(self, member, ahead):
        """Without a Date, a timestamp that is past by our clock does not override expires_in."""
        members = {"expires_in": 600}
        members |= (
            {"expires_on": NOW + 600}
            if member == "expires_on"
            else {"access_token": jwt(exp=NOW + 600, iat=NOW)}
        )
        assert lifetime(members, sent=SENT + timedelta(seconds=ahead)) == 600

    def test_a_clock_that_is_behind(self):
        """Without a Date, a JWT's lifetime is at most from its issue to its expiry."""
        token = jwt(exp=NOW + 600, iat=NOW)
        assert lifetime({"access_token": token}, sent=SENT - timedelta(hours=2)) == 600

    def test_past_by_our_clock_and_nothing_else_said(self):
        """If a past timestamp is the only statement, the token has expired."""
        expired({"expires_on": NOW - 60})
        expired({"access_token": jwt(exp=NOW - 60, iat=NOW - 3660)})

    def test_a_proxy_with_a_wrong_date(self):
        """A Date after the expiry is ignored if our clock contradicts it."""
        token = jwt(exp=NOW + 600, iat=NOW)
        late = SENT + timedelta(days=1)
        assert lifetime({"access_token": token, "expires_in": 600}, date=late) == 600

    @pytest.mark.parametrize("date", ["soon", "", "0", "Tue, 99 Jan 2030 00:00:00 GMT"])
    def test_a_date_that_is_none(self, date):
        """With an unreadable Date, our clock decides."""
        body = json.dumps({"access_token": "abc", "expires_on": NOW + 600}).encode()
        token = parse_token_response(HttpAnswer(200, {"date": date}, body), Expected("api", NOW))
        assert token.expires_on == NOW + 600


class TestRefresh:
    """When the server wants the token renewed."""

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *(("refresh_in", value) for value in (1800, "1800", " 1800 ", 1800.0, "30m")),
            *(("refreshIn", 1800), ("refresh_after", 1800), ("renew_in", 1800)),
            *(("refresh_on", NOW + 1800), ("refresh_on", str(NOW + 1800))),
            *(("refreshOn", (NOW + 1800) * 1000), ("refresh_at", "2030-01-01T00:30:00Z")),
        ],
    )
    def test_refresh_at(self, name, value):
        """It becomes the token's refresh_at, and is not a lifetime."""
        token = grant({"expires_in": 3600, name: value})
        assert token.refresh_at == SENT + timedelta(seconds=1800)
        assert token.expires_at == SENT + timedelta(seconds=3600)

    @pytest.mark.parametrize(
        "members",
        [
            *({"refresh_in": value} for value in (0, -1, None, "", "soon", True, {}, 3600, 7200)),
            *({"refresh_on": value} for value in (0, NOW - 1, NOW + 3600, "x")),
            *({"refresh_expires_in": 60}, {"refresh_token_expires_in": 60}, {"refresh": 60}, {}),
        ],
    )
    def test_none(self, members):
        """One that is unreadable, past, or after the expiry is ignored."""
        assert grant({"expires_in": 3600} | members).refresh_at is None

    def test_the_earliest_counts(self):
        """The earlier of two counts."""
        token = grant({"expires_in": 3600, "refresh_in": 1800, "refresh_on": NOW + 600})
        assert token.refresh_at == SENT + timedelta(seconds=600)

    def test_by_the_server_s_clock(self):
        """A timestamp on the server's clock is converted to ours."""
        late = SENT + timedelta(hours=5)
        token = grant({"expires_in": 3600, "refresh_on": NOW + 1800}, date=SENT, sent=late)
        assert token.refresh_at == late + timedelta(seconds=1800)
