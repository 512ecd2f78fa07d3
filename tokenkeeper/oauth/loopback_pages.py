"""The pages that a person sees at the end of a sign-in on this machine. They show nothing of it."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from http import HTTPStatus

__all__ = ["ANSWERED", "DECLINED", "OTHER", "TWICE", "Page"]

_TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1.125rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 15vh auto; }}
body {{ padding: 0 1rem; }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{text}</p>
</main>
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class Page:
    """A page in plain words.

    :ivar status: its HTTP status.
    """

    status: int
    title: str
    text: str

    def content(self) -> bytes:
        """Return it in HTML."""
        return _TEMPLATE.format(title=escape(self.title), text=escape(self.text)).encode()


ANSWERED = Page(
    HTTPStatus.OK,
    "You have signed in",
    "You can close this window now, and go back to the program that you came from.",
)

DECLINED = Page(
    HTTPStatus.OK,
    "The sign-in was not completed",
    "The server says that access was not granted. You can close this window, and go back to the "
    "program that you came from.",
)

TWICE = Page(
    HTTPStatus.OK,
    "This sign-in is done",
    "The answer has arrived already. You can close this window.",
)

OTHER = Page(
    HTTPStatus.NOT_FOUND,
    "There is nothing here",
    "This address only receives the answer to one sign-in. If you were signing in, begin again in "
    "the program that you came from.",
)
