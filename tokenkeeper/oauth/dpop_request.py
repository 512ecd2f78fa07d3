"""Sends a request to an authorization server with a proof (RFC 9449 §5), again if that helps."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from tokenkeeper.oauth.challenges import ProofError, proof_error
from tokenkeeper.oauth.exchange import HttpAnswer

if TYPE_CHECKING:
    from tokenkeeper.oauth.client import Exchange
    from tokenkeeper.oauth.dpop import DPoPKey

__all__ = ["send_with_proof"]

_LONGEST = 4096
"""Bytes of a response that are looked at. An error has a few hundred."""

_ERROR = re.compile(rb'"error"\s*:\s*"(use_dpop_nonce|invalid_dpop_proof)"')


def send_with_proof(
    key: DPoPKey, send: Callable[[Callable[[str], Mapping[str, str]]], Exchange]
) -> Exchange:
    """Send a request with a proof of *key*, and return the exchange that is final.

    It is sent again if the server wants a nonce and sends one (RFC 9449 §8), or refuses the proof
    while its clock differs from ours: at most once for each of the two.

    :param send: sends it once, given a function that returns the proof's header for a URL.
    """

    def header(url: str) -> dict[str, str]:
        return {"DPoP": key.proof("POST", url, role="authorization server")}

    met: set[ProofError] = set()
    while True:
        exchange = send(header)
        answer = exchange.answer
        nonce = answer.headers.get("dpop-nonce")
        key.note_nonce(exchange.url, nonce, role="authorization server")
        error = _error_in(answer)
        if error is None or error in met:
            return exchange
        met.add(error)
        if not key.is_worth_another(
            error, exchange.url, answer.headers, role="authorization server"
        ):
            return exchange


def _error_in(answer: HttpAnswer) -> ProofError | None:
    """Return what *answer* says about the proof, in its body or in a challenge."""
    if answer.status not in (400, 401):
        return None
    found = _ERROR.search(answer.body[:_LONGEST])
    if found:
        return cast("ProofError", found[1].decode())
    return proof_error(answer.headers.get("www-authenticate", ""))
