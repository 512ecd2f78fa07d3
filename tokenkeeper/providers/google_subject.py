"""Where the subject token of an external account comes from, as its file says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenkeeper._support.checks import checked_text
from tokenkeeper.exceptions import InvalidConfigurationError, TokenAcquisitionError
from tokenkeeper.oauth.late_text import read_late
from tokenkeeper.providers.google_client import GoogleClient

__all__ = ["ELSEWHERE", "SubjectFile", "SubjectUrl", "object_in", "subject_source_in", "unfit"]

ELSEWHERE = (
    "GoogleCredentialsProvider of tokenkeeper.integrations.google_provider takes it, by google-auth"
)


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
            client.token_in(sent, None)  # raises: whatever it says, it is not a success
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
    member = None
    if layout.get("type", "text") != "text":
        member = checked_text(layout.get("subject_token_field_name"), "subject_token_field_name")
    if "environment_id" not in source:
        if source.get("file"):
            return SubjectFile(checked_text(source["file"], "file"), member)
        if source.get("url"):
            headers = {name: str(value) for name, value in object_in(source, "headers").items()}
            return SubjectUrl(checked_text(source["url"], "url"), headers, member)
    raise unfit(f"has a credential_source that is neither a file nor a url. {ELSEWHERE}")


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
