"""What each response to a request means: whose it is, and why the request is sent again."""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from enum import Enum

from tokenkeeper._support.authorization import BoundToken, authorize, carries
from tokenkeeper._support.hiding import Hidden
from tokenkeeper.integrations._unauthorized import Tokens
from tokenkeeper.oauth.challenges import proof_error

__all__ = ["Attempts", "Reason"]

_log = logging.getLogger("tokenkeeper.integrations")

STILL_REFUSED = (
    "provider %r: the API refused a DPoP proof (%s) that another one would not replace. The caller "
    "gets the refusal; the token is not renewed."
)


class Reason(Enum):
    """Why a request is sent again, at most once for each."""

    REFUSED = "invalid_token"
    """The API refused the token (RFC 6750 §3.1)."""

    NONCE = "use_dpop_nonce"
    """The API wants its nonce in the proof (RFC 9449 §9). The token is good."""

    PROOF = "invalid_dpop_proof"
    """The API refused the proof: for its time, because a redirect changed the URL, or because the
    client has sent it before, as some do after a lost connection."""


class Attempts:
    """One request and its repetitions. Each request has its own.

    :param tokens: the source of the token.
    :ivar token: the token to send next.
    """

    __slots__ = ("_met", "_tokens", "token")

    def __init__(self, tokens: Tokens, token: Hidden[str]) -> None:
        self._tokens = tokens
        self._met: tuple[Reason, ...] = ()
        self.token = token

    def authorize(self, headers: MutableMapping[str, str], method: str, url: object) -> None:
        """Put the token, and a proof if it needs one, into the *headers* of the next attempt."""
        authorize(headers, self.token, method, url)

    def is_done(self, status: int) -> bool:
        """Return whether a response with *status* is the caller's, and there is nothing to learn.

        That is the usual case, and costs no more than this.
        """
        return status != 401 and type(self.token) is Hidden

    def again(
        self, status: int, headers: Mapping[str, str], url: object, sent: Mapping[str, str]
    ) -> Reason | None:
        """Return why the request is to be sent again; ``None`` if the response is the caller's.

        :param headers: the headers of the response, whatever the case of their names.
        :param url: what responded; after redirects, it is not the first URL.
        :param sent: the headers of the request that it responded to. After a redirect to another
            origin they have no token, and the response says nothing about it.
        """
        token = self.token
        if type(token) is BoundToken:  # a nonce may come with any response
            token.key.note_nonce(str(url), headers.get("DPoP-Nonce"))
        if status != 401 or not carries(sent, token):
            return None
        error = proof_error(headers.get("WWW-Authenticate", ""))
        if error is None or type(token) is not BoundToken:
            return self._once(Reason.REFUSED)
        # A proof that was refused for its time is signed again by the API's.
        may_do = token.key.is_worth_another(error, str(url), headers)
        reason = Reason(error)
        if (may_do or reason is Reason.PROOF) and self._once(reason):
            return reason
        _log.warning(STILL_REFUSED, self._tokens.provider_name, error)
        return None

    def _once(self, reason: Reason) -> Reason | None:
        """Return *reason*, and ``None`` from the second time on."""
        if reason in self._met:
            return None
        self._met += (reason,)
        return reason
