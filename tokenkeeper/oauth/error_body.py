"""Reads a response that grants no token, whatever its format. No I/O, no trust, no redaction.

RFC 6749 §5.2 requires a JSON object with ``error`` and ``error_description``. Servers, and proxies
in front of them, also send nested objects, problem details (RFC 9457), forms, XML, plain text, web
pages, a ``WWW-Authenticate`` header (RFC 6750 §3), or nothing.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any
from urllib.parse import parse_qsl

from tokenkeeper.oauth.challenges import read_challenge
from tokenkeeper.oauth.entities import unescape_entities
from tokenkeeper.oauth.error_members import LONGEST_VALUE, normalized, read_error_members
from tokenkeeper.oauth.excerpt import excerpt
from tokenkeeper.oauth.exchange import HttpAnswer
from tokenkeeper.oauth.json_object import any_int, narrow_text

__all__ = ["BodyFormat", "ErrorResponse", "read_error"]


class BodyFormat(Enum):
    """The format of a response's body. The value completes "the response is ..."."""

    EMPTY = "empty, not JSON"
    JSON = "JSON"
    FORM = "form-encoded, not JSON"
    XML = "XML, not JSON"
    WEB_PAGE = "a web page, not JSON"
    TEXT = "plain text, not JSON"
    BROKEN_JSON = "not JSON: it is malformed or truncated"
    BINARY = "not JSON, and not UTF-8 text"


@dataclass(slots=True, eq=False, repr=False)
class ErrorResponse:
    """The content of an error response, as the server sent it. Sanitize it before showing it.

    :ivar format: the format of the body.
    :ivar codes: the error codes, the most specific first.
    :ivar words: the description, or the title of a web page.
    :ivar is_described: whether *words* are an ``error_description`` (RFC 6749 §5.2).
    :ivar secrets: values in the response that look like secrets, such as a token beside the error.
    :ivar status: the HTTP status that the body mentions, if any.
    :ivar wait_seconds: how long the body asks to wait, if it does.
    :ivar has_token: whether there is an ``access_token`` all the same.
    :ivar is_object: whether the body is a JSON object, as it should be.
    """

    format: BodyFormat
    codes: tuple[str, ...] = ()
    words: str = ""
    is_described: bool = False
    secrets: tuple[str, ...] = ()
    status: int | None = None
    wait_seconds: float | None = None
    has_token: bool = False
    is_object: bool = False


def read_error(answer: HttpAnswer) -> ErrorResponse:
    """Return the content of *answer*, which grants no token."""
    # Not by the charset that the header names: Python may have to import its codec, and a late
    # import may never return in a forked child (see fork.py).
    text = narrow_text(answer.body)
    error = _read_body(text, answer.headers.get("content-type", "").lower())
    is_bare = error.format in (BodyFormat.TEXT, BodyFormat.JSON) and not error.is_object
    if answer.ok and is_bare and " " not in error.words:
        # A lone word may be the token itself, from a server that does not send JSON.
        error = replace(error, words="")
    if not error.codes and not (error.words and error.format is not BodyFormat.WEB_PAGE):
        return _with_challenge(error, answer.headers.get("www-authenticate", ""))
    return error


def _read_body(text: str, content_type: str) -> ErrorResponse:
    start = text.lstrip()[:1]
    if not start:
        return ErrorResponse(BodyFormat.EMPTY)
    try:
        content = json.loads(text, parse_int=any_int)
    except (ValueError, RecursionError):
        pass
    else:
        return _from_json(content)
    if start == "<" or "html" in content_type:
        return _from_markup(text[: 16 * LONGEST_VALUE], content_type)
    if start in '{["':
        return ErrorResponse(BodyFormat.BROKEN_JSON)
    if pairs := _form(text[: 16 * LONGEST_VALUE]):
        return _from_object(pairs, BodyFormat.FORM)
    if "\0" in text or not _is_text(text[:LONGEST_VALUE]):
        return ErrorResponse(BodyFormat.BINARY)
    return ErrorResponse(BodyFormat.TEXT, words=excerpt(text))


def _from_json(content: object) -> ErrorResponse:
    while isinstance(content, list) and len(content) > 0:
        content = content[0]  # Salesforce sends a list with one error
    if isinstance(content, dict):
        return _from_object(content, BodyFormat.JSON)
    # A bare string may be the token itself, so it is shown with the same care as plain text.
    return ErrorResponse(
        BodyFormat.JSON, words=excerpt(content) if isinstance(content, str) else ""
    )


def _from_object(content: dict[str, Any], body_format: BodyFormat) -> ErrorResponse:
    found = read_error_members(content)
    is_json = body_format is BodyFormat.JSON
    return ErrorResponse(
        body_format,
        codes=tuple(found.codes[:5]),
        words=_joined(found.descriptions[:1] or found.words[:3]),
        is_described=bool(found.descriptions),
        secrets=tuple(found.secrets),
        status=next(iter(found.statuses), None),
        wait_seconds=next(iter(found.waits), None),
        has_token=is_json and bool(content.get("access_token")),
        is_object=is_json,
    )


def _joined(words: list[str]) -> str:
    return "".join(
        f"{each} " if each.rstrip().endswith((".", "!", "?", ":")) else f"{each}: "
        for each in words[:-1]
    ) + "".join(words[-1:])


_FORM_KEYS = frozenset({"error", "access_token", "errorcode", "code", "message", "reason"})


def _form(text: str) -> dict[str, Any]:
    """Return the members of a form-encoded body, such as GitHub's, or an empty dictionary."""
    text = text.strip()
    if re.search(r"\s", text):
        return {}
    try:
        pairs = parse_qsl(text, max_num_fields=50)
    except ValueError:
        return {}
    known = any(normalized(key) in _FORM_KEYS or key in _FORM_KEYS for key, _ in pairs)
    return dict(pairs) if known else {}


_TAG = r"<(?:\w+:)?(\w+)(?:\s[^<>]*)?>([^<>]+)</"
_TITLE = r"<title[^>]{0,200}>([^<]{1,300})"


def _from_markup(text: str, content_type: str) -> ErrorResponse:
    lower = text[:2000].lower()
    if "html" in content_type or "<html" in lower or "<!doctype html" in lower:
        title = re.search(_TITLE, text, re.I)
        words = excerpt(unescape_entities(title[1])) if title else ""
        return ErrorResponse(BodyFormat.WEB_PAGE, words=words)
    if not re.match(r"\s*<(?:\?xml|!--|\w+[\s:>/])", text):
        return ErrorResponse(BodyFormat.WEB_PAGE)
    elements = reversed(re.findall(_TAG, text))
    members = {name: unescape_entities(value).strip() for name, value in elements}
    if not members:
        return ErrorResponse(BodyFormat.WEB_PAGE)
    return _from_object(members, BodyFormat.XML)


def _is_text(text: str) -> bool:
    readable = sum(each.isprintable() or each.isspace() for each in text)
    return readable >= 0.9 * len(text)


def _with_challenge(error: ErrorResponse, header: str) -> ErrorResponse:
    """Return *error* with what a ``WWW-Authenticate`` header adds to it."""
    challenge = read_challenge(header)
    if challenge is None:
        return error
    code, description = challenge.error, challenge.error_description
    if code or description:
        return replace(
            error,
            codes=(code,) if code else (),
            words=description or error.words,
            is_described=bool(description),
        )
    realm = f" for {challenge.realm!r}" if challenge.realm else ""
    words = error.words or f"the server requires {challenge.scheme[:20]} authentication{realm}"
    return replace(error, words=words)
