"""An authorization server where somebody always consents, and the API that its tokens are for."""

import base64
import hashlib
import itertools
import threading
from urllib.parse import parse_qsl, urlencode, urlsplit

from kit.servers.base import Answer, LoopbackServer

CLIENT = "my-app"
SECRET = "the secret"


class ConsentServer(LoopbackServer):
    """Answers each authorization request with a code, for an account that it numbers.

    A code and a refresh token work once. A refresh token that is used twice ends its account's
    grant, as on servers that take reuse for theft.

    :ivar denies: whether the person refuses.
    :ivar grants: the requests for tokens that were granted, by grant type, in order.
    :ivar reused: the number of codes and refresh tokens that were used twice.
    """

    def __init__(self, **options):
        self.denies = False
        self.grants = []
        self.reused = 0
        self._numbers = itertools.count(1)
        self._codes = {}
        self._refresh_tokens = {}
        self._access_tokens = {}
        self._spent = set()
        self._lock = threading.Lock()  # guards all of the above
        super().__init__(**options)

    def answer(self, request):
        with self._lock:
            if request.path == "/authorize":
                return self._authorize(dict(request.query))
            if request.path == "/token":
                return self._token(dict(request.form))
            account = self._access_tokens.get(request.bearer)
            return Answer(401) if account is None else Answer(200, {"account": account})

    def consent(self, url):
        """Visit *url* as a browser does, and return the path and the query of the redirect."""
        assert urlsplit(url).path == "/authorize"
        with self._lock:
            answer = self._authorize(dict(parse_qsl(urlsplit(url).query)))
        callback = urlsplit(answer.headers["Location"])
        return f"{callback.path}?{callback.query}"

    def revoke_access_tokens(self):
        """Forget all access tokens, so that the API refuses them."""
        with self._lock:
            self._access_tokens.clear()

    def _authorize(self, asked):
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT
        assert asked["code_challenge_method"] == "S256"
        given = {"state": asked["state"]}
        if self.denies:
            given["error"] = "access_denied"
        else:
            number = next(self._numbers)
            given["code"] = f"code-{number}"
            account = f"account-{number}"
            self._codes[given["code"]] = account, asked["code_challenge"], asked["redirect_uri"]
        return Answer(302, headers={"Location": f"{asked['redirect_uri']}?{urlencode(given)}"})

    def _token(self, form):
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT, SECRET):
            return Answer(401, {"error": "invalid_client"})
        kind = form["grant_type"]
        if kind == "authorization_code":
            key = form["code"]
            account, challenge, redirect_uri = self._codes.pop(key, (None, None, None))
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            proof = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            if (proof, form["redirect_uri"]) != (challenge, redirect_uri):
                account = None
        else:
            key = form["refresh_token"]
            account = self._refresh_tokens.pop(key, None)
        if account is None:
            self.reused += key in self._spent
            return Answer(400, {"error": "invalid_grant"})
        self._spent.add(key)
        self.grants.append(kind)
        number = next(self._numbers)
        access, refresh = f"access-{number}", f"refresh-{number}"
        self._access_tokens[access] = account
        self._refresh_tokens[refresh] = account
        token = {"access_token": access, "token_type": "Bearer", "expires_in": 3600}
        return Answer(200, {**token, "refresh_token": refresh})
