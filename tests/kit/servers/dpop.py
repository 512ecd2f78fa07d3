"""An authorization server and an API on one origin that check every proof (RFC 9449 §4.3)."""

import base64
import hashlib
import itertools
import json
import time
from email.utils import formatdate

import jwt

from kit.servers.base import Answer, LoopbackServer

PROOF_SECONDS = 60
"""How far the time of a proof may be from the server's."""

ALGORITHMS = ["ES256", "ES384", "ES512", "EdDSA", "RS256", "PS256"]


class BadProofError(Exception):
    """Why a proof is refused."""


def thumbprint(jwk):
    """Return the thumbprint of a public key (RFC 7638 §3)."""
    members = {"EC": "crv kty x y", "RSA": "e kty n", "OKP": "crv kty x"}[jwk["kty"]].split()
    text = json.dumps({name: jwk[name] for name in members}, separators=(",", ":"))
    return encoded(hashlib.sha256(text.encode()).digest())


def encoded(digest):
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def opened(proof):
    """Return header and claims of a proof that its own key has signed.

    :raises BadProofError: for any other one.
    """
    try:
        header = jwt.get_unverified_header(proof)
        key = jwt.PyJWK(header["jwk"], algorithm=header["alg"]).key
        claims = jwt.decode(proof, key, ALGORITHMS, options={"verify_iat": False})
    except (jwt.PyJWTError, KeyError) as error:
        raise BadProofError(f"unreadable: {error!r}") from error
    if header["typ"] != "dpop+jwt" or {"d", "p", "k"} & header["jwk"].keys():
        raise BadProofError("the header is wrong")
    return header, claims


class Nonces:
    """The nonces of one of both roles.

    :ivar current: the one that is accepted; ``None`` to demand none.
    :ivar each: whether it changes with each response.
    :ivar lies: whether responses have another one than the one that is accepted.
    :ivar skip: how many of the next responses have none.
    """

    def __init__(self):
        self._numbers = itertools.count(1)
        self.current = None
        self.each = False
        self.lies = False
        self.skip = 0

    def change(self, prefix):
        self.current = f"{prefix}-{next(self._numbers)}"

    def header(self, prefix):
        if self.current is None or self.skip:
            self.skip = max(0, self.skip - 1)
            return {}
        if self.each:
            self.change(prefix)
        return {"DPoP-Nonce": f"not-{self.current}" if self.lies else self.current}


class DPoPServer(LoopbackServer):
    """Grants tokens at ``/token``, bound to the key of the proof; accepts them at ``/api``.

    ``/api/moved`` redirects to ``/api``.

    :ivar grants: the nonces of the token endpoint.
    :ivar calls: the nonces of the API.
    :ivar ahead_seconds: how far the server's clock is ahead of the machine's.
    :ivar token_type: what the token endpoint states.
    :ivar keys: the thumbprint of the key that each token is bound to.
    :ivar log: path and status of each request; with a refused proof, why.
    :ivar revoked: tokens that the API refuses.
    """

    def __init__(self):
        self.grants, self.calls = Nonces(), Nonces()
        self.ahead_seconds = 0
        self.token_type = "DPoP"
        self.keys = {}
        self.seen = set()
        self.log = []
        self.revoked = set()
        self._numbers = itertools.count(1)
        super().__init__()
        self.token_url = f"{self.origin}/token"
        self.api_url = f"{self.origin}/api"

    @property
    def statuses(self):
        """The statuses of the requests so far."""
        return [status for _, status, *_ in self.log]

    def answer(self, request):
        respond = self.grant if request.path == "/token" else self.serve
        try:
            answer = respond(request)
            self.log.append((request.path, answer.status))
        except BadProofError as error:
            answer = self.refusal(request, "invalid_dpop_proof", str(error))
            self.log.append((request.path, answer.status, str(error)))
        nonces = ("as", self.grants) if request.path == "/token" else ("rs", self.calls)
        answer.headers.update(nonces[1].header(nonces[0]))
        answer.headers["Date"] = formatdate(time.time() + self.ahead_seconds, usegmt=True)
        return answer

    def grant(self, request):
        """Grant a token, and a refresh token that works once with the same key."""
        claims, jkt = self.proof(request)
        if self.grants.current not in (None, claims.get("nonce")):
            return self.refusal(request, "use_dpop_nonce", "")
        form = dict(request.form)
        if "refresh_token" in form and self.keys.pop(form["refresh_token"], jkt) != jkt:
            return Answer(400, {"error": "invalid_grant"})
        number = next(self._numbers)
        token, refresh = f"token-{number}", f"refresh-{number}"
        self.keys |= {token: jkt, refresh: jkt}
        granted = {"access_token": token, "token_type": self.token_type, "expires_in": 3600}
        return Answer(200, {**granted, "refresh_token": refresh})

    def serve(self, request):
        """Answer a call of the API with what it carried."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "DPoP" or token not in self.keys or token in self.revoked:
            return self.refusal(request, "invalid_token", "")
        claims, jkt = self.proof(request, token)
        if jkt != self.keys[token]:
            return self.refusal(request, "invalid_token", "another key")
        if self.calls.current not in (None, claims.get("nonce")):
            return self.refusal(request, "use_dpop_nonce", "")
        if request.path == "/api/moved":
            return Answer(307, headers={"Location": "/api"})
        return Answer(200, {"token": token, "body": request.body.decode()})

    def proof(self, request, token=None):
        """Return the claims of a request's proof, and the thumbprint of its key."""
        header, claims = opened(request.headers.get("dpop", ""))
        if claims["htm"] != request.method or claims["htu"] != self.origin + request.path:
            raise BadProofError("for another request")
        if abs(claims["iat"] - time.time() - self.ahead_seconds) > PROOF_SECONDS:
            raise BadProofError("not now")
        if claims["jti"] in self.seen:
            raise BadProofError("replayed")
        self.seen.add(claims["jti"])
        digest = None if token is None else encoded(hashlib.sha256(token.encode()).digest())
        if claims.get("ath") != digest:
            raise BadProofError("for another token")
        return claims, thumbprint(header["jwk"])

    @staticmethod
    def refusal(request, error, description):
        if request.path == "/token":
            return Answer(400, {"error": error, "error_description": description})
        challenge = f'DPoP error="{error}", error_description="{description}", algs="ES256"'
        return Answer(401, {"error": error}, {"WWW-Authenticate": f"Bearer, {challenge}"})
