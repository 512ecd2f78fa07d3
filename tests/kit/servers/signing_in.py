"""An authorization server on loopback that people sign in to, scripted by a test."""

import base64
import hashlib
from urllib.parse import urlencode

from kit.servers.base import Answer, LoopbackServer

CODE = "code-which-is-never-shown"
REFRESH_TOKEN = "refresh-token-which-is-never-shown"
ACCESS_TOKEN = "access-token-which-is-never-shown"
DEVICE_CODE = "device-code-which-is-never-shown"
AUTH_REQ_ID = "auth-req-id-which-is-never-shown"
SECRETS = (CODE, REFRESH_TOKEN, ACCESS_TOKEN, DEVICE_CODE, AUTH_REQ_ID)


class SignInServer(LoopbackServer):
    """Signs everybody in who opens its page, and grants tokens for the code with its verifier.

    :ivar declines: whether the person declines.
    :ivar refresh_tokens: whether a sign-in brings a refresh token.
    :ivar revokes: whether it has a revocation endpoint.
    :ivar refusal: the answer to a use of the refresh token; ``None`` to grant a token.
    :ivar revocation: the answer to a revocation.
    :ivar pages: the queries of the sign-in pages that were opened.
    :ivar revoked: the tokens that were revoked.
    """

    def __init__(self):
        self.declines = False
        self.refresh_tokens = True
        self.revokes = True
        self.refusal = None
        self.revocation = Answer(200)
        self.pages = []
        self.revoked = []
        super().__init__()
        self.issuer = self.origin

    def answer(self, request):
        match request.path:
            case "/.well-known/oauth-authorization-server":
                return Answer(200, self._metadata())
            case "/authorize":
                return self._authorize(dict(request.query))
            case "/device":
                return Answer(200, self._begun())
            case "/backchannel":
                return Answer(200, {"auth_req_id": AUTH_REQ_ID, "expires_in": 120, "interval": 0})
            case "/token":
                return self._token(dict(request.form))
            case "/revoke":
                self.revoked.append(dict(request.form)["token"])
                return self.revocation
        return Answer(404)

    def forms(self, path):
        """Return the forms of the requests to *path*."""
        return [dict(each.form) for each in self.received if each.path == path]

    def _metadata(self):
        endpoints = {
            "authorization_endpoint": "/authorize",
            "token_endpoint": "/token",
            "device_authorization_endpoint": "/device",
            "backchannel_authentication_endpoint": "/backchannel",
            **({"revocation_endpoint": "/revoke"} if self.revokes else {}),
        }
        return {
            "issuer": self.issuer,
            **{name: self.origin + path for name, path in endpoints.items()},
            "authorization_response_iss_parameter_supported": True,
        }

    def _authorize(self, query):
        self.pages.append(query)
        outcome = {"error": "access_denied"} if self.declines else {"code": CODE}
        answer = urlencode({**outcome, "state": query["state"], "iss": self.issuer})
        return Answer(302, headers={"Location": f"{query['redirect_uri']}?{answer}"})

    def _begun(self):
        return {
            "device_code": DEVICE_CODE,
            "user_code": "WDJB-MJHT",
            "verification_uri": f"{self.origin}/enter",
            "expires_in": 600,
            "interval": 0,
        }

    def _token(self, form):
        if form["grant_type"] == "authorization_code":
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            if form["code"] != CODE or challenge != self.pages[-1]["code_challenge"]:
                return Answer(400, {"error": "invalid_grant"})
            return Answer(200, self._granted(self.pages[-1].get("scope")))
        if form["grant_type"] == "refresh_token":
            return self.refusal or Answer(200, self._granted("read"))
        return Answer(200, self._granted("read"))

    def _granted(self, scope):
        granted = {"access_token": ACCESS_TOKEN, "token_type": "Bearer", "expires_in": 3600}
        if scope:
            granted["scope"] = scope
        return {**granted, **({"refresh_token": REFRESH_TOKEN} if self.refresh_tokens else {})}
