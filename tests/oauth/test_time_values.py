"""Durations and timestamps, value by value; tests/oauth/test_lifetime.py has them in responses."""

import math
from datetime import UTC, datetime

import pytest

from tokenkeeper.oauth.time_values import (
    as_duration,
    as_number,
    as_timestamp,
    is_local_date,
    seconds_in,
)

MOMENT = int(datetime(2030, 1, 1, 0, 10, 7, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("value", "number"),
    [
        *((7, 7.0), (-7.5, -7.5), ("7", 7.0), (" +7.5 ", 7.5), ("-0", 0.0), ("7.", 7.0)),
        *((math.inf, math.inf), ("9" * 31, float("9" * 31)), ("-" + "9" * 31, -float("9" * 31))),
        *(("9" * 299, float("9" * 299)), ("9" * 300, math.inf), ("-" + "9" * 400, -math.inf)),
        *(("0" * 400, 0.0), ("0" * 400 + "7", 7.0), ("-" + "0" * 400, 0.0)),
        *((True, None), (False, None), (math.nan, None), (None, None), ([7], None), (b"7", None)),
        *(("", None), (" ", None), (".", None), ("x", None), ("7x", None), ("1e3", None)),
    ],
    ids=lambda each: repr(each)[:20],
)
def test_numbers(value, number):
    """A number may be text, of any length; a boolean and a NaN are not numbers."""
    assert as_number(value) == number


@pytest.mark.parametrize(
    ("unit", "seconds"),
    [
        *(("ms", 0.001), ("msec", 0.001), ("millis", 0.001), ("Milliseconds", 0.001)),
        *(("s", 1), ("sec", 1), ("SECS", 1), ("seconds", 1), ("m", 60), ("min", 60)),
        *(("mins", 60), ("minutes", 60), ("h", 3600), ("hrs", 3600), ("hours", 3600)),
        *(("d", 86400), ("Days", 86400), ("weeks", None), ("", None), ("ss", 1)),
    ],
)
def test_units(unit, seconds):
    """A unit may be short or long, in the plural, and in any case."""
    assert seconds_in(unit) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        *((7, 7), ("7", 7), ("7s", 7), ("7.5 min", 450), (" pt2h ", 7200), ("PT1D", 86400)),
        ("7" + " " * 98 + "s", None),
        ("7s".rjust(100), 7),  # the longest text that is read
        ("7s".rjust(101), None),
        *(("7 weeks", None), ("s", None), ("-7s", None), ("7  s", None), (None, None)),
    ],
)
def test_durations(value, seconds):
    """A duration is a number of seconds, or text with a unit."""
    assert as_duration(value) == seconds


@pytest.mark.parametrize(
    "value",
    [
        *(MOMENT, float(MOMENT), str(MOMENT), MOMENT * 10**3, MOMENT * 10**6, MOMENT * 10**9),
        *("2030-01-01T00:10:07Z", "2030-01-01t00:10:07z", "20300101T001007Z"),
        *("2030-01-01 00:10:07 UTC", "2030-01-01 00:10:07 gmt", "2030-01-01T00:10:07"),
        *("2030-01-01T05:40:07+05:30", "2030-01-01 05:40:07 +0530", "2029-12-31T19:10:07 -05:00"),
        "2029-12-31T19:10:07.0 -05:00",
        *("Tue, 01 Jan 2030 00:10:07 GMT", "Tue, 01 Jan 2030 05:40:07 +0530"),
        *("1/1/2030 12:10:07 AM", "01/01/2030 00:10:07", "1/1/2030, 12:10:07 am utc"),
        *("1/1/2030 5:40:07 AM +05:30", "12/31/2029 6:40:07 pm -0530", "1/1/2030 0:10:07Z"),
        *("1/1/2030 12:10:07 PM +12:00", "1/1/2030 3:10:07 AM +03:00"),
        *(f"/Date({MOMENT}000)/", f"/Date({MOMENT}000+0200)/"),
        "2030-01-01T00:10:07Z".rjust(100),  # the longest text that is read
    ],
)
def test_timestamps(value):
    """A timestamp may have any of these formats; without a zone it is UTC."""
    assert as_timestamp(value) == MOMENT


@pytest.mark.parametrize(
    ("value", "timestamp"),
    [(5e8, 5e8), (5e8 - 1, None), (5e11 - 1, 5e11 - 1), (5e11, 5e8), (5e14, 5e8), (5e17, 5e8)],
)
def test_small_and_large_timestamps(value, timestamp):
    """A small number is not a timestamp; a large one is not in seconds."""
    assert as_timestamp(value) == timestamp


@pytest.mark.parametrize(
    "value",
    [
        *(
            None,
            True,
            [],
            "",
            "soon",
            0,
            -1,
            math.inf,
            "9" * 400,
            "1970-01-01",
            "13/13/2030 00:00:00",
        ),
        *(
            "2030-01-01T00:10:07Z".rjust(101),
            "2030-99-99",
            "/Date(x)/",
            "0001-01-01T00:00:00+23:00",
        ),
    ],
    ids=lambda each: repr(each)[:20],
)
def test_what_is_not_a_timestamp(value):
    """Anything else is not a timestamp."""
    assert as_timestamp(value) is None


@pytest.mark.parametrize(
    ("value", "is_local"),
    [
        *(("2030-01-01T00:10:07", True), ("1/1/2030 12:10:07 AM", True), ("2030-01-01", True)),
        *(("2030-01-01T00:10:07Z", False), ("1/1/2030 12:10:07 AM Z", False)),
        *((f"/Date({MOMENT}000)/", False), ("Tue, 01 Jan 2030 00:10:07 GMT", False)),
        *((str(MOMENT), False), ("20300101", False), (MOMENT, False), ("soon", False)),
        *((None, False), ("2030-01-01".rjust(101), False), ("2030-01-01".rjust(100), True)),
    ],
)
def test_dates_without_a_zone(value, is_local):
    """Only a date without a time zone is local; a number, even as text, is not a date."""
    assert is_local_date(value) is is_local
