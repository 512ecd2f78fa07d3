"""What an error takes from the headers."""

import time
from datetime import timedelta
from email.utils import format_datetime

import pytest
from oauth.responses import SENT, refused

from tokenkeeper.oauth.token_errors import retry_after


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
        ("\t7 ", 7),
        ("\v7", None),
        ("X7", None),
        ("1000000000", 1e9),
        ("-1", None),
        ("abc", None),
        ("", None),
        ("NaN", None),
        ("9" * 400, None),
        ("Tue, 01 Jan 2030 00:02:00 GMT", 120),
        ("Tue, 01 Jan 2030 00:02:00 -0100", 3720),
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
