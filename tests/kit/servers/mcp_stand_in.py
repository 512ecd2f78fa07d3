"""An MCP server and its authorization server in one, whose answers a test can change.

It speaks HTTP alone, as the auth of a client sees it; the official SDK's servers are in
:mod:`kit.servers.mcp_server` and :mod:`kit.servers.mcp_official`.
"""

import base64
import hashlib
import itertools
import json
import threading
from urllib.parse import parse_qs, urlencode

import requests

from kit.servers.base import Answer, LoopbackServer

RESOURCE = "/.well-known/oauth-protected-resource/mcp"
METADATA = "/.well-known/oauth-authorization-server"


class McpStandIn(LoopbackServer):
    """Serves ``/mcp``, which needs a token with the scope "read", and ``/mcp/NAME``.

    :ivar resource: the members that the resource's metadata has, or an :class:`Answer`.
    :ivar metadata: those of the authorization server's metadata, or an :class:`Answer`.
    :ivar clients: the registered clients by id.
    :ivar tokens: the access tokens that are good, with the form of their request.
    :ivar refresh_tokens: the refresh tokens that are good, likewise.
    :ivar names_scope: whether a challenge names the scope.
    :ivar replies: answers by target, which replace the usual ones.
    :ivar lifetime: of tokens, in seconds.
    """

    def __init__(self, **options):
        self.clients, self.tokens, self.refresh_tokens, self.codes = {}, {}, {}, {}
        self.replies = {}
        self.names_scope = True
        self.lifetime = 3600
        self._numbers = itertools.count(1)
        self._turn = threading.Lock()  # guards the four dictionaries
        super().__init__(**options)
        self.url = f"{self.origin}/mcp"
        self.resource = {
            "resource": self.url,
            "authorization_servers": [self.origin],
            "scopes_supported": ["read"],
        }
        self.metadata = {
            "issuer": self.origin,
            "authorization_endpoint": f"{self.origin}/authorize",
            "token_endpoint": f"{self.origin}/token",
            "registration_endpoint": f"{self.origin}/register",
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }

    # ---- what happened

    def asked(self, path, method=None):
        """Return the requests for *path*, in order."""
        return [
            each
            for each in list(self.received)
            if each.path == path and method in (None, each.method)
        ]

    def forms(self):
        """Return the forms of the token requests."""
        return [dict(each.form) for each in self.asked("/token")]

    def counts(self):
        """Return how many discoveries, registrations, sign-ins and token requests there were."""
        paths = (RESOURCE, "/register", "/authorize", "/token")
        return tuple(len(self.asked(path)) for path in paths)

    def revoke_tokens(self):
        """Accept none of the access tokens any more."""
        with self._turn:
            self.tokens.clear()

    def forget_clients(self):
        """Lose everything, as a server does that keeps it in memory and is restarted."""
        with self._turn:
            for each in (self.clients, self.tokens, self.refresh_tokens):
                each.clear()

    # ---- what it answers

    def answer(self, request):
        if request.target in self.replies:
            reply = self.replies[request.target]
            return reply(request) if callable(reply) else reply
        if request.path == RESOURCE:
            return _published(self.resource)
        if request.path == METADATA:
            return _published(self.metadata)
        with self._turn:
            if request.path == "/register":
                return self._register(json.loads(request.body))
            if request.path == "/authorize":
                return self._authorize(request)
            if request.path == "/token":
                return self._token(dict(request.form))
            if request.path == "/mcp" or request.path.startswith("/mcp/"):
                return self._call(request)
        return Answer(404)

    def _register(self, metadata):
        client = {**metadata, "client_id": f"client-{next(self._numbers)}"}
        if metadata.get("token_endpoint_auth_method") != "none":
            client["client_secret"] = "registered-secret"
        self.clients[client["client_id"]] = client
        return Answer(201, client)

    def _authorize(self, request):
        asked = {name: values[0] for name, values in parse_qs(request.target).items()}
        asked |= dict(request.query)
        client = self.clients.get(asked["client_id"])
        if client is None or asked["redirect_uri"] not in client["redirect_uris"]:
            return Answer(400, b"unknown client")
        code = f"code-{next(self._numbers)}"
        self.codes[code] = asked
        back = {"code": code, "state": asked["state"], "iss": self.origin}
        return Answer(302, b"", {"Location": f"{asked['redirect_uri']}?{urlencode(back)}"})

    def _token(self, form):
        kind = form["grant_type"]
        if form.get("client_id", "given") not in {*self.clients, "given"}:
            return Answer(401, {"error": "invalid_client"})
        if kind == "authorization_code":
            asked = self.codes.pop(form["code"], None)
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
            if asked is None or asked["code_challenge"] != challenge:
                return Answer(400, {"error": "invalid_grant"})
            form = {**form, "scope": asked.get("scope", "")}
        elif kind == "refresh_token":
            before = self.refresh_tokens.pop(form["refresh_token"], None)
            if before is None:
                return Answer(400, {"error": "invalid_grant"})
            form = {**form, "scope": before["scope"]}
        return self._granted(form, refreshes=kind != "client_credentials")

    def _granted(self, form, *, refreshes):
        number = next(self._numbers)
        content = {
            "access_token": f"access-{number}",
            "token_type": "Bearer",
            "expires_in": self.lifetime,
            "scope": form.get("scope", ""),
        }
        self.tokens[content["access_token"]] = form
        if refreshes:
            content["refresh_token"] = f"refresh-{number}"
            self.refresh_tokens[content["refresh_token"]] = form
        return Answer(200, content)

    def _call(self, request):
        granted = self.tokens.get(request.bearer)
        where = f'resource_metadata="{self.origin}{RESOURCE}"'
        if granted is None or granted.get("resource") != self.url:
            return Answer(401, b"", {"WWW-Authenticate": f'Bearer error="invalid_token", {where}'})
        needed = request.path.removeprefix("/mcp").strip("/") or "read"
        if needed in granted.get("scope", "").split():
            return Answer(200, {"ok": needed})
        scope = f', scope="{needed}"' if self.names_scope else ""
        challenge = f'Bearer error="insufficient_scope"{scope}, {where}'
        return Answer(403, b"", {"WWW-Authenticate": challenge})


def _published(content):
    return content if isinstance(content, Answer) else Answer(200, content)


class Person:
    """Signs in at once, on a thread, at the URL that a client shows.

    :ivar urls: the URLs that were shown.
    """

    def __init__(self):
        self.urls = []
        self._threads = []

    def __call__(self, url):
        self.urls.append(url)
        thread = threading.Thread(target=requests.get, args=(url,), kwargs={"timeout": 30})
        thread.start()
        self._threads.append(thread)

    def leave(self):
        for thread in self._threads:
            thread.join(30)
