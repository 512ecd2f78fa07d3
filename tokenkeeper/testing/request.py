"""One HTTP request to the loopback authorization server, and its form."""

from __future__ import annotations

from dataclasses import dataclass
from email.message import Message
from urllib.parse import parse_qsl

__all__ = ["FormError", "Request"]

_FORM = "application/x-www-form-urlencoded"


class FormError(ValueError):
    """A body that is not a form, or not an unambiguous one."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request."""

    method: str
    target: str
    headers: Message
    body: bytes = b""

    def form(self) -> dict[str, str]:
        """Return the parameters of the form (RFC 6749 §3.2: no repeats; empty ones are absent).

        A repeated ``resource`` (RFC 8707 §2) is joined by spaces, which a URI can't contain.

        :raises FormError: if it can't be read as such.
        """
        content_type = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if content_type != _FORM:
            raise FormError(f"the body must be {_FORM}")
        form: dict[str, str] = {}
        for name, value in self._pairs():
            if name not in form:
                form[name] = value
            elif name == "resource":
                form[name] += f" {value}"
            else:
                raise FormError("a parameter is repeated")
        return {name: value for name, value in form.items() if value}

    def parameter(self, name: str) -> str:
        """Return the last value of a parameter, even if the form is wrong; "" without one."""
        return dict(self._pairs()).get(name, "")

    def _pairs(self) -> list[tuple[str, str]]:
        return parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True)
