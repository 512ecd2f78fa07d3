"""``pymongo``: a callback for MONGODB-OIDC that renews a token that the server rejected.

Pass it as ``authMechanismProperties={"OIDC_CALLBACK": ...}``, with
``authMechanism="MONGODB-OIDC"``.
"""

from __future__ import annotations

from contextlib import suppress

from pymongo.auth_oidc import OIDCCallback, OIDCCallbackContext, OIDCCallbackResult

from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._support.hiding import Hidden
from tokenkeeper._support.proofs import as_bearer
from tokenkeeper.exceptions import TokenRejectedError
from tokenkeeper.source import TokenSource

__all__ = ["KeeperOIDCCallback"]


class KeeperOIDCCallback(NotPicklable, OIDCCallback):
    """Gives one client its tokens, a ``MongoClient`` or an ``AsyncMongoClient``.

    The client keeps a token until the server rejects it, and only then asks for another one. So a
    second call means that the token of the first was rejected: it is renewed, unless that happened
    already. However many connections are rejected at once, one renewal follows. If the server
    rejects tokens that were just granted, no others are requested for a while, and callers get the
    server's error.

    Create one for each client. An ``AsyncMongoClient`` calls it on a thread, so its event loop is
    not blocked.

    :param source: the source of the token.
    """

    def __init__(self, source: TokenSource) -> None:
        self._source = source
        self._last: Hidden[str] | None = None

    def fetch(self, context: OIDCCallbackContext) -> OIDCCallbackResult:
        """Return a token; the client waits for it as long as *context* says.

        :raises OAuth2Error: if there is none.
        """
        timeout = context.timeout_seconds
        if self._last is not None:
            with suppress(TokenRejectedError):
                self._source.renew_refused(self._last.text, timeout=timeout)
        token = self._source.token(timeout=timeout)
        self._last = Hidden(as_bearer(token, self._source.name.provider_name))
        remaining = token.remaining_lifetime.total_seconds()
        return OIDCCallbackResult(token.access_token, expires_in_seconds=remaining)
