"""Reads durations and timestamps in the many formats that servers use."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any

__all__ = ["as_duration", "as_number", "as_timestamp", "is_local_date", "seconds_in"]

_NUMBER = r"[+-]?[0-9]{1,30}(?:\.[0-9]{0,30})?"
_ENORMOUS = r"([+-]?)(?=[0-9])0*+([0-9]*+)(?:\.[0-9]*)?"
_WITH_UNIT = r"(?i:(?:PT)?([0-9]{1,30}(?:\.[0-9]{1,30})?) ?([a-z]{1,12}))"
_SECONDS_IN = (
    dict.fromkeys(("ms", "msec", "milli", "millisecond"), 0.001)
    | dict.fromkeys(("s", "sec", "second"), 1.0)
    | dict.fromkeys(("m", "min", "minute"), 60.0)
    | dict.fromkeys(("h", "hr", "hour"), 3600.0)
    | dict.fromkeys(("d", "day"), 86400.0)
)
_US_DATE = (
    r"(?ai:(?P<month>\d{1,2})/(?P<day>\d{1,2})/(?P<year>\d{4}),? "
    r"(?P<hour>\d{1,2}):(?P<minute>\d\d):(?P<second>\d\d) ?(?P<half>[AP]M)?"
    r" ?(?P<zone>(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d)|Z|UTC|GMT)?)"
)
_DOTNET_DATE = r"/Date\((?P<number>[0-9]{1,15})(?:[+-][0-9]{4})?\)/"

_LONGEST_TEXT = 100
_FIRST_EPOCH = 5e8
"""A smaller number, before 1985, is not a timestamp. Nor is an earlier date: the years 1 and 1970
mean "no date"."""
_FIRST_MILLISECONDS = 1000 * _FIRST_EPOCH
"""A smaller number is in seconds, even in the year 9999, which means "never"."""


def as_number(value: Any) -> float | None:
    """Return *value* as a number, possibly infinite, or ``None`` if it is not one."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return None if math.isnan(value) else float(value)
    if not isinstance(value, str):
        return None
    text = value.strip()
    if re.fullmatch(_NUMBER, text):
        return float(text)
    if text and (enormous := re.fullmatch(_ENORMOUS, text)):
        sign, digits = enormous.groups()
        return float(f"{sign}{digits or 0}") if len(digits) < 300 else float(f"{sign}inf")
    return None


def seconds_in(unit: str) -> float | None:
    """Return the length of *unit*, such as "ms" or "Minutes", in seconds, or ``None``."""
    unit = unit.lower()
    return _SECONDS_IN.get(unit) or _SECONDS_IN.get(unit.removesuffix("s"))


def as_duration(value: Any) -> float | None:
    """Return *value* as a number of seconds, possibly infinite, or ``None``.

    A number is in seconds. Text may have a unit, as in "3600s", "1h" or "PT1H".
    """
    number = as_number(value)
    if number is None and isinstance(value, str) and len(value) <= _LONGEST_TEXT:
        found = re.fullmatch(_WITH_UNIT, value.strip())
        unit = seconds_in(found[2]) if found else None
        if found and unit:
            return float(found[1]) * unit
    return number


def as_timestamp(value: Any) -> float | None:
    """Return *value* as seconds since the epoch, or ``None``.

    It may be a number of seconds, milliseconds, microseconds or nanoseconds, or a date in the
    format of ISO 8601, of HTTP, of the US or of .NET. A date without a time zone is read as UTC.
    """
    number = as_number(value)
    if number is None and (date := _date(value)):
        number = date.replace(tzinfo=date.tzinfo or UTC).timestamp()
    if number is None or not _FIRST_EPOCH <= number < math.inf:
        return None
    while number >= _FIRST_MILLISECONDS:
        number /= 1000
    return number


def is_local_date(value: Any) -> bool:
    """Return whether *value* is a date without a time zone."""
    date = _date(value)
    return date is not None and date.tzinfo is None


def _date(value: Any) -> datetime | None:
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT or as_number(value) is not None:
        return None
    text = value.strip()
    for read in (_iso_date, _us_date, _dotnet_date, parsedate_to_datetime):
        try:
            date = read(text)
            if date is not None:
                return date
        except (ValueError, TypeError, IndexError, OverflowError):
            pass  # it has another format
    return None


def _iso_date(text: str) -> datetime | None:
    # fromisoformat() takes neither a space before the zone nor a name for it.
    text = re.sub(r" ?(?:UTC|GMT|Z)$", "+00:00", text, flags=re.IGNORECASE)
    return datetime.fromisoformat(re.sub(r" (?=[+-]\d\d:?\d\d$)", "", text))


def _us_date(text: str) -> datetime | None:
    found = re.fullmatch(_US_DATE, text)
    if not found:
        return None
    hour = int(found["hour"])
    if found["half"]:
        hour = hour % 12 + (12 if found["half"].upper() == "PM" else 0)
    offset = timedelta(hours=int(found["hours"] or 0), minutes=int(found["minutes"] or 0))
    zone = timezone(-offset if found["sign"] == "-" else offset) if found["zone"] else None
    return datetime(
        int(found["year"]),
        int(found["month"]),
        int(found["day"]),
        hour,
        int(found["minute"]),
        int(found["second"]),
        tzinfo=zone,
    )


def _dotnet_date(text: str) -> datetime | None:
    found = re.fullmatch(_DOTNET_DATE, text)
    return datetime.fromtimestamp(int(found["number"]) / 1000, UTC) if found else None
