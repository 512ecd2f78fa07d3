"""What a provider is: something that can fetch a token, and nothing more.

A provider needs no lock, no cache and no retries. A keeper calls it for one renewal at a time,
keeps what it returns, tries again what is worth it, and renews ahead of time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING

from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._support.arguments import check_number
from tokenkeeper._support.checks import checked_text
from tokenkeeper.exceptions import naming
from tokenkeeper.models import DEFAULT_BUFFER_SECONDS, OAuth2Token
from tokenkeeper.providers.reacquire import reacquire

if TYPE_CHECKING:
    from tokenkeeper.retry import RetryPolicy

__all__ = ["BaseOAuth2Provider"]


class BaseOAuth2Provider(NotPicklable, ABC):
    """Derive from it to get tokens from anywhere.

    ``acquire_token`` must be written, ``refresh_token`` and ``close`` may be; each **either** as
    a plain method **or** as ``async def``. Both kinds serve blocking and async callers alike.
    Plain methods run on a thread of the keeper. ``async def`` methods run on one asyncio event
    loop that the library owns, always the same one, so a client session made there stays there.

    :param provider_name: the name that callers ask for.
    :param buffer_seconds: how long before its end a token is renewed; 300 by default.
    :param retry: what to do about failures that may pass; ``None`` for the keeper's policy.
    :raises InvalidConfigurationError: for a name or a buffer that can't work.

    Methods are called from any thread. A keeper makes one request at a time, unless its token was
    cleared while one was under way.
    """

    buffer_seconds: float = DEFAULT_BUFFER_SECONDS
    retry: RetryPolicy | None = None

    def __init__(
        self,
        provider_name: str,
        *,
        buffer_seconds: float = DEFAULT_BUFFER_SECONDS,
        retry: RetryPolicy | None = None,
    ) -> None:
        self.provider_name: str = checked_text(provider_name, "provider_name")
        with naming(provider_name):
            check_number(buffer_seconds, "buffer_seconds", least=0, unit=" of seconds")
        self.buffer_seconds = buffer_seconds
        self.retry = retry

    @abstractmethod
    def acquire_token(self) -> OAuth2Token | Awaitable[OAuth2Token]:
        """Ask the server for a token, once.

        Raise :class:`~tokenkeeper.exceptions.TokenAcquisitionError` when there is none, with
        ``transient=True`` if trying again may work. ``ConnectionError`` and ``TimeoutError``
        count as transient; anything else that is raised is final.
        """

    def refresh_token(self, token: OAuth2Token) -> OAuth2Token | Awaitable[OAuth2Token]:
        """Ask for a token to replace *token*; by default with ``acquire_token``.

        The ``expires_at`` of *token* is in the past if the token can no longer be used: it
        expired, or an API refused it.

        :raises TokenAcquisitionError: by default, if ``acquire_token`` itself calls
            ``refresh_token``, which would go on for ever.
        """
        return reacquire(self)

    def replace_refused_token(self, token: OAuth2Token) -> OAuth2Token | Awaitable[OAuth2Token]:
        """Ask for a token in place of *token*, which an API refused (401).

        By default :meth:`refresh_token`. Override it where tokens come out of a cache, which
        would return the refused one.
        """
        return self.refresh_token(token)

    def close(self) -> Awaitable[None] | None:
        """Give back connections. The provider may be used again, and then makes new ones."""
        return None

    def describe(self) -> Mapping[str, object]:
        """Return what ``tokenkeeper doctor`` may show of this provider; by default its ``type``.

        Any names and values, without a secret, and without a request. The doctor uses those of
        :class:`~tokenkeeper.providers.kinds.Description`: for example, it examines the network up
        to the host of ``token_url``, and compares ``scope`` with the scope that was granted.
        """
        return {"type": f"{type(self).__module__}:{type(self).__qualname__}"}

    def after_fork_in_child(self) -> None:
        """Leave clients, connections and locks to the parent; by default there are none.

        A keeper calls this in a forked child for each of its providers, before it asks them for
        anything there, and perhaps more than once. A connection that parent and child both use
        mixes up their answers, and an event loop of the parent does not run in the child. So drop
        the client without closing it (a TLS session that is shut down here breaks the parent's),
        and make a new one when the next token is needed. Don't block, and don't ask a keeper.
        What this raises is logged.
        """
