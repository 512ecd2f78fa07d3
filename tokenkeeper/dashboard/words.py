"""Puts a snapshot into words and positions: everything that the page shows, as texts.

The server fills the page with them once. The page's script then fills the same places with newer
ones, so the markup and the words exist once.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

from tokenkeeper.dashboard.history import Tally, Trend
from tokenkeeper.dashboard.snapshots import SHARE_OF_TIME, Snapshot
from tokenkeeper.stores.views import ClaimView, FailureView, RecordView, StoreOverview

__all__ = ["duration", "page_texts", "record_texts"]

BAR_WIDTH = 1000
NARROWEST = 6
"""The width of the marker, and of the last zone at least, so that people see them."""
TREND_HEIGHT = 30
TREND_STEP = 4
TREND_MINUTES = 60
EXACT_MINUTES = 10
"""A duration is shown with its seconds if it is shorter than this."""

LONG_PAUSE_SECONDS = 30.0
"""A page that changes less often says so: what it shows may be that old."""

CENTURY_SECONDS = 100 * 365.25 * 86400

STATE_WORDS = {
    "fresh": "fresh",
    "renewing": "renewing",
    "expired": "expired",
    "none": "no token",
    "unreadable": "unreadable",
}


def page_texts(snapshot: Snapshot, title: str) -> dict[str, str]:
    """Return what the page shows around the records."""
    overview = snapshot.overview
    problems = sum(each.level == "problem" for each in overview.records) if overview else 0
    known = f"Last known state, read {_ago(snapshot.outdated_seconds)}."
    return {
        "title": f"({problems}) {title}" if problems else title,
        "heading": title,
        "store": overview.label if overview else "",
        "error": _error(snapshot.error),
        "known": (known if snapshot.error else _pace(snapshot.read_seconds)) if overview else "",
        "freshness": "outdated" if snapshot.error else "current",
        "summary": _summary(overview) if overview else "",
        "totals": _totals(overview) if overview else "",
        "read": f"Read at {_moment(snapshot.read_at_wall)}" if overview else "",
        "trend": _trend(snapshot.trend) if overview else "",
        "trend_requests": _columns([each.requests for each in snapshot.trend.minutes]),
        "empty": "The store has no records." if overview and not overview.records else "",
        "more": _more(overview) if overview else "",
    }


def record_texts(record: RecordView, snapshot: Snapshot) -> dict[str, str]:
    """Return what the page shows of a record."""
    return {
        "key": record.key,
        "short_key": record.key[:12],
        "level": record.level,
        "row_class": f"record {record.level}",
        "provider": record.provider_name or "unknown token",
        "parameters": " ".join(f"{name}={value}" for name, value in record.parameters.items()),
        "state": STATE_WORDS[record.state],
        "state_class": f"state {record.state}",
        **_bar(record),
        "life": _life(record),
        "renewal": _renewal(record),
        "generation": str(record.generation),
        "renewed": _ago(record.age_seconds) if record.age_seconds is not None else "",
        "renewed_at": _moment(snapshot.read_at_wall - record.age_seconds)
        if record.age_seconds is not None
        else "",
        "renewed_by": record.granted_to and f"by {record.granted_to}",
        "claim": _claim(record.claim) if record.claim else "",
        "requests": _tally(snapshot.trend.by_key.get(record.key, Tally())),
        "unreadable": _sentence(record.unreadable),
        "clocks": _clocks(record),
        "failure": record.failure.message if record.failure else "",
        "failure_details": _failure_details(record.failure) if record.failure else "",
    }


def duration(seconds: float) -> str:
    """Return *seconds* in words, about as exact as people need it."""
    if seconds > CENTURY_SECONDS:
        return "more than 100 years"
    # Differences of clock readings fall short of whole seconds by a rounding error.
    minutes, rest = divmod(max(0, math.floor(seconds + 0.01)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes:02} min" if minutes else f"{hours} h"
    if minutes >= EXACT_MINUTES or (minutes and not rest):
        return f"{minutes} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _ago(seconds: float) -> str:
    return f"{duration(seconds)} ago"


def _moment(wall_time: float) -> str:
    try:
        moment = datetime.fromtimestamp(wall_time, UTC)
    except (ValueError, OverflowError, OSError):  # a token that is older than the calendar
        return ""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "…")) or not text else ".")


def _count(number: float, what: str) -> str:
    text = f"{number:,.0f}"
    return f"{text} {what}" if text == "1" else f"{text} {what}s"


def _error(reason: str) -> str:
    if not reason or reason.startswith("the store "):  # as our own stores say
        return _sentence(reason)
    return f"The store can't be read: {reason}"


def _pace(read_seconds: float) -> str:
    pause = SHARE_OF_TIME * read_seconds
    if pause < LONG_PAUSE_SECONDS:
        return ""
    takes = f"Reading the store takes {duration(read_seconds)}"
    return f"{takes}, so this page changes every {duration(pause)}."


def _summary(overview: StoreOverview) -> str:
    levels = [each.level for each in overview.records]
    problems, warnings = levels.count("problem"), levels.count("warning")
    if not levels:
        return "No tokens"
    if not (problems or warnings):
        return "No problems shown" if _is_partial(overview) else "No problems"
    found = [_count(problems, "problem")] if problems else []
    return ", ".join([*found, *([_count(warnings, "warning")] if warnings else [])])


def _totals(overview: StoreOverview) -> str:
    totals = overview.totals
    counts = {
        "fresh": totals.fresh,
        "renewing": totals.renewing,
        "expired": totals.expired,
        "without a token": totals.without_token,
        "unreadable": totals.unreadable,
        "being requested": totals.claims,
        "with a failure": totals.failures,
    }
    shown = [f"{number:,} {what}" for what, number in counts.items() if number]
    records = _count(totals.records, "record")
    if _is_partial(overview):
        records = f"{totals.shown:,} of {records}"
    return ": ".join(filter(None, [records, ", ".join(shown)]))


def _is_partial(overview: StoreOverview) -> bool:
    return overview.totals.shown < overview.totals.records


def _more(overview: StoreOverview) -> str:
    totals = overview.totals
    if not _is_partial(overview):
        return ""
    return f"Showing {totals.shown:,} of {totals.records:,} records, the first by their keys."


def _trend(trend: Trend) -> str:
    if trend.seconds < 1:
        return "Counting requests and new tokens from now on"
    fleet, period = trend.fleet, f"in the last {duration(trend.seconds)}"
    if not fleet.tokens:
        return f"{_count(fleet.requests, 'request')} and no new token {period}"
    ratio = fleet.requests / fleet.tokens
    requests, tokens = _count(fleet.requests, "request"), _count(fleet.tokens, "new token")
    return f"{ratio:.2f} requests per need: {requests} for {tokens} {period}"


def _tally(tally: Tally) -> str:
    if not (tally.requests or tally.tokens):
        return "-"
    return f"{tally.requests:,.0f} for {tally.tokens:,.0f}"


def _columns(values: list[float]) -> str:
    """Return a path of columns, one for each minute, the last at the right edge."""
    highest = max(values, default=0.0) or 1.0
    first = TREND_STEP * (TREND_MINUTES - len(values))
    path = []
    for index, value in enumerate(values):
        height = round(TREND_HEIGHT * value / highest, 1)
        if height:
            left = first + TREND_STEP * index
            path.append(f"M{left} {TREND_HEIGHT}v-{height:g}h{TREND_STEP - 1}v{height:g}z")
    return "".join(path)


def _bar(record: RecordView) -> dict[str, str]:
    """Return the positions of a life's zones, of which the whole has the width 1,000."""
    times, age = record.deadlines, record.age_seconds
    if times is None or not times.ends_at:
        names = ("fresh_width", "buffer_x", "buffer_width", "margin_x", "margin_width", "past")
        absent = dict.fromkeys((*names, "now_x"), "0")
        return {"bar_class": "bar absent", "bar_label": "", **absent}
    stale = min(round(BAR_WIDTH * times.stale_at / times.ends_at), BAR_WIDTH - NARROWEST)
    dead = min(round(BAR_WIDTH * times.dead_at / times.ends_at), BAR_WIDTH - NARROWEST)
    now = BAR_WIDTH if age is None else round(min(BAR_WIDTH, BAR_WIDTH * age / times.ends_at))
    return {
        "bar_class": "bar",
        "bar_label": f"{STATE_WORDS[record.state]}, {_life(record)}",
        "fresh_width": str(stale),
        "buffer_x": str(stale),
        "buffer_width": str(dead - stale),
        "margin_x": str(dead),
        "margin_width": str(BAR_WIDTH - dead),
        "past": str(now),
        "now_x": str(min(now, BAR_WIDTH - NARROWEST)),
    }


def _life(record: RecordView) -> str:
    if record.lifetime_seconds is None:
        return ""
    whole = duration(record.lifetime_seconds)
    if record.age_seconds is None or record.remaining_seconds is None:
        return f"lifetime {whole}, age unknown because the store's clock was restarted"
    if record.state == "expired" and record.remaining_seconds > 0:
        return f"no longer used, expires in {duration(record.remaining_seconds)}"
    if record.remaining_seconds <= 0:
        return f"expired {_ago(-record.remaining_seconds)} after {whole}"
    return f"{duration(record.remaining_seconds)} of {whole} left"


def _renewal(record: RecordView) -> str:
    if record.deadlines is None or record.age_seconds is None or record.state == "expired":
        return ""
    left = record.deadlines.renew_at - record.age_seconds
    return f"renewal in {duration(left)}" if left > 0 else "renewal is due"


def _claim(claim: ClaimView) -> str:
    what = claim.intent or "a process is about to request a token"
    since = "" if claim.age_seconds is None else f" {_ago(claim.age_seconds)}"
    old = " Another process may take over." if claim.is_old else ""
    return f"{what} (claimed{since} by {claim.owner}).{old}"


def _clocks(record: RecordView) -> str:
    if not record.clocks_differ:
        return ""
    by = duration(abs(record.clocks_differ_seconds))
    which = "older" if record.clocks_differ_seconds > 0 else "younger"
    return (
        f"Clocks disagree: by wall clocks the token is {by} {which} than by the store's clock. "
        "The older age counts."
    )


def _failure_details(failure: FailureView) -> str:
    parts = [_count(failure.failures, "failure") + " in a row"]
    if failure.age_seconds is not None:
        parts.append(f"the last {_ago(failure.age_seconds)}")
    if failure.reported_by:
        parts.append(f"reported by {failure.reported_by}")
    stands = failure.stands_seconds
    rest = f"The fleet waits {duration(stands)} longer" if stands else "The fleet may ask again"
    return f"{', '.join(parts)}. {rest}."
