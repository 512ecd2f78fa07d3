"""The endpoints of the loopback authorization server, without sockets."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from tokenkeeper.clock import Clock
from tokenkeeper.testing.api import METHODS, ProtectedResource
from tokenkeeper.testing.faults import Answer, Faults
from tokenkeeper.testing.grants import GRANT_TYPES, Grants, RefusedGrantError
from tokenkeeper.testing.request import FormError, Request
from tokenkeeper.testing.stats import Recorder

if TYPE_CHECKING:
    from tokenkeeper.testing.jwts import JWTSigner  # loads cryptography

__all__ = ["Endpoints", "Request"]

_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}  # RFC 6749 §5.1
_READ = ("GET", "HEAD")


class Endpoints:
    """The endpoints over one set of grants. Thread-safe.

    :ivar lifetime_seconds: the lifetime of tokens granted from now on.
    :ivar refresh_tokens: whether they come with a refresh token.
    """

    def __init__(
        self,
        clock: Clock,
        lifetime_seconds: float,
        *,
        refresh_tokens: bool,
        faults: Faults,
        signer: JWTSigner | None = None,
    ) -> None:
        self.lifetime_seconds = lifetime_seconds
        self.refresh_tokens = refresh_tokens
        self.faults = faults
        self.grants: Grants = Grants(clock, signer)
        self.recorder: Recorder = Recorder(clock)
        self.api: ProtectedResource = ProtectedResource(self.grants, self.recorder)
        self._key_set = signer and signer.key_set()

    def answer(self, request: Request, issuer: str) -> Answer | Literal["reset"]:
        """Return the answer to *request*, or "reset" to reset the connection instead."""
        path = urlsplit(request.target).path
        routes: dict[str, tuple[Collection[str], Callable[[], Answer | Literal["reset"]]]] = {
            "/token": (["POST"], lambda: self._token(request, issuer)),
            "/introspect": (["POST"], lambda: self._introspect(request)),
            "/revoke": (["POST"], lambda: self._revoke(request)),
            "/.well-known/oauth-authorization-server": (_READ, lambda: self._metadata(issuer)),
        }
        if self._key_set is not None:
            routes["/jwks"] = _READ, lambda: Answer(200, self._key_set)
        if path.startswith("/api/"):
            routes[path] = METHODS, lambda: self.api.answer(request, path)
        if path not in routes:
            return Answer(404, {"error": "not_found", "path": path})
        methods, answer = routes[path]
        if request.method not in methods:
            allow = {"Allow": ", ".join(methods)}
            return Answer(405, {"error": "method_not_allowed"}, allow)
        return answer()

    def _token(self, request: Request, issuer: str) -> Answer | Literal["reset"]:
        with self.recorder.token_request(request.parameter("grant_type")):
            instead = self.faults.strike()
            if instead is not None:
                return instead
            try:
                form = _form(request)
                client_id = self.grants.authenticate(request.headers.get("Authorization"), form)
                body = self.grants.grant(
                    client_id,
                    form,
                    self.lifetime_seconds,
                    refresh=self.refresh_tokens,
                    issuer=issuer,
                )
            except RefusedGrantError as refused:
                return _refusal(refused)
            self.recorder.granted()
            return Answer(200, body, _NO_STORE)

    def _introspect(self, request: Request) -> Answer:
        """Introspect a token for an authenticated client (RFC 7662)."""
        try:
            form = _form(request)
            self.grants.authenticate(request.headers.get("Authorization"), form)
        except RefusedGrantError as refused:
            return _refusal(refused)
        return Answer(200, self.grants.describe(form.get("token", "")), _NO_STORE)

    def _revoke(self, request: Request) -> Answer:
        """Revoke a token for the client that it was granted to (RFC 7009 §2)."""
        try:
            form = _form(request)
            client_id = self.grants.authenticate(request.headers.get("Authorization"), form)
        except RefusedGrantError as refused:
            return _refusal(refused)
        self.grants.revoke(form.get("token", ""), client_id)
        return Answer(200, {}, _NO_STORE)

    def _metadata(self, issuer: str) -> Answer:
        """Return the server's metadata (RFC 8414)."""
        methods = ["client_secret_basic", "client_secret_post"]
        document = {
            "issuer": issuer,
            "token_endpoint": f"{issuer}/token",
            "token_endpoint_auth_methods_supported": methods,
            "introspection_endpoint": f"{issuer}/introspect",
            "introspection_endpoint_auth_methods_supported": methods,
            "revocation_endpoint": f"{issuer}/revoke",
            "revocation_endpoint_auth_methods_supported": methods,
            "grant_types_supported": list(GRANT_TYPES),
            "response_types_supported": [],
            "scopes_supported": self.grants.scopes,
        }
        if self._key_set is not None:
            document["jwks_uri"] = f"{issuer}/jwks"
        return Answer(200, document)


def _form(request: Request) -> dict[str, str]:
    try:
        return request.form()
    except FormError as problem:
        raise RefusedGrantError("invalid_request", str(problem)) from None


def _refusal(refused: RefusedGrantError) -> Answer:
    headers = dict(_NO_STORE)
    if refused.challenge:
        headers["WWW-Authenticate"] = 'Basic realm="loopback"'
    status = 401 if refused.error == "invalid_client" else 400
    body = {"error": refused.error, "error_description": refused.description}
    return Answer(status, body, headers)
