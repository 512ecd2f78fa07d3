"""How a token request is written, for servers that want more than RFC 6749 asks of a client."""

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
    "PLAIN",
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
"""How our requests name us. Some servers refuse those of a library's default name."""

RequestFormat = Literal["form", "json", "query"]

REQUEST_FORMATS: tuple[RequestFormat, ...] = ("form", "json", "query")

SHORTEST_SECRET = 4
"""Characters. A shorter header value, such as a version, would hide half of what a server says."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2, token
_HEADER_VALUE = re.compile(r"[\x21-\x7e\xa0-\xff](?:[\t\x20-\x7e\xa0-\xff]*[\x21-\x7e\xa0-\xff])?")
_GRANT_TYPE = re.compile(r"[\x21-\x7e]+")  # RFC 6749 appendix A.10, a name or a URI

_OURS = {
    "accept": "set accept",
    "accept-encoding": "answers are not compressed",
    "authorization": "token_endpoint_auth_method decides about it",
    "connection": "the library sets it",
    "content-encoding": "the library sets it",
    "content-length": "the library sets it",
    "content-type": "request_format decides about it",
    "expect": "the library sets it",
    "host": "token_url decides about it",
    "keep-alive": "the library sets it",
    "proxy-authorization": "put the credentials into HTTPS_PROXY",
    "proxy-connection": "the library sets it",
    "te": "the library sets it",
    "trailer": "the library sets it",
    "transfer-encoding": "the library sets it",
    "upgrade": "the library sets it",
}
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_SHOWN = frozenset({"user-agent"})  # all other values may be secrets


@dataclass(frozen=True)
class RequestStyle:
    """How the parameters of a token request are sent, and with which headers. Immutable.

    :param request_format: ``form``: in the body, as RFC 6749 asks for; ``json``: in the body, as
        an object; ``query``: in the query of the URL, of a POST without a body.
    :param accept: the ``Accept`` header.
    :param headers: further headers.
    """

    request_format: RequestFormat = "form"
    accept: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=lambda: _NO_HEADERS, repr=False)

    def written(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return *parameters* and the headers as arguments of ``HttpTransport.request``.

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
        """Yield what no message may show: the values of headers, and the words in them."""
        for name, value in self.headers.items():
            if name.lower() in _SHOWN:
                continue
            for part in {value, *value.split()}:
                if len(part) >= SHORTEST_SECRET or names_a_secret(name):
                    yield part


PLAIN = RequestStyle()
"""As RFC 6749 has it."""


def _texts(value: Any) -> str | list[str]:
    """Return a parameter as a form has it; a list is a parameter that is repeated."""
    if isinstance(value, (list, tuple)):
        return [str(_texts(each)) for each in value]
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def checked_request_format(value: object, field_name: str = "request_format") -> RequestFormat:
    """Return *value* if it is a format that a request can have."""
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
    """Return *value* if it can be the name or the URI of a grant for a first token."""
    grant_type = checked_text(value, field_name)
    if not _GRANT_TYPE.fullmatch(grant_type):
        problem = f"{field_name} must be a name or a URI, in ASCII and without a space"
        raise InvalidConfigurationError(problem, field=field_name)
    if grant_type == "refresh_token":
        problem = f"{field_name} can't be 'refresh_token', which needs a first token: set "
        raise InvalidConfigurationError(f"{problem}refresh_tokens", field=field_name)
    return grant_type


def checked_headers(value: object, field_name: str = "headers") -> Mapping[str, str]:
    """Return *value*, further headers of a request, as a mapping that nobody can change.

    Values are strings, integers or booleans.
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
            problem = f"{field_name} must have the names of headers as names"
        elif name.lower() in _OURS:
            problem = f"{field_name} must not set {name!r}: {_OURS[name.lower()]}"
        elif name.lower() in seen:
            problem = f"{field_name} has {name!r} twice: the case of letters does not count"
        else:
            seen.add(name.lower())
            headers[name] = _checked_value(content, field_name, f" for {name!r}")
            continue
        raise InvalidConfigurationError(problem, field=field_name)
    return MappingProxyType(headers)


def _checked_value(content: object, field_name: str, which: str) -> str:
    """Return a header's value, which is never shown: it may be a secret."""
    if not isinstance(content, (str, int)):
        problem = f"must hold a string{which}, not {type(content).__name__}"
    elif isinstance(content, str) and not content.strip():
        problem = f"has an empty value{which}: set it, or check the variable that it is read from"
    elif not _HEADER_VALUE.fullmatch(text := str(_texts(content))):
        problem = f"has a value{which} with a line end, a space at one side, or not in Latin-1"
    else:
        return text
    raise InvalidConfigurationError(f"{field_name} {problem}", field=field_name)
