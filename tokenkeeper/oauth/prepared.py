"""Token requests as requests sends them, prepared without what it looks for and never finds here.

Before each request, requests looks for cookies and for ``~/.netrc``, merges settings, and tests the
kind of each value. For a small form that takes longer than all the rest of a token request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import requests

__all__ = ["prepared_request"]

_PREPARED_URL = re.compile(
    r"https?://[a-z0-9][a-z0-9.-]*(?::[1-9][0-9]{0,3}|:[1-5][0-9]{4})?"
    r"(?:/(?!\.)[A-Za-z0-9._~-]*)+"
)
"""URLs that requests leaves as they are."""

_FORM = "application/x-www-form-urlencoded"


def prepared_request(
    method: str,
    url: str,
    *,
    params: Mapping[str, Any] | None,
    data: Mapping[str, Any] | bytes | str | None,
    headers: requests.structures.CaseInsensitiveDict[str],
) -> requests.PreparedRequest:
    """Return a request with *headers*, and with those that describe its body.

    :raises requests.RequestException: for a URL that can't be read.
    """
    request = requests.PreparedRequest()
    request.method = method
    request.headers = headers
    if params or not _PREPARED_URL.fullmatch(url):
        request.prepare_url(url, params)
    else:
        request.url = url
    if data and isinstance(data, dict) and all(type(each) is str for each in data.values()):
        request.body = body = urlencode(data)
        headers.setdefault("Content-Type", _FORM)
        headers["Content-Length"] = str(len(body))
    else:
        request.prepare_body(data, None)
    return request
