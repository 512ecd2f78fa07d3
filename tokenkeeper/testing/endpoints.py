"""The endpoints of the loopback authorization server, without sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from tokenkeeper.clock import Clock
from tokenkeeper.testing.faults import Answer, Faults
from tokenkeeper.testing.grants import GRANT_TYPES, Grants, RefusedGrantError
from tokenkeeper.testing.stats import Recorder

__all__ = ["Endpoints", "Request"]

_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}  # RFC 6749 §5.1
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request."""

    method: str
    target: str
    headers: Message
    body: bytes = b""


class Endpoints:
    """The endpoints over one set of grants. Thread-safe.

    :ivar lifetime_seconds: the lifetime of tokens granted from now on.
    :ivar refresh_tokens: whether they come with a refresh token.
    """

    def __init__(
        self, clock: Clock, lifetime_seconds: float, *, refresh_tokens: bool, faults: Faults
    ) -> None:
        self.lifetime_seconds = lifetime_seconds
        self.refresh_tokens = refresh_tokens
        self.faults = faults
        self.grants: Grants = Grants(clock)
        self.recorder: Recorder = Recorder(clock)
        self._api_refusals: Iterator[None] = iter(())

    def refuse_api_calls(self, times: int) -> None:
        """Refuse the next *times* calls of the API, whatever their tokens."""
        self._api_refusals = iter([None] * times)

    def answer(self, request: Request, issuer: str) -> Answer | Literal["reset"]:
        """Return the answer to *request*, or "reset" to reset the connection instead."""
        path = urlsplit(request.target).path
        routes: dict[str, tuple[str, Callable[[], Answer | Literal["reset"]]]] = {
            "/token": ("POST", lambda: self._token(request)),
            "/introspect": ("POST", lambda: self._introspect(request)),
            "/.well-known/oauth-authorization-server": ("GET", lambda: self._metadata(issuer)),
        }
        if path.startswith("/api/"):
            routes[path] = ("GET", lambda: self._api(request, path))
        if path not in routes:
            return Answer(404, {"error": "not_found", "path": path})
        method, answer = routes[path]
        if request.method != method:
            return Answer(405, {"error": "method_not_allowed"}, {"Allow": method})
        return answer()

    def _token(self, request: Request) -> Answer | Literal["reset"]:
        pairs = parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True)
        with self.recorder.token_request(dict(pairs).get("grant_type", "")):
            instead = self.faults.strike()
            if instead is not None:
                return instead
            try:
                form = _form(request, pairs)
                client_id = self.grants.authenticate(request.headers.get("Authorization"), form)
                body = self.grants.grant(
                    client_id, form, self.lifetime_seconds, refresh=self.refresh_tokens
                )
            except RefusedGrantError as refused:
                return _refusal(refused)
            self.recorder.granted()
            return Answer(200, body, _NO_STORE)

    def _introspect(self, request: Request) -> Answer:
        """Introspect a token for an authenticated client (RFC 7662)."""
        pairs = parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True)
        try:
            form = _form(request, pairs)
            self.grants.authenticate(request.headers.get("Authorization"), form)
        except RefusedGrantError as refused:
            return _refusal(refused)
        return Answer(200, self.grants.describe(form.get("token", "")), _NO_STORE)

    def _metadata(self, issuer: str) -> Answer:
        """Return the server's metadata (RFC 8414)."""
        methods = ["client_secret_basic", "client_secret_post"]
        document = {
            "issuer": issuer,
            "token_endpoint": f"{issuer}/token",
            "token_endpoint_auth_methods_supported": methods,
            "introspection_endpoint": f"{issuer}/introspect",
            "introspection_endpoint_auth_methods_supported": methods,
            "grant_types_supported": list(GRANT_TYPES),
            "response_types_supported": [],
            "scopes_supported": self.grants.scopes,
        }
        return Answer(200, document)

    def _api(self, request: Request, path: str) -> Answer:
        """Serve a protected resource (RFC 6750 §3)."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            self.recorder.api_call("missing")
            challenge = 'Bearer realm="loopback"'
            return Answer(401, {"error": "no token was sent"}, {"WWW-Authenticate": challenge})
        scripted = "refused as told" if next(self._api_refusals, self) is None else None
        problem = scripted or self.grants.problem(token.strip())
        self.recorder.api_call(problem)
        if problem is None:
            return Answer(200, {"path": path})
        challenge = (
            'Bearer realm="loopback", error="invalid_token", '
            f'error_description="the token is {problem}"'
        )
        refusal = {"error": "invalid_token", "error_description": f"the token is {problem}"}
        return Answer(401, refusal, {"WWW-Authenticate": challenge})


def _form(request: Request, pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Return the parameters of a form (RFC 6749 §3.2: no repeats; empty ones are absent)."""
    content_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if content_type != _FORM:
        raise RefusedGrantError("invalid_request", f"the body must be {_FORM}")
    names = [name for name, _ in pairs if name != "resource"]  # RFC 8707 §2 repeats this one
    if len(names) != len(set(names)):
        raise RefusedGrantError("invalid_request", "a parameter is repeated")
    return {name: value for name, value in pairs if value}


def _refusal(refused: RefusedGrantError) -> Answer:
    headers = dict(_NO_STORE)
    if refused.challenge:
        headers["WWW-Authenticate"] = 'Basic realm="loopback"'
    status = 401 if refused.error == "invalid_client" else 400
    body = {"error": refused.error, "error_description": refused.description}
    return Answer(status, body, headers)
