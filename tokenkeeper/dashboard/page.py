"""Renders the page: texts of :mod:`tokenkeeper.dashboard.words` in the markup of ``templates``.

Each text is escaped as it is put in, and each attribute of the markup is quoted.
"""

from __future__ import annotations

import gzip
import html
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Template

from tokenkeeper.dashboard.snapshots import Snapshot
from tokenkeeper.dashboard.words import page_texts, record_texts
from tokenkeeper.stores.views import RecordView

__all__ = ["STATIC", "Document", "data", "page", "static_file"]

STATIC = {
    "dashboard.css": "text/css; charset=utf-8",
    "dashboard.js": "text/javascript; charset=utf-8",
}
"""The files that the page loads, and their media types."""

FASTEST = 1
"""The level of compression. Pages of many records become about ten times smaller."""

WITHOUT_SCRIPT_SECONDS = 5
"""A page that is loaded as a whole is refreshed no more often than this."""


@dataclass(frozen=True, slots=True)
class Document:
    """A page or its data, as it is sent.

    :ivar plain: the text, in UTF-8.
    :ivar compressed: the same, compressed by gzip.
    """

    plain: bytes
    compressed: bytes

    @classmethod
    def of(cls, text: str) -> Document:
        """Return the document of *text*."""
        plain = text.encode()
        return cls(plain, gzip.compress(plain, FASTEST, mtime=0))


def page(snapshot: Snapshot, title: str, refresh_seconds: float) -> str:
    """Return the page as HTML."""
    records = snapshot.overview.records if snapshot.overview else ()
    settings = {
        "refresh": f"{refresh_seconds:g}",
        "refresh_without_script": f"{max(refresh_seconds, WITHOUT_SCRIPT_SECONDS):g}",
    }
    texts = _escaped({**page_texts(snapshot, title), **settings})
    record = _template("record.html")
    return _template("page.html").substitute(
        texts,
        records="".join(
            record.substitute(_escaped(record_texts(each, snapshot))) for each in records
        ),
        template=record.substitute(_escaped(record_texts(RecordView(key=""), Snapshot()))),
    )


def data(snapshot: Snapshot, title: str) -> str:
    """Return what the page's script and other programs get, as JSON.

    ``store`` has the values, ``shown`` the texts of the page.
    """
    overview, trend = snapshot.overview, snapshot.trend
    records = overview.records if overview else ()
    found = {
        "store": overview and overview.as_json(),
        "error": snapshot.error,
        "read_at": snapshot.read_at_wall if overview else None,
        "trend": {
            "seconds": trend.seconds,
            "requests": trend.fleet.requests,
            "tokens": trend.fleet.tokens,
        },
        "shown": {
            "page": page_texts(snapshot, title),
            "records": [record_texts(each, snapshot) for each in records],
        },
    }
    return json.dumps(found, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


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
