"""The token that was last handed to a thread or task, for SDKs that don't say which was refused."""

from __future__ import annotations

from contextvars import ContextVar
from weakref import ReferenceType, ref

from tokenkeeper._support.hiding import Hidden
from tokenkeeper.source import TokenSource

__all__ = ["LastToken"]

_handed: ContextVar[tuple[ReferenceType[TokenSource], Hidden[str]] | None] = ContextVar(
    "tokenkeeper_handed", default=None
)


class LastToken:
    """Remembers a source's token for each thread and task.

    After a 401 such SDKs ask for another token on the thread or in the task whose request was
    refused. So the refused token is the last one there.
    """

    def __init__(self, source: TokenSource) -> None:
        self._source = source
        self._ref = ref(source)

    def handed(self, token: str) -> str:
        """Remember *token*, which is handed to this thread or task, and return it."""
        _handed.set((self._ref, Hidden(token)))
        return token

    def get(self) -> Hidden[str] | None:
        """Return it; ``None`` if this thread or task got none, or another source's."""
        handed = _handed.get()
        return handed[1] if handed is not None and handed[0]() is self._source else None
