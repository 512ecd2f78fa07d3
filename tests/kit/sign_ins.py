"""An authorization server in memory that a person signs in at, and keepers that use it."""

import base64
import hashlib
import itertools
import json
from urllib.parse import parse_qs, urlencode, urlsplit

import responses

from tokenkeeper import GenericOAuth2Provider, OAuth2Config, RetryPolicy, TokenKeeper
from tokenkeeper.providers.grants.authorization_code import AuthorizationCode

REDIRECT_URI = "https://app.test/callback"


_numbers = itertools.count(1)


class SignInServer:
    """Grants token-1, token-2, ... for codes and refresh tokens, each of which works once.

    A refresh token that is used again revokes its family, as RFC 9700 §4.14.2 advises.

    :param par: whether requests can be pushed.
    :ivar issuer: its issuer identifier, which no other one has.
    :ivar metadata: what the server says of itself.
    :ivar sent: the parameters of all POST requests, with ``path``.
    :ivar grants_refresh_tokens: whether it does.
    :ivar answers: status and content to answer the next POST requests with, in place of its own.
    :ivar during: what to call once while the next POST request is under way.
    :ivar lifetime: of its access tokens, in seconds.
    """

    def __init__(self, *, par=False, **metadata):
        # Metadata is cached for as long as a provider uses the transport, so no two share one.
        self.issuer = issuer = f"https://as{next(_numbers)}.test"
        self.metadata = {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/authorize?ui=plain",
            "token_endpoint": f"{issuer}/token",
            "authorization_response_iss_parameter_supported": True,
            **({"pushed_authorization_request_endpoint": f"{issuer}/par"} if par else {}),
            **metadata,
        }
        self.sent = []
        self.grants_refresh_tokens = True
        self.answers = []
        self.during = None
        self.lifetime = 3600
        self._numbers = itertools.count(1)
        self._codes = {}
        self._pushed = {}
        self._family_of = {}
        self._newest = {}
        self._mock = responses.RequestsMock(assert_all_requests_are_fired=False)

    def __enter__(self):
        self._mock.start()
        well_known = f"{self.issuer}/.well-known/oauth-authorization-server"
        self._mock.add_callback(
            responses.GET, well_known, lambda _: (200, {}, json.dumps(self.metadata))
        )
        for path in ("token", "par"):
            self._mock.add_callback(responses.POST, f"{self.issuer}/{path}", self._post)
        return self

    def __exit__(self, *_):
        self._mock.stop(allow_assert=False)
        self._mock.reset()

    @property
    def paths(self):
        """Return the paths of all POST requests."""
        return [each["path"] for each in self.sent]

    @property
    def grant_types(self):
        """Return the grant types of all token requests."""
        return [each["grant_type"] for each in self.sent if each["path"] == "/token"]

    # ---- the person

    def asked(self, url):
        """Return what an authorization request asks for, as lists of values."""
        query = parse_qs(urlsplit(url).query)
        if "request_uri" in query:
            return {**query, **self._pushed[query["request_uri"][0]]}
        return query

    def sign_in(self, url, **changes):
        """Sign in, and return the URL that the browser is sent to.

        :param changes: parameters of that URL to replace; ``None`` leaves one out.
        """
        asked = self.asked(url)
        code = f"code-{next(self._numbers)}"
        self._codes[code] = asked
        given = {"code": code, "state": asked["state"][0], "iss": self.issuer, **changes}
        query = urlencode({name: value for name, value in given.items() if value is not None})
        return f"{asked['redirect_uri'][0]}?{query}"

    def decline(self, url, **changes):
        """Decline, and return the URL that the browser is sent to."""
        error = {"error": "access_denied", "error_description": "not today"}
        return self.sign_in(url, code=None, **error, **changes)

    # ---- the client

    def _post(self, request):
        body = parse_qs(request.body)
        path = urlsplit(request.url).path
        sent = {name: values[0] if len(values) == 1 else values for name, values in body.items()}
        self.sent.append({"path": path, "dpop": request.headers.get("DPoP"), **sent})
        if self.during is not None:
            call, self.during = self.during, None
            call()
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            status, content = answer
            return status, {}, json.dumps(content)
        status, content = self._pushed_answer(body) if path == "/par" else self._granted(body)
        return status, {}, json.dumps(content)

    def _pushed_answer(self, body):
        uri = f"urn:request:{len(self._pushed) + 1}"
        self._pushed[uri] = body
        return 201, {"request_uri": uri, "expires_in": 60}

    def _granted(self, body):
        if body["grant_type"] == ["authorization_code"]:
            family = self._family_of_code(body)
        else:
            family = self._family_of.get(body["refresh_token"][0])
            if self._newest.get(family) != body["refresh_token"][0]:
                self._newest.pop(family, None)
                family = None
        if family is None:
            return 400, {"error": "invalid_grant"}
        number = len(self.sent)
        content = {"access_token": f"token-{number}", "token_type": "Bearer"}
        content["expires_in"] = self.lifetime
        if self.grants_refresh_tokens:
            content["refresh_token"] = self._newest[family] = f"refresh-{number}"
            self._family_of[f"refresh-{number}"] = family
        return 200, content

    def _family_of_code(self, body):
        asked = self._codes.pop(body["code"][0], None)
        if asked is None or asked["redirect_uri"] != body["redirect_uri"]:
            return None
        digest = hashlib.sha256(body["code_verifier"][0].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        return body["code"][0] if asked["code_challenge"] == [challenge] else None

    # ---- keepers

    def provider(self, name="crm", *, secret="s3cret-of-the-client", scope="read", **options):
        """Return a provider whose tokens begin with a sign-in."""
        own = {
            each: options.pop(each)
            for each in ("custody", "dpop", "clock", "token_endpoint_auth_method")
            if each in options
        }
        options.setdefault("redirect_uri", REDIRECT_URI)
        if "redirect_port" in options or options["redirect_uri"] is None:
            del options["redirect_uri"]
        config = OAuth2Config(name, "me", secret, issuer=self.issuer, scope=scope)
        return GenericOAuth2Provider(config, grant=AuthorizationCode(**options), **own)

    def keeper(self, *providers, **options):
        """Return a keeper without threads."""
        options.setdefault("background", False)
        keeper = TokenKeeper(retry=RetryPolicy(attempts=1), **options)
        for provider in providers or (self.provider(),):
            keeper.add_provider(provider)
        return keeper
