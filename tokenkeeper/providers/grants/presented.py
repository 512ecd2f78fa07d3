"""A token that a grant presents: given as text, or read when it is needed."""

from __future__ import annotations

import hashlib
import os
from functools import partial

from tokenkeeper._support.checks import checked_text
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.client_proof import Recipient
from tokenkeeper.oauth.late_text import LateText, checked_late_text, read_late
from tokenkeeper.oauth.signed_jwt import SignedJwt

__all__ = ["Presented", "read_for"]


class Presented:
    """A token to present, which no ``repr`` shows. Immutable, and thread-safe.

    :param given: the token, what it is read from, or ``None`` if only sources name it.
    :param field: the parameter's name, for messages.
    :raises InvalidConfigurationError: for anything else, or an empty token.
    """

    def __init__(self, given: LateText | str | None, field: str) -> None:
        self._field = field
        self._given: LateText | str | None
        if given is None:
            self._given = None
        elif isinstance(given, str):
            self._given = checked_text(given, field)
        else:
            self._given = checked_late_text(given, field)

    @property
    def is_given(self) -> bool:
        """Whether there is a token without a source that names one."""
        return self._given is not None

    def read(self, chosen: str | None, to: Recipient) -> str:
        """Return the token for one request.

        :param chosen: the one that a source names, which comes first.
        :param to: whom the request is for.
        :raises OAuth2Error: if there is none.
        """
        given = self._given if chosen is None else chosen
        if given is None:
            raise TokenAcquisitionError(
                f"this token is requested with a {self._field} token, and none was given. Use "
                f"keeper.source(name, {self._field}=...), or set {self._field}= of the grant.",
                transient=False,
            )
        if isinstance(given, str):
            return given
        return read_for(given, f"the {self._field} token", to)

    def identity(self) -> object:
        """Return a digest of the token, or where it is read from; ``None`` if that is unknown."""
        given = self._given
        if isinstance(given, str):
            return "sha256:" + hashlib.sha256(given.encode()).hexdigest()
        return None if given is None else identity_of(given)


def read_for(late: LateText, what: str, to: Recipient) -> str:
    """Return the text of *late*; a :class:`SignedJwt` without an audience is addressed to *to*.

    :param what: what it is, for messages.
    :raises OAuth2Error: if it can't be read or is empty.
    """
    if isinstance(late, SignedJwt):
        late = partial(late.addressed_to, to.audience)
    return read_late(late, what)


def identity_of(late: LateText) -> object:
    """Return where *late* is read from, or ``None`` for a function, which has no stable name."""
    if isinstance(late, SignedJwt):
        return late.identity()
    if isinstance(late, os.PathLike):
        return os.fspath(late)
    name = getattr(late, "name", None)  # that of a source
    return str(name) if isinstance(name, str) else None
