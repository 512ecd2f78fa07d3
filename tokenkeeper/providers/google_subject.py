"""Where the subject token of an external account comes from, as its file says."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenkeeper._support.checks import checked_endpoint, checked_text
from tokenkeeper.exceptions import InvalidConfigurationError, TokenAcquisitionError
from tokenkeeper.oauth.exchange import Purpose
from tokenkeeper.oauth.late_text import read_late
from tokenkeeper.providers.google_client import GoogleClient

__all__ = ["ELSEWHERE", "SubjectFile", "SubjectUrl", "object_in", "subject_source_in", "unfit"]

ELSEWHERE = (
    "GoogleCredentialsProvider of tokenkeeper.integrations.google_provider takes it, by google-auth"
)

_PURPOSE = Purpose(
    "request for the subject token", "source of the subject token", "credential_source"
)

_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.1


@dataclass(frozen=True, slots=True, eq=False)
class SubjectFile:
    """A file with the subject's token, which is read for each request."""

    path: str
    member: str | None

    @property
    def place(self) -> str:
        """Where the token is."""
        return self.path

    def read(self, client: GoogleClient) -> str:
        """Return the token."""
        return _member_of(read_late(Path(self.path), "the subject token"), self.member)


@dataclass(frozen=True, slots=True, eq=False)
class SubjectUrl:
    """An address that answers with the subject's token, such as another cloud's metadata server."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    member: str | None

    @property
    def place(self) -> str:
        """Where the token is."""
        return self.url

    def read(self, client: GoogleClient) -> str:
        """Return the token."""
        secrets = list(self.headers.values())
        sent = client.send("GET", self.url, headers=self.headers, secrets=secrets)
        if not sent.answer.ok:
            # Raises: whatever it says, it is not a success.
            client.token_in(sent, None, purpose=_PURPOSE)
        return _member_of(sent.answer.body.decode("utf-8", "replace"), self.member)


def _member_of(text: str, member: str | None) -> str:
    """Return the token in *text*, which is JSON if the token is a *member* of it."""
    token: Any = text.strip()
    if member is not None:
        try:
            token = json.loads(text)[member]
        except (ValueError, KeyError, TypeError, RecursionError):
            token = None
    if isinstance(token, str) and token:
        return token
    where = f"has no text as its member {member!r}" if member else "is empty"
    raise TokenAcquisitionError(f"the subject token's source {where}", transient=True)


def subject_source_in(source: object) -> SubjectFile | SubjectUrl:
    """Return what the member ``credential_source`` of a file describes.

    :raises InvalidConfigurationError: if that can't be used.
    """
    if not isinstance(source, Mapping):
        raise unfit("has no credential_source")
    layout = object_in(source, "format")
    kind, member = layout.get("type") or "text", None
    if kind not in ("text", "json"):
        raise unfit(f"has a credential_source of the format {kind!r}, not 'text' or 'json'")
    if kind == "json":
        member = checked_text(layout.get("subject_token_field_name"), "subject_token_field_name")
    if "environment_id" not in source:
        if source.get("file"):
            return SubjectFile(checked_text(source["file"], "file"), member)
        if source.get("url"):
            return SubjectUrl(_checked_url(source["url"]), _headers_in(source), member)
    raise unfit(f"has a credential_source that is neither a file nor a url. {ELSEWHERE}")


def _checked_url(url: object) -> str:
    """Return *url*, which may be one of a metadata server, by plain http."""
    text = checked_text(url, "url")
    scheme, separator, rest = text.partition("://")
    checked_endpoint(f"https{separator}{rest}" if scheme.lower() == "http" else text, "url")
    return text


def _headers_in(source: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the headers to send, if they can be sent. They may contain secrets."""
    headers = {name: str(value) for name, value in object_in(source, "headers").items()}
    for name, value in headers.items():
        if not (_FIELD_NAME.fullmatch(name) and value.isascii() and value.isprintable()):
            raise unfit("has a credential_source with a header that can't be sent (RFC 9110 §5.5)")
    return headers


def object_in(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the member *name* of *content*, an object; an empty one if it is left out."""
    value = content.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise unfit(f"has a member {name!r} that is not a JSON object")
    return value


def unfit(problem: str) -> InvalidConfigurationError:
    """Return the error for a file with a *problem*, which continues a sentence."""
    return InvalidConfigurationError(f"credentials_file {problem}", field="credentials_file")
