"""The format of a token request, for servers that require more than RFC 6749."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from tokenkeeper._support.checks import checked_text, names_a_secret
from tokenkeeper._version import __version__
from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = [
    "REQUEST_FORMATS",
    "USER_AGENT",
    "RequestFormat",
    "RequestStyle",
    "checked_accept",
    "checked_grant_type",
    "checked_headers",
    "checked_request_format",
]

USER_AGENT = f"tokenkeeper/{__version__}"
"""The ``User-Agent`` of our requests. Some servers refuse an HTTP library's default one."""

RequestFormat = Literal["form", "json", "query"]

REQUEST_FORMATS: tuple[RequestFormat, ...] = ("form", "json", "query")

SHORTEST_SECRET = 4
"""Characters. Hiding a shorter header value, such as a version, would make messages unreadable."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2, token
_HEADER_VALUE = re.compile(r"[\x21-\x7e\xa0-\xff](?:[\t\x20-\x7e\xa0-\xff]*[\x21-\x7e\xa0-\xff])?")
_GRANT_TYPE = re.compile(r"[\x21-\x7e]+")  # RFC 6749 appendix A.10, a name or a URI

_OURS = {
    "accept": "set accept instead",
    "accept-encoding": "responses are not compressed",
    "authorization": "it is set by token_endpoint_auth_method",
    "connection": "it is set by the library",
    "content-encoding": "it is set by the library",
    "content-length": "it is set by the library",
    "content-type": "it is set by request_format",
    "expect": "it is set by the library",
    "host": "it is set by token_url",
    "keep-alive": "it is set by the library",
    "proxy-authorization": "set the credentials in HTTPS_PROXY",
    "proxy-connection": "it is set by the library",
    "te": "it is set by the library",
    "trailer": "it is set by the library",
    "transfer-encoding": "it is set by the library",
    "upgrade": "it is set by the library",
}
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_SHOWN = frozenset({"user-agent"})  # any other value may be a secret


@dataclass(frozen=True, slots=True, eq=False)
class RequestStyle:
    """How the parameters of a token request are sent, and with which headers. Immutable.

    :param request_format: ``form``, the default: in the body, as RFC 6749 requires; ``json``: in
        the body, as a JSON object; ``query``: in the URL's query, with an empty body.
    :param accept: the ``Accept`` header; by default ``application/json``.
    :param headers: further headers; by default none.
    """

    request_format: RequestFormat = "form"
    accept: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=lambda: _NO_HEADERS, repr=False)

    def __reduce__(self) -> tuple[type[RequestStyle], tuple[str, str, dict[str, str]]]:
        # A mapping proxy can't be pickled, and helper processes receive this object by pickling.
        return RequestStyle, (self.request_format, self.accept, dict(self.headers))

    def encode(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of ``HttpTransport.request`` that send *parameters*.

        Empty parameters are left out (RFC 6749 §3.2).
        """
        sent = {name: value for name, value in parameters.items() if value not in ("", ())}
        headers = {"Accept": self.accept, **self.headers}
        if self.request_format == "json":
            headers["Content-Type"] = "application/json"
            return {"data": json.dumps(sent).encode(), "headers": headers}
        texts = {name: _texts(value) for name, value in sent.items()}
        if self.request_format == "query":
            return {"params": texts, "data": b"", "headers": headers}
        return {"data": texts, "headers": headers}

    def secrets(self) -> Iterator[str]:
        """Yield the texts that no message may show: header values, and the words in them."""
        for name, value in self.headers.items():
            if name.lower() in _SHOWN:
                continue
            for part in {value, *value.split()}:
                if len(part) >= SHORTEST_SECRET or names_a_secret(name):
                    yield part


def _texts(value: Any) -> str | list[str]:
    """Return a parameter's value for a form; a list repeats the parameter."""
    if isinstance(value, (list, tuple)):
        return [str(_texts(each)) for each in value]
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def checked_request_format(value: object, field_name: str = "request_format") -> RequestFormat:
    """Return *value* if it is one of :data:`REQUEST_FORMATS`."""
    for each in REQUEST_FORMATS:
        if value == each:
            return each
    choices = ", ".join(map(repr, REQUEST_FORMATS[:-1]))
    problem = f"{field_name} must be {choices} or {REQUEST_FORMATS[-1]!r}"
    raise InvalidConfigurationError(problem, field=field_name)


def checked_accept(value: object, field_name: str = "accept") -> str:
    """Return *value* if it can be an ``Accept`` header."""
    return _checked_value(checked_text(value, field_name), field_name, "")


def checked_grant_type(value: object, field_name: str = "grant_type") -> str:
    """Return *value* if it can be the grant type, a name or a URI, of a first token request."""
    grant_type = checked_text(value, field_name)
    if not _GRANT_TYPE.fullmatch(grant_type):
        problem = f"{field_name} must be a name or a URI, in ASCII and without spaces"
        raise InvalidConfigurationError(problem, field=field_name)
    return grant_type


def checked_headers(value: object, field_name: str = "headers") -> Mapping[str, str]:
    """Return *value*, further headers of a request, as an immutable mapping.

    :param value: names with strings, integers or booleans; ``None`` for no headers.
    :raises InvalidConfigurationError: for a name or a value that can't be sent. The message does
        not show the value, which may be a secret.
    """
    if value is None:
        return _NO_HEADERS
    if not isinstance(value, Mapping):
        problem = f"{field_name} must be a mapping of names to values"
        raise InvalidConfigurationError(problem, field=field_name)
    headers: dict[str, str] = {}
    seen: set[str] = set()
    for name, content in value.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            problem = f"{field_name} must have header names as its keys"
        elif name.lower() in _OURS:
            problem = f"{field_name} must not contain {name!r}: {_OURS[name.lower()]}"
        elif name.lower() in seen:
            problem = f"{field_name} has {name!r} twice. The case of a header name does not matter."
        else:
            seen.add(name.lower())
            headers[name] = _checked_value(content, field_name, f" for {name!r}")
            continue
        raise InvalidConfigurationError(problem, field=field_name)
    return MappingProxyType(headers)


def _checked_value(content: object, field_name: str, which: str) -> str:
    """Return a header's value; messages do not show it, as it may be a secret."""
    if not isinstance(content, (str, int)):
        problem = f"must hold a string{which}, not {type(content).__name__}"
    elif isinstance(content, str) and not content.strip():
        problem = f"has an empty value{which}. Set it, or check the variable that it comes from."
    elif not _HEADER_VALUE.fullmatch(text := str(_texts(content))):
        problem = f"has a value{which} with a line break, outer spaces, or non-Latin-1 characters"
    else:
        return text
    raise InvalidConfigurationError(f"{field_name} {problem}", field=field_name)
