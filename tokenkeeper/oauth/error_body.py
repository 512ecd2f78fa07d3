"""What an answer without a token says, whatever form it has. No I/O, no trust, nothing redacted.

RFC 6749 §5.2 wants a JSON object with ``error`` and ``error_description``. Servers, and what stands
before them, also send objects within objects, problem details (RFC 9457), forms, XML, plain text,
web pages, a ``WWW-Authenticate`` header (RFC 6750 §3), or nothing.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from tokenkeeper._support.checks import names_a_secret
from tokenkeeper.oauth.exchange import HttpAnswer
from tokenkeeper.oauth.verdict import known_code

__all__ = ["Form", "Said", "read_error"]


class Form(Enum):
    """What kind of body an answer has. The value completes "the answer is ..."."""

    EMPTY = "empty, not JSON"
    JSON = "JSON"
    FORM = "form-encoded, not JSON"
    XML = "XML, not JSON"
    WEB_PAGE = "a web page, not JSON"
    TEXT = "plain text, not JSON"
    BROKEN_JSON = "not JSON: it is malformed, or cut short"
    BINARY = "not JSON, and not UTF-8 text"


@dataclass(frozen=True, repr=False)
class Said:
    """What a server said, word for word. Never show it before it was sanitized.

    :ivar form: the kind of its body.
    :ivar codes: its error codes, the most telling one first.
    :ivar words: its description, or the title of its web page.
    :ivar is_described: whether *words* are an ``error_description`` (RFC 6749 §5.2).
    :ivar secrets: values in the answer that look like secrets, such as a token beside the error.
    :ivar status: the HTTP status that the body speaks of, where it does.
    :ivar wait_seconds: how long the body asks to wait, where it does.
    :ivar has_token: whether there is an ``access_token`` all the same.
    :ivar is_object: whether the body is a JSON object, as it should be.
    """

    form: Form
    codes: tuple[str, ...] = ()
    words: str = ""
    is_described: bool = False
    secrets: tuple[str, ...] = ()
    status: int | None = None
    wait_seconds: float | None = None
    has_token: bool = False
    is_object: bool = False


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
_WEAK_CODE_KEYS = ("type", "name", "status", "statuscode")
_DESCRIPTION_KEYS = ("errordescription",)
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
_LONGEST = 4000
"""Characters of one value that are looked at; more than that are not an error message."""


def read_error(answer: HttpAnswer) -> Said:
    """Return what *answer* says."""
    text = _text(answer.body)
    said = _read_body(text, answer.headers.get("content-type", "").lower())
    if answer.ok and said.form in (Form.TEXT, Form.JSON) and not said.is_object:
        # A lone word may be the token itself, from a server that sends no JSON.
        said = replace(said, words=said.words if " " in said.words else "")
    if not said.codes and not (said.words and said.form is not Form.WEB_PAGE):
        return _with_challenge(said, answer.headers.get("www-authenticate", "")[:_LONGEST])
    return said


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return body.decode("latin-1")  # not by the charset of the header: see fork.py


def _read_body(text: str, content_type: str) -> Said:
    start = text.lstrip()[:1]
    if not start:
        return Said(Form.EMPTY)
    try:
        content = json.loads(text, parse_int=_any_int)
    except (ValueError, RecursionError):
        pass
    else:
        return _from_json(content)
    if start == "<" or "html" in content_type:
        return _from_markup(text[: 16 * _LONGEST], content_type)
    if pairs := _form(text[: 16 * _LONGEST]):
        return _from_object(pairs, Form.FORM)
    if start in '{["':
        return Said(Form.BROKEN_JSON)
    if "\0" in text or not _is_text(text[:_LONGEST]):
        return Said(Form.BINARY)
    return Said(Form.TEXT, words=_excerpt(text))


def _any_int(digits: str) -> int | float:
    return int(digits) if len(digits) < 30 else 1e30  # int() refuses more than 4300 digits


def _from_json(content: object) -> Said:
    while isinstance(content, list) and len(content) > 0:
        content = content[0]  # Salesforce sends lists of one error
    if isinstance(content, dict):
        return _from_object(content, Form.JSON)
    # A bare string may be the token itself, so it is shown as plain text is.
    return Said(Form.JSON, words=_excerpt(content) if isinstance(content, str) else "")


# ---- objects


@dataclass
class _Found:
    codes: list[str] = field(default_factory=list)
    described: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)


def _from_object(content: dict[str, Any], form: Form) -> Said:
    found = _Found(secrets=list(_secrets_in(content)))
    _look_at(content, found, depth=0)
    codes = [*dict.fromkeys(found.codes)]
    # Some servers put a sentence into "error", and the code somewhere else.
    sentences = [code for code in codes if re.search(r"\s", code) and not known_code(code)]
    if len(sentences) < len(codes):
        codes = [code for code in codes if code not in sentences]
        found.words = [*sentences, *found.words]
    described = list(dict.fromkeys(found.described))[:1]
    words = [each for each in dict.fromkeys(found.words) if each not in codes]
    return Said(
        form,
        codes=tuple(codes[:5]),
        words=_joined(described or words[:3]),
        is_described=bool(described),
        secrets=tuple(found.secrets),
        status=next(iter(found.statuses), None),
        wait_seconds=next(iter(found.waits), None),
        is_object=form is Form.JSON,
        has_token=form is Form.JSON and bool(content.get("access_token")),
    )


def _joined(words: list[str]) -> str:
    return "".join(
        f"{each} " if each.rstrip().endswith((".", "!", "?", ":")) else f"{each}: "
        for each in words[:-1]
    ) + "".join(words[-1:])


def _look_at(content: dict[str, Any], found: _Found, *, depth: int) -> None:
    """Collect what *content* says, and then what the objects in it say."""
    members = {_squeezed(key): value for key, value in reversed(content.items())}
    for key in _CODE_KEYS:
        _take_code(key, members.get(key), found)
    for key in (*_DESCRIPTION_KEYS, *_WORD_KEYS):
        for value in _texts(members.get(key)):
            (found.described if key in _DESCRIPTION_KEYS else found.words).append(value)
    found.codes += [f"AADSTS{number}" for number in _numbers(members.get("errorcodes"))]
    found.waits += [wait for key in _WAIT_KEYS if (wait := _seconds(members.get(key))) is not None]
    for key in _INNER_KEYS if depth < 4 else ():
        inner = members.get(key)
        for each in inner[:3] if isinstance(inner, list) else [inner]:
            if isinstance(each, dict):
                _look_at(each, found, depth=depth + 1)


def _take_code(key: str, value: object, found: _Found) -> None:
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
            _take_weak_code(text, found)
        elif text in _PHRASES:  # "Internal Server Error" says no more than the status does
            found.words.append(text)
        elif text.isdecimal() and len(text) == 3:
            found.statuses.append(int(text))
        else:
            found.codes.append(text)


def _take_weak_code(text: str, found: _Found) -> None:
    """Take the value of a member that often holds something else than a code.

    ``type`` is a URI in problem details, ``status`` may be "error", and ``name`` that of a person.
    """
    last = re.split(r"[/#:]", text.rstrip("/"))[-1]
    if re.fullmatch(r"\w*[_-]\w+|[A-Z]\w*(?:Exception|Error)|[A-Z_]{7,}", last):
        found.codes.append(last)


def _texts(value: object) -> list[str]:
    """Return the text that *value* is, or the texts of a list of them."""
    values = value[:3] if isinstance(value, list) else [value]
    return [each[:_LONGEST] for each in values if isinstance(each, str) and each.strip()]


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
    """Yield the values of *content*, at any depth, whose names say that they are secrets."""
    waiting: list[object] = [content]
    while waiting:
        each = waiting.pop()
        if isinstance(each, list):
            waiting += each
        elif isinstance(each, dict):
            waiting += [value for value in each.values() if not isinstance(value, str)]
            for key, value in each.items():
                if isinstance(value, str) and len(value) >= 3 and _is_secret(key):
                    yield value


def _is_secret(key: str) -> bool:
    return names_a_secret(key) and _squeezed(key) not in _CODE_KEYS


def _squeezed(key: str) -> str:
    return re.sub(r"[^a-z0-9]", "", key[:100].lower())


# ---- other forms

_TAG = re.compile(r"<(?:\w+:)?(\w+)(?:\s[^<>]*)?>([^<>]+)</")
_TITLE = re.compile(r"<title[^>]{0,200}>([^<]{1,300})", re.I)
_FORM_KEYS = frozenset({"error", "access_token", "errorcode", "code", "message", "reason"})


def _form(text: str) -> dict[str, Any]:
    """Return the members of a body that is form-encoded, as GitHub's are; else nothing."""
    if "=" not in text or re.search(r"\s", text.strip()) or text.lstrip()[:1] in '{["':
        return {}
    try:
        pairs = parse_qsl(text.strip(), max_num_fields=50)
    except ValueError:
        return {}
    known = any(_squeezed(key) in _FORM_KEYS or key in _FORM_KEYS for key, _ in pairs)
    return dict(pairs) if known else {}


def _from_markup(text: str, content_type: str) -> Said:
    lower = text[:2000].lower()
    if "html" in content_type or "<html" in lower or "<!doctype html" in lower:
        title = _TITLE.search(text)
        return Said(Form.WEB_PAGE, words=_excerpt(html.unescape(title[1])) if title else "")
    if not re.match(r"\s*<(?:\?xml|!--|\w+[\s:>/])", text):
        return Said(Form.WEB_PAGE)
    members = {name: html.unescape(value).strip() for name, value in reversed(_TAG.findall(text))}
    return _from_object(members, Form.XML) if members else Said(Form.WEB_PAGE)


_NAMED_SECRET = re.compile(
    r"(\w*(?:token|secret|passw|assertion|credential)\w*[\"']?\s*[=:]\s*)\S+", re.I
)
_SCHEME = re.compile(r"\b(bearer|basic|dpop|token)\s+\S{6,}", re.I)
_GRANT = re.compile(r"(access|refresh|id)_?token[\"']?\s*[:=]", re.I)
_LONG_WORD = re.compile(r"(?=\S*\d)\S{20,}|\S{32,}")


def _excerpt(text: str) -> str:
    """Return the beginning of *text* without what may be a token: long words, and named ones.

    Nothing is returned of what may be a grant that was cut short or corrupted.
    """
    if _GRANT.search(text):
        return ""
    text = " ".join(text[:400].split())
    if len(text.split()) < 2 and len(text) > 30:
        return ""  # a lone word of that length may be the token itself
    text = _NAMED_SECRET.sub(r"\1[hidden]", text)
    return _LONG_WORD.sub("[hidden]", _SCHEME.sub(r"\1 [hidden]", text))[:160]


def _is_text(text: str) -> bool:
    seen = sum(each.isprintable() or each.isspace() for each in text)
    return seen >= 0.9 * len(text)


# ---- WWW-Authenticate

_PARAMETER = re.compile(r"\b([\w-]{1,40})\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,\"]+))")


def _with_challenge(said: Said, header: str) -> Said:
    """Return *said* with what a ``WWW-Authenticate`` header adds to it."""
    if not header.strip():
        return said
    named = {
        name.lower(): re.sub(r"\\(.)", r"\1", quoted or bare)
        for name, quoted, bare in reversed(_PARAMETER.findall(header))
    }
    code, description = named.get("error", ""), named.get("error_description", "")
    if code or description:
        return Said(
            said.form, (code,) if code else (), description or said.words, bool(description)
        )
    scheme = header.split()[0].rstrip(",")
    realm = f" for {named['realm']!r}" if named.get("realm") else ""
    words = said.words or f"the server asks for {scheme[:20]} authentication{realm}"
    return Said(said.form, (), words)
