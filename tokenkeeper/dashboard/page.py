"""Renders the page: texts of :mod:`tokenkeeper.dashboard.words` in the markup of ``templates``.

Each text is escaped as it is put in, and each attribute of the markup is quoted.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from string import Template

from tokenkeeper.dashboard.snapshots import Snapshot
from tokenkeeper.dashboard.words import page_texts, record_texts
from tokenkeeper.stores.views import RecordView

__all__ = ["STATIC", "data", "page", "static_file"]

STATIC = {
    "dashboard.css": "text/css; charset=utf-8",
    "dashboard.js": "text/javascript; charset=utf-8",
}
"""The files that the page loads, and their media types."""

WITHOUT_SCRIPT_SECONDS = 5
"""A page that is loaded as a whole is refreshed no more often than this."""


def page(snapshot: Snapshot, title: str, now: float, refresh_seconds: float) -> str:
    """Return the page as HTML.

    :param now: the current time on the monotonic clock of the snapshot.
    """
    records = snapshot.overview.records if snapshot.overview else ()
    settings = {
        "refresh": f"{refresh_seconds:g}",
        "refresh_without_script": f"{max(refresh_seconds, WITHOUT_SCRIPT_SECONDS):g}",
    }
    texts = _escaped({**page_texts(snapshot, title, now), **settings})
    record = _template("record.html")
    return _template("page.html").substitute(
        texts,
        records="".join(
            record.substitute(_escaped(record_texts(each, snapshot))) for each in records
        ),
        template=record.substitute(_escaped(record_texts(RecordView(key=""), Snapshot()))),
    )


def data(snapshot: Snapshot, title: str, now: float) -> dict[str, object]:
    """Return what the page's script and other programs get as JSON.

    ``store`` has the values, ``shown`` the texts of the page.
    """
    overview, trend = snapshot.overview, snapshot.trend
    records = overview.records if overview else ()
    return {
        "store": overview and overview.as_json(),
        "error": snapshot.error,
        "read_at": snapshot.read_at_wall if overview else None,
        "trend": {
            "seconds": trend.seconds,
            "requests": trend.fleet.requests,
            "tokens": trend.fleet.tokens,
        },
        "shown": {
            "page": page_texts(snapshot, title, now),
            "records": [record_texts(each, snapshot) for each in records],
        },
    }


@cache
def static_file(name: str) -> bytes:
    """Return the content of a file that the page loads."""
    return files("tokenkeeper.dashboard").joinpath("static", name).read_bytes()


@cache
def _template(name: str) -> Template:
    folder = files("tokenkeeper.dashboard").joinpath("templates")
    return Template(folder.joinpath(name).read_text(encoding="utf-8"))


def _escaped(texts: Mapping[str, str]) -> dict[str, str]:
    return {name: html.escape(text, quote=True) for name, text in texts.items()}
