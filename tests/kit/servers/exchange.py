"""A security token service on loopback: token exchange and JWT bearer, with JWTs as tokens."""

import itertools
import threading
from urllib.parse import parse_qs

import jwt

from kit.guards import GUARD_SECONDS
from kit.servers.base import Answer, LoopbackServer
from tokenkeeper import GenericOAuth2Provider, OAuth2Config

KEY = "a key that only this stand-in and its tests know"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TYPES = "urn:ietf:params:oauth:token-type:"


class TokenService(LoopbackServer):
    """Grants tokens for subjects and assertions, which are JWTs signed with its key.

    A granted token has the ``sub`` of what was presented, ``act`` if there was an actor, and the
    requested ``aud`` and ``scope``. Client credentials are granted as well.

    :ivar revoked: values of ``sub`` that it refuses.
    :ivar gate: cleared, it holds up all grants but client credentials.
    :ivar lifetime: the ``expires_in`` of tokens.
    """

    def __init__(self, **options):
        self.revoked = set()
        self.gate = threading.Event()
        self.gate.set()
        self.lifetime = 3600
        self._numbers = itertools.count(1)
        super().__init__(**options)

    def config(self, name, **options):
        """Return a registration at this server."""
        return OAuth2Config(name, f"client-of-{name}", "secret", f"{self.origin}/token", **options)

    def provider(self, name, grant=None, *, config=None, **options):
        """Return a provider at this server."""
        return GenericOAuth2Provider(self.config(name, **(config or {})), grant=grant, **options)

    def forms(self, grant_type=None):
        """Return the forms that arrived, by name and with a list of values for each."""
        forms = [parse_qs(request.body.decode()) for request in list(self.received)]
        return [form for form in forms if grant_type in (None, form["grant_type"][0])]

    def answer(self, request):
        if request.path == "/github":  # where a job of GitHub Actions gets its token
            (asked,) = [value for name, value in request.query if name == "audience"]
            return Answer(body={"value": token_of("repo:acme/app", aud=asked)})
        form = parse_qs(request.body.decode())
        kind = form["grant_type"][0]
        if kind == "client_credentials":
            return self._granted({"sub": "client"}, form)
        assert self.gate.wait(GUARD_SECONDS), "nobody opened the gate"
        presented = form["subject_token" if kind == EXCHANGE else "assertion"][0]
        try:
            claims = jwt.decode(presented, KEY, ["HS256"], options={"verify_aud": False})
        except jwt.InvalidTokenError as invalid:
            return self._refused(kind, str(invalid))
        if claims["sub"] in self.revoked:
            return self._refused(kind, "revoked")
        granted = {"sub": claims["sub"]}
        if "actor_token" in form:
            actor = jwt.decode(form["actor_token"][0], KEY, ["HS256"])
            granted["act"] = {"sub": actor["sub"]}
        return self._granted(granted, form)

    def _granted(self, claims, form):
        targets = form.get("audience", []) + form.get("resource", [])
        claims |= {"jti": str(next(self._numbers)), "aud": targets}
        token = jwt.encode(claims | {"scope": form.get("scope", [""])[0]}, KEY, "HS256")
        issued = form.get("requested_token_type", [TYPES + "access_token"])[0]
        is_access = issued == TYPES + "access_token"
        return Answer(
            body={
                "access_token": token,
                "token_type": "Bearer" if is_access else "N_A",
                "issued_token_type": issued,
                "expires_in": self.lifetime,
            },
        )

    def _refused(self, kind, why):
        code = "invalid_request" if kind == EXCHANGE else "invalid_grant"  # RFC 8693 §2.2.2
        return Answer(400, {"error": code, "error_description": why})


def token_of(sub, **claims):
    """Return a token of *sub* that the service accepts."""
    return jwt.encode({"sub": sub, **claims}, KEY, "HS256")


def claims_in(token):
    """Return the claims of a token that the service granted, whatever the time."""
    checks = dict.fromkeys(("verify_aud", "verify_exp", "verify_iat"), False)
    return jwt.decode(token, KEY, ["HS256"], options=checks)


class HmacKey:
    """Signs like a :class:`SigningKey`, with the service's key."""

    def sign(self, claims, *, headers=None):
        return jwt.encode(dict(claims), KEY, "HS256", headers=headers)
