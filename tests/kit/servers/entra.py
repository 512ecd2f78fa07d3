"""A stand-in for Entra ID with real TLS: discovery, its two grants for services, and an API."""

import http.client
import json
import secrets
import ssl
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, replace

import trustme

from kit.guards import GUARD_SECONDS
from kit.servers.base import Answer, LoopbackServer
from kit.servers.entra_assertions import Trusted, challenge_header
from kit.servers.tls import context_of

TENANT = "0f0e0d0c-1111-2222-3333-444455556666"
CLIENT_ID = "a1b2c3d4-0000-4000-8000-00000000c0de"
SECRET = "s3cr3t~Value.1"
ON_BEHALF_OF = "urn:ietf:params:oauth:grant-type:jwt-bearer"
OPENID_SCOPES = {"openid", "profile", "offline_access"}


def cut(after, *, reset=True):
    """Return a script that cuts the server's usual answer after that number of bytes."""
    return lambda own: replace(own, cut_after=after, reset=reset)


def refusal(status, error, number, text):
    """Return a refusal as Entra writes it, with its number at the start of the description."""
    trace = "6f6c0f3b-0000-4000-8000-000000000000"
    stamp = "2026-01-02 03:04:05Z"
    return Answer(
        status,
        {
            "error": error,
            "error_description": (
                f"AADSTS{number}: {text} "
                f"Trace ID: {trace} Correlation ID: {trace} Timestamp: {stamp}"
            ),
            "error_codes": [number],
            "timestamp": stamp,
            "trace_id": trace,
            "correlation_id": trace,
            "error_uri": f"https://login.microsoftonline.com/error?code={number}",
        },
    )


@dataclass(frozen=True)
class TokenRequest:
    """A recorded token request.

    :ivar correlation: the id that msal gives each of its calls.
    """

    form: dict
    correlation: str | None
    wall: float
    monotonic: float
    tenant: str


class Entra(LoopbackServer):
    """Tenants with one application, served on threads of this process.

    :param certified: the host of the certificate.
    :param not_after: when the certificate expires.
    :param listens: whether to serve immediately; otherwise call :meth:`listen`.

    :ivar tenants: the tenants that exist.
    :ivar trusted: the credentials of applications beside their secrets.
    :ivar users: by the tokens of users, their names. Applications may act for them.
    :ivar demanded: the claims that the API demands of a token; ``None`` for none.
    :ivar script: the answers to the next token requests, in order: an :class:`Answer`, or a
        function of the server's usual one. ``discovery_script`` is the same for discovery.
    :ivar outage: the answer to all token requests beyond the script; ``None`` for the usual one.
    :ivar gate: token requests wait while it is not set.
    :ivar refused_calls: the reasons for which the API rejected tokens.
    """

    def __init__(self, directory, *, certified="localhost", not_after=None, listens=True):
        ca = trustme.CA()
        self.ca_file = str(directory / f"ca-{secrets.token_hex(4)}.pem")
        ca.cert_pem.write_to_path(self.ca_file)
        context = context_of(ca, certified, not_after=not_after)
        super().__init__(tls=context, name="localhost", listens=listens)
        self.client_context = ssl.create_default_context(cafile=self.ca_file)
        self.authority = self.origin
        self.lifetime_seconds = 3599
        self.clients = {CLIENT_ID: SECRET}
        self.trusted = Trusted()
        self.users = {}
        self.demanded = None
        self.tenants = {TENANT}
        self.script = deque()
        self.discovery_script = deque()
        self.outage = None
        self.gate = threading.Event()
        self.gate.set()
        self._lock = threading.Lock()  # guards the counts and the tokens
        self._expiries = {}  # by token, on the monotonic clock
        self._claims = {}  # by token, those that were requested
        self.granted_for = {}  # by token, the user
        self._in_flight = 0
        self.requests = []
        self.discoveries = 0
        self.calls = 0
        self.refused_calls = []
        self.most_at_once = 0

    # ---- for tests

    def stop(self):
        """Stop serving, and close the open connections."""
        self.gate.set()
        super().stop()

    def correlations(self):
        """Return the number of token requests of each call of msal."""
        return Counter(request.correlation for request in self.requests)

    def call(self, token):
        """Call the API with *token*; return the status and the document."""
        connection = http.client.HTTPSConnection(
            "localhost", self.server_port, context=self.client_context, timeout=GUARD_SECONDS
        )
        try:
            connection.request("GET", "/resource", headers={"Authorization": f"Bearer {token}"})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def revoke_all(self):
        with self._lock:
            self._expiries.clear()

    # ---- answers

    def answer(self, request):
        if request.method == "GET" and request.target == "/resource":
            return self.resource(request.bearer)
        if request.method == "GET" and request.target.endswith("/.well-known/openid-configuration"):
            return self.discovery(request.target)
        tenant, _, rest = request.target.removeprefix("/").partition("/")
        is_token = request.method == "POST" and rest == "oauth2/v2.0/token"
        if is_token and tenant in self.tenants:
            correlation = request.headers.get("client-request-id")
            return self.token(dict(request.form), correlation, tenant)
        return Answer(404)

    def discovery(self, path):
        with self._lock:
            self.discoveries += 1
            script = self.discovery_script.popleft() if self.discovery_script else None
        tenant = path.split("/")[1]
        if tenant in self.tenants:
            base = f"{self.authority}/{tenant}"
            own = Answer(
                body={
                    "issuer": f"{base}/v2.0",
                    "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                    "token_endpoint": f"{base}/oauth2/v2.0/token",
                }
            )
        else:
            text = f"Tenant '{tenant}' not found. Check to make sure you have the correct ID."
            own = refusal(400, "invalid_tenant", 90002, text)
        return _scripted(script, own)

    def token(self, form, correlation, tenant):
        with self._lock:
            moment = time.time(), time.monotonic()
            self.requests.append(TokenRequest(form, correlation, *moment, tenant))
            number = len(self.requests)
            self._in_flight += 1
            self.most_at_once = max(self.most_at_once, self._in_flight)
            script = self.script.popleft() if self.script else self.outage
        try:
            self.gate.wait(GUARD_SECONDS)
            if isinstance(script, Answer):
                return script
            return _scripted(script, self._result(form, number, tenant))
        finally:
            with self._lock:
                self._in_flight -= 1

    def _result(self, form, number, tenant):
        error = self._client_error(form, tenant) or self._scope_error(form)
        user = None
        if error is None and form["grant_type"] == ON_BEHALF_OF:
            user = self.users.get(form.get("assertion"))
            if user is None or form.get("requested_token_use") != "on_behalf_of":
                # Entra does not repeat the user's token, but a logging proxy might.
                text = f"Assertion failed signature validation: {form.get('assertion')}."
                error = refusal(400, "invalid_grant", 500131, text)
        if error is not None:
            return error
        token = f"entra-{number}"
        life = self.lifetime_seconds
        with self._lock:
            self._expiries[token] = time.monotonic() + life
            self._claims[token] = json.loads(form.get("claims", "{}"))
            if user is not None:
                self.granted_for[token] = user
        granted = {"token_type": "Bearer", "expires_in": life, "ext_expires_in": life}
        if user is not None:
            granted["scope"] = form["scope"]
            granted["refresh_token"] = f"refresh-{number}"
        return Answer(body=granted | {"access_token": token})

    def _client_error(self, form, tenant):
        app = form.get("client_id", "")
        if form.get("grant_type") not in ("client_credentials", ON_BEHALF_OF):
            return refusal(400, "unsupported_grant_type", 70003, "The grant is not supported.")
        if app not in self.clients:
            text = f"Application with identifier '{app}' was not found in the directory."
            return refusal(400, "unauthorized_client", 700016, text)
        if "client_assertion" in form:
            audience = f"{self.authority}/{tenant}/oauth2/v2.0/token"
            if self.trusted.accepts(form["client_assertion"], app, audience):
                return None
            text = "Client assertion failed signature validation."
            return refusal(401, "invalid_client", 700027, text)
        if form.get("client_secret") != self.clients[app]:
            # Entra does not repeat the secret, but a logging proxy might.
            text = f"Invalid client secret provided: {form.get('client_secret')}."
            return refusal(401, "invalid_client", 7000215, text)
        return None

    def _scope_error(self, form):
        scopes = [each for each in form.get("scope", "").split() if each not in OPENID_SCOPES]
        if not all("://" in scope for scope in scopes):
            text = f"The provided value for the input parameter 'scope' is not valid: {scopes}."
            return refusal(400, "invalid_scope", 70011, text)
        if form["grant_type"] != ON_BEHALF_OF and not all(
            scope.endswith("/.default") for scope in scopes
        ):
            text = f"The provided value for scope {' '.join(scopes)} is not valid."
            return refusal(400, "invalid_scope", 1002012, text)
        return None

    def resource(self, token):
        now = time.monotonic()
        with self._lock:
            self.calls += 1
            ends = self._expiries.get(token)
            if ends is not None and now < ends and not self._has_demanded(token):
                self.refused_calls.append("insufficient claims")
                header = challenge_header(self.demanded)
                return _last(401, {}, {"WWW-Authenticate": header})
            if ends is not None and now < ends:
                return _last(200, {"remaining_seconds": ends - now})
            reason = "unknown" if ends is None else f"expired {now - ends:.3f} s ago"
            self.refused_calls.append(reason)
        return _last(401, {"error": "invalid_token", "error_description": reason})

    def _has_demanded(self, token):
        had = self._claims[token].get("access_token", {})
        demanded = (self.demanded or {}).get("access_token", {})
        return all(had.get(name) == value for name, value in demanded.items())


def _last(status, body, headers=None):
    """Return an answer that announces that its connection is closed, so that none is reused."""
    return Answer(status, body, {"Connection": "close", **(headers or {})}, closes=True)


def _scripted(script, own):
    if script is None:
        return own
    return script if isinstance(script, Answer) else script(own)
