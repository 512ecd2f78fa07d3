"""Lifetimes at their limits, and how a member that contradicts another one is judged."""

import json

import pytest
from oauth.responses import NOW, SENT, jwt

from tokenkeeper.oauth.exchange import Expected, HttpAnswer
from tokenkeeper.oauth.json_object import read_object
from tokenkeeper.oauth.lifetime import ExpiredTokenError, Now, read_lifetime

DAY, YEAR = 86400, 365 * 86400
OURS = Now(float(NOW))


def lifetime(members, now=OURS, token="abc"):
    """Return the lifetime of *token*, granted with *members*."""
    content = read_object(HttpAnswer(200, {}, json.dumps(members).encode()))
    return read_lifetime(content, token, Expected("api", SENT.timestamp()), now)


def expired(members, now=OURS, token="abc"):
    """Return the name of the member by which the token has expired."""
    with pytest.raises(ExpiredTokenError) as caught:
        lifetime(members, now, token)
    return str(caught.value)


@pytest.mark.parametrize(
    ("theirs", "timestamp", "seconds"),
    [
        *((None, 160.0, 60.0), (None, 100.0, 0.0), (None, 40.0, -60.0)),
        *((50.0, 160.0, 110.0), (150.0, 160.0, 10.0), (150.0, 150.5, 0.5)),
        *((160.0, 160.0, 60.0), (200.0, 160.0, 60.0), (200.0, 40.0, -60.0)),
    ],
)
def test_the_time_until_a_timestamp(theirs, timestamp, seconds):
    """The server's clock decides, unless it alone has reached the timestamp."""
    assert Now(100.0, theirs).until(timestamp) == seconds


class TestTimestampsInExpiresIn:
    """A timestamp in expires_in, where a duration belongs."""

    @pytest.mark.parametrize("left", [0.5, 1, 600, YEAR])
    def test_up_to_a_year(self, left, caplog):
        """It is recognized up to a year from now, and counts as readable."""
        assert lifetime({"expires_in": NOW + left}) == left
        assert [each for each in caplog.messages if "not a number" in each] == []

    def test_a_year(self, caplog):
        """A year is the longest; the warning about it states its length."""
        lifetime({"expires_in": NOW + YEAR})
        assert "according to expires_in, tokens are valid for 365 days" in caplog.text

    def test_more_than_a_year(self, caplog):
        """A later one is a duration: with a year, and a warning about the many days it states."""
        assert lifetime({"expires_in": NOW + YEAR + 1}) == YEAR
        days = round((NOW + YEAR + 1) / DAY)
        assert f"according to expires_in, tokens are valid for {days} days" in caplog.text

    @pytest.mark.parametrize("ago", [0, 1, 600, YEAR])
    def test_the_past(self, ago):
        """One that is past, up to a year ago, means that the token has expired."""
        assert expired({"expires_in": NOW - ago}) == "expires_in"
        assert expired({"expires_in": str((NOW - ago) * 1000)}) == "expires_in"
        assert lifetime({"expires_in": NOW - ago, "expires_in_sec": 600}) == 600

    def test_longer_ago(self):
        """An earlier one is a duration, which is too long to be true."""
        assert lifetime({"expires_in": NOW - YEAR - 1}) == YEAR

    def test_a_date(self, caplog):
        """A date is as readable as a number."""
        assert lifetime({"expires_in": "2030-01-01T00:10:00Z"}) == 600
        assert not caplog.records

    def test_it_is_no_duration(self):
        """It depends on a clock, so it does not contradict another timestamp that is past."""
        late = {"expires_on": NOW - 60}
        assert expired({"expires_in": NOW + 600} | late) == "expires_on"
        assert expired({"expires_in": "2030-01-01T00:10:00Z"} | late) == "expires_on"
        assert lifetime({"expires_in": 600} | late) == 600

    def test_a_past_date(self):
        """A date that is past by our clock only does not override a duration."""
        past = {"expires_in": "2029-12-31T23:00:00Z"}
        assert lifetime(past | {"expires_in_sec": 600}) == 600
        assert expired(past) == "expires_in"


class TestDurationsInTimestamps:
    """A duration in a member that is named like a timestamp."""

    @pytest.mark.parametrize("seconds", [0.5, 1, 600])
    def test_any_positive_number(self, seconds):
        """A small number above 0 is a duration."""
        assert lifetime({"expires_on": seconds}) == seconds

    @pytest.mark.parametrize(("name", "value"), [("expires_at_ms", 600_000), ("expiry_date", 600)])
    def test_the_unit_in_the_name(self, name, value):
        """The unit in the name counts."""
        assert lifetime({name: value}) == 600

    def test_one_that_vanishes(self):
        """A duration of less than a millisecond has expired, and the error names the member."""
        assert expired({"expires_on": 0.0005}) == "expires_on"
        assert lifetime({"expires_on": 0.001}) == 0.001

    def test_it_is_a_duration(self):
        """It needs no clock, so a timestamp that is past by our clock does not override it."""
        assert lifetime({"expires_on": 600}, token=jwt(exp=NOW - 60)) == 600


class TestLocalDates:
    """A date without a time zone."""

    @pytest.mark.parametrize(
        ("date", "seconds"),
        [
            ("2029-12-31T23:59:59", 3600),
            ("2030-01-01T00:00:00", 3600),
            ("2030-01-01T00:00:00.5", 0.5),
            ("2030-01-01T00:00:01", 1),
        ],
    )
    def test_now(self, date, seconds):
        """It counts if it is still to come; otherwise it is ignored."""
        assert lifetime({"expires_at": date}) == seconds


class TestTokens:
    """The claims of a token that is a JWT."""

    def test_the_error_names_the_claims(self):
        """The error for an expired token says by which claims."""
        assert expired({}, token=jwt(exp=NOW - 60)) == "exp of the token"
        behind = Now(NOW - 600.0)
        short = jwt(iat=NOW, exp=NOW + 0.0005)
        assert expired({}, behind, token=short) == "iat and exp of the token"

    @pytest.mark.parametrize("issued", [NOW + 600, NOW + 900])
    def test_an_impossible_time_of_issue(self, issued):
        """A token that was issued when it expires, or later, is valid until it expires."""
        assert lifetime({}, token=jwt(iat=issued, exp=NOW + 600)) == 600


class TestNames:
    """The names of members."""

    @pytest.mark.parametrize("name", ["__expires_in__", "-expires-in-", ".expires_in "])
    def test_what_surrounds_a_name(self, name):
        """Separators around a name do not matter."""
        assert lifetime({name: 600}) == 600

    @pytest.mark.parametrize("name", ["X_expires_in", "expires_inX", "expires_in_X"])
    def test_other_letters(self, name):
        """A letter beside a name makes it another one."""
        assert lifetime({name: 600}) == 3600

    def test_a_long_name(self):
        """The error shows at most 40 characters of a name."""
        name = "_" * 40 + "expires_in"
        assert expired({name: 0}) == "_" * 40


def test_the_number_of_days(caplog):
    """The warning about a long lifetime states its days."""
    lifetime({"expires_in": 100_000 * DAY})
    assert "tokens are valid for 100000 days" in caplog.text
