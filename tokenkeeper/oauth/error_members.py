"""Finds error codes, descriptions and waits in the members of an error response.

Members are found at any of the names that servers use, in objects within objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from tokenkeeper._support.checks import names_a_secret
from tokenkeeper.oauth.error_codes import known_code, spelling_of

__all__ = ["LONGEST_VALUE", "ErrorMembers", "normalized", "read_error_members"]

LONGEST_VALUE = 4000
"""Characters of one value that are read; an error message is shorter."""

MAX_DEPTH = 4
"""How many levels of nested objects are searched."""

MOST_SECRETS = 100
LONGEST_SECRETS = 16 * 1024
"""How many secrets are hidden, and how many characters they have together. Hiding more takes
seconds. A token response has three or four, with a few thousand characters."""

_CODE_KEYS = (
    "error",
    "errorcode",
    "code",
    "errcode",
    "errortype",
    "type",
    "name",
    "status",
    "statuscode",
    "faultcode",
    "suberror",
)
# These often hold something else.
_WEAK_CODE_KEYS = ("type", "name", "status", "statuscode")
_WORD_KEYS = (
    "title",
    "message",
    "errormessage",
    "errormsg",
    "msg",
    "errorsummary",
    "summary",
    "detail",
    "details",
    "description",
    "faultstring",
    "reason",
    "errorreason",
    "hint",
    "errorhint",
    "developermessage",
    "usermessage",
    "cause",
)
_INNER_KEYS = (
    "error",
    "errors",
    "fault",
    "detail",
    "details",
    "errorinfo",
    "exception",
    "response",
    "result",
    "data",
    "body",
    "envelope",
    "errorresponse",
    "meta",
)
_WAIT_KEYS = ("retryafter", "retryafterseconds")
_PHRASES = frozenset(status.phrase for status in HTTPStatus)


@dataclass(slots=True, eq=False, repr=False)
class ErrorMembers:
    """What the members of an error response say, as the server sent it.

    :ivar codes: the error codes, the most specific first.
    :ivar descriptions: values of ``error_description`` (RFC 6749 §5.2).
    :ivar words: values of other members with a text for people.
    :ivar secrets: values that are secrets by their names, such as a token beside the error.
    :ivar statuses: HTTP statuses that the members mention.
    :ivar waits: how many seconds the server asks to wait.
    """

    codes: list[str] = field(default_factory=list)
    descriptions: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)


def read_error_members(content: dict[str, Any]) -> ErrorMembers:
    """Return what the members of *content* say, without duplicates.

    If there are too many secrets to hide, nothing is returned that may contain one.
    """
    secrets = [*dict.fromkeys(_secrets_in(content))]
    found = ErrorMembers(secrets=secrets)
    _collect(content, found, depth=0)
    if len(secrets) > MOST_SECRETS or sum(map(len, secrets)) > LONGEST_SECRETS:
        known = dict.fromkeys(filter(None, map(spelling_of, found.codes)))
        return ErrorMembers([*known], statuses=found.statuses, waits=found.waits)
    codes = [*dict.fromkeys(found.codes)]
    # Some servers put a sentence into "error", and the code into another member.
    sentences = [code for code in codes if re.search(r"\s", code) and not known_code(code)]
    if len(sentences) < len(codes):
        codes = [code for code in codes if code not in sentences]
        found.words = [*sentences, *found.words]
    found.codes = codes
    found.descriptions = [*dict.fromkeys(found.descriptions)]
    found.words = [each for each in dict.fromkeys(found.words) if each not in codes]
    return found


def normalized(key: str) -> str:
    """Return *key* in lower case, without separators: the spelling of members varies."""
    return re.sub(r"[^a-z0-9]", "", key[:100].lower())


def _collect(content: dict[str, Any], found: ErrorMembers, *, depth: int) -> None:
    """Add what *content* says to *found*, and then what the objects in it say."""
    members = {normalized(key): value for key, value in reversed(content.items())}
    for key in _CODE_KEYS:
        _add_code(key, members.get(key), found)
    found.descriptions += _texts(members.get("errordescription"))
    for key in _WORD_KEYS:
        found.words += _texts(members.get(key))
    found.codes += [f"AADSTS{number}" for number in _numbers(members.get("errorcodes"))]
    found.waits += [wait for key in _WAIT_KEYS if (wait := _seconds(members.get(key))) is not None]
    for key in _INNER_KEYS if depth < MAX_DEPTH else ():
        inner = members.get(key)
        for each in inner[:3] if isinstance(inner, list) else [inner]:
            if isinstance(each, dict):
                _collect(each, found, depth=depth + 1)


def _add_code(key: str, value: object, found: ErrorMembers) -> None:
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, int | float):
        if isinstance(value, int) and 100 <= value <= 599:
            found.statuses.append(value)
        elif key not in _WEAK_CODE_KEYS:
            found.codes.append(str(value) if abs(value) < 1e15 else "a number")
        return
    for text in _texts(value)[:1]:
        if key in _WEAK_CODE_KEYS:
            _add_weak_code(text, found)
        elif text in _PHRASES:  # "Internal Server Error" says no more than the status does
            found.words.append(text)
        elif re.fullmatch(r"[1-5][0-9]{2}", text):
            found.statuses.append(int(text))
        else:
            found.codes.append(text)


def _add_weak_code(text: str, found: ErrorMembers) -> None:
    """Add the value of a member that often holds something other than a code, if it is one.

    ``type`` is a URI in problem details, ``status`` may be "error", and ``name`` that of a person.
    """
    last = re.split(r"[/#:]", text.rstrip("/"))[-1]
    if re.fullmatch(r"\w*[_-]\w+|[A-Z]\w*(?:Exception|Error)|[A-Z_]{7,}", last):
        found.codes.append(last)


def _texts(value: object) -> list[str]:
    """Return *value* if it is a text, or the texts in it if it is a list."""
    values = value[:3] if isinstance(value, list) else [value]
    return [each[:LONGEST_VALUE] for each in values if isinstance(each, str) and each.strip()]


def _numbers(value: object) -> Iterator[int]:
    for each in value[:5] if isinstance(value, list) else []:
        if isinstance(each, int) and not isinstance(each, bool) and 0 < each < 10**9:
            yield each


def _seconds(value: object) -> float | None:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,9})?", value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < 1e9 else None


def _secrets_in(content: dict[str, Any]) -> Iterator[str]:
    """Yield the values of *content*, at any depth, that are secrets by their names."""
    queue: list[object] = [content]
    while queue:
        each = queue.pop()
        if isinstance(each, list):
            queue += each
        elif isinstance(each, dict):
            queue += [value for value in each.values() if not isinstance(value, str)]
            for key, value in each.items():
                if isinstance(value, str) and len(value) >= 3 and _is_secret(key):
                    yield value


def _is_secret(key: str) -> bool:
    return names_a_secret(key) and normalized(key) not in _CODE_KEYS
