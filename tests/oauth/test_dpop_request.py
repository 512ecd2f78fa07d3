"""Requests to an authorization server with a proof: which responses cause another one."""

import pytest
from kit.servers.dpop import opened

from tokenkeeper.oauth.client import Exchange
from tokenkeeper.oauth.dpop import DPoPKey
from tokenkeeper.oauth.dpop_request import send_with_proof
from tokenkeeper.oauth.exchange import HttpAnswer, LateSecrets

URL = "https://id.example.com/token"
NONCE = {"dpop-nonce": "nonce-1"}
IN_BODY = b'{"error_description": "x", "error" : "use_dpop_nonce"}'
IN_HEADER = {"www-authenticate": 'DPoP error="use_dpop_nonce"', **NONCE}

ANSWERS = {
    "in the body": (HttpAnswer(400, NONCE, IN_BODY), 2),
    "in the body, with 401": (HttpAnswer(401, NONCE, IN_BODY), 2),
    "in a challenge": (HttpAnswer(401, IN_HEADER, b""), 2),
    "without a nonce": (HttpAnswer(400, {}, IN_BODY), 1),
    "with another status": (HttpAnswer(500, NONCE, IN_BODY), 1),
    "far down": (HttpAnswer(400, NONCE, b" " * 4096 + IN_BODY), 1),
    "as a description": (HttpAnswer(400, NONCE, b'{"error": "x", "y": "use_dpop_nonce"}'), 1),
    "a time that is right": (HttpAnswer(400, {}, b'{"error": "invalid_dpop_proof"}'), 1),
    "a grant": (HttpAnswer(200, NONCE, IN_BODY), 1),
}


@pytest.mark.parametrize(("answer", "requests"), ANSWERS.values(), ids=ANSWERS)
def test_what_is_sent_again(answer, requests):
    """A request is sent again once if the server wants a nonce, and has sent one."""
    proofs = []

    def send(header):
        proofs.append(opened(header(URL)["DPoP"])[1])
        return Exchange(answer, 0.0, LateSecrets(list), URL)

    key = DPoPKey()
    assert send_with_proof(key, send).answer is answer
    nonces = [None, "nonce-1"][:requests]
    assert [claims.get("nonce") for claims in proofs] == nonces
    assert [claims["htm"] for claims in proofs] == ["POST"] * requests
