"""The clients, tokens and counts of Authlib's authorization server, in memory."""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin, list_to_scope, scope_to_list


@dataclass
class Client(ClientMixin):
    """A registered client, with the lifetime of its tokens and whether it gets refresh tokens."""

    client_id: str
    client_secret: str
    token_endpoint_auth_method: str = "client_secret_basic"
    scope: str = "read write"
    grant_types: list = field(default_factory=lambda: ["client_credentials"])
    lifetime_seconds: float = 3600
    refresh_tokens: bool = False
    delay_seconds: float = 0.0  # the duration of its token requests
    public_key: dict | None = None  # of its assertions, as a JWK
    has_user: bool = True  # whether tokens by client credentials belong to a user
    jwks: dict = field(default_factory=dict)  # the client's public keys (RFC 7591 §2)

    def get_client_id(self):
        return self.client_id

    def get_allowed_scope(self, scope):
        if not scope:
            return self.scope
        allowed = scope_to_list(self.scope)
        return list_to_scope([s for s in scope_to_list(scope) if s in allowed]) or None

    def check_client_secret(self, client_secret):
        return self.client_secret == client_secret

    def check_endpoint_auth_method(self, method, endpoint):
        return endpoint != "token" or method == self.token_endpoint_auth_method

    def check_grant_type(self, grant_type):
        return grant_type in self.grant_types


@dataclass
class Token(TokenMixin):
    """An access token, and the refresh token that was granted with it."""

    client: Client
    access_token: str
    expires_in: float
    scope: str = ""
    refresh_token: str | None = None
    token_type: str = "Bearer"
    user: str | None = None
    grant_type: str = ""
    family: int = 0  # the number of the first grant that this token goes back to
    issued_at: float = field(default_factory=time.time)
    revoked: bool = False
    refresh_used: bool = False
    refresh_revoked: bool = False

    def check_client(self, client):
        return client is self.client

    def get_scope(self):
        return self.scope

    def get_expires_in(self):
        return self.expires_in

    def is_expired(self):
        return time.time() >= self.issued_at + self.expires_in

    def is_revoked(self):
        return self.revoked

    def get_user(self):
        return self.user

    def get_client(self):
        return self.client


class Store:
    """The state of the server. ``lock`` guards all of it."""

    def __init__(self):
        self.lock = threading.RLock()
        self.clients = {}
        self.tokens = []
        self.by_access = {}
        self.by_refresh = {}
        self.stats = {}
        self.used_assertions = set()
        self.in_flight = Counter()

    def count(self, client_id, what, number=1):
        with self.lock:
            self.stats.setdefault(client_id, Counter())[what] += number

    def begin(self, client_id):
        """Count a token request that has arrived."""
        with self.lock:
            self.in_flight[client_id] += 1
            counts = self.stats.setdefault(client_id, Counter())
            counts["token_requests"] += 1
            counts["most_at_once"] = max(counts["most_at_once"], self.in_flight[client_id])

    def end(self, client_id):
        with self.lock:
            self.in_flight[client_id] -= 1

    def save(self, answer, asked):
        before = asked.refresh_token if asked.payload.grant_type == "refresh_token" else None
        with self.lock:
            token = Token(
                asked.client,
                user=getattr(before, "user", None) or asked.user,
                grant_type=asked.payload.grant_type,
                family=before.family if before else len(self.tokens) + 1,
                **answer,
            )
            self.tokens.append(token)
            self.by_access[token.access_token] = token
            if token.refresh_token:
                self.by_refresh[token.refresh_token] = token
            self.count(asked.client.client_id, "grants")
            self.count(asked.client.client_id, f"grants_by_{token.grant_type}")

    def find(self, text, hint=None):
        with self.lock:
            return self.by_access.get(text) or self.by_refresh.get(text)

    def revoke_family(self, family):
        with self.lock:
            for token in self.tokens:
                if token.family == family:
                    token.revoked = token.refresh_revoked = True
