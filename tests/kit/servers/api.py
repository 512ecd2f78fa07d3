"""An API on loopback that accepts some tokens and refuses others."""

import itertools
from dataclasses import replace

from kit.servers.base import Answer, LoopbackServer


class Api(LoopbackServer):
    """Answers requests that carry a valid token with what it received.

    ``/to/URL`` redirects every request, ``/then/URL`` those with a valid token.

    :ivar valid: the tokens that it accepts; it accepts those in *once* one time.
    :ivar seen: path, token and body of each request.
    :ivar refusal: the body of a 401, and *challenge* its ``WWW-Authenticate``.
    :ivar cookies: whether each response sets a cookie, named by its number and with its status.
    :ivar revoke_at: the number of the request at which all tokens are revoked.
    :ivar faults: for each of the next responses: "drop" it, "cut" it in the middle, refuse "early",
        before the body is read; or ``None``.
    """

    def __init__(self):
        super().__init__()
        self.url = self.origin
        self.valid = set()
        self.once = set()
        self.cookies = False
        self.seen = []
        self.refusal = b"no"
        self.challenge = 'Bearer error="invalid_token"'
        self.revoke_at = None
        self.faults = []
        self._numbers = itertools.count(1)

    @property
    def place(self):
        """The API as an item of ``allowed_hosts``."""
        return f"127.0.0.1:{self.server_port}"

    @property
    def tokens(self):
        return [token for _, token, _ in self.seen]

    def note(self, path, token, body):
        """Record a request."""
        self.seen.append((path, token, body))
        if next(self._numbers) == self.revoke_at:
            self.valid.clear()

    def respond(self, request, send):
        fault = self.faults.pop(0) if self.faults else None
        if fault == "early":
            send(self._with_cookie(Answer(401, self.refusal, {"Connection": "close"})))
        _, _, token = request.headers.get("authorization", "").partition(" ")
        self.note(request.target, token or None, request.body)
        if fault in ("early", "drop"):
            return False
        answer = self._with_cookie(self.answer(request))
        if fault == "cut":
            length = {"Content-Length": str(len(answer.content()) + 1)}
            answer = replace(answer, headers=answer.headers | length, closes=True)
        send(answer)
        return not answer.closes

    def answer(self, request):
        if request.target.startswith("/to/"):
            return Answer(307, headers={"Location": request.target.removeprefix("/to/")})
        token = request.bearer
        is_valid = token in self.valid or token in self.once
        self.once.discard(token)
        if token is None or not is_valid:
            return Answer(401, self.refusal, {"WWW-Authenticate": self.challenge})
        if request.target.startswith("/then/"):
            status = 303 if request.method == "POST" else 307
            return Answer(status, headers={"Location": request.target.removeprefix("/then/")})
        said = {"path": request.target, "token": token, "body": request.body.decode()}
        return Answer(202 if request.method == "DELETE" else 200, said)

    def _with_cookie(self, answer):
        if not self.cookies:
            return answer
        cookie = {"Set-Cookie": f"c{len(self.seen) - 1}={answer.status}"}
        return replace(answer, headers=answer.headers | cookie)
