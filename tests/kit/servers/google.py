"""A stand-in for Google's token endpoint, STS, IAM credentials API and metadata server."""

import json
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kit.servers.base import Answer, LoopbackServer

AUDIENCE = "https://oauth2.googleapis.com/token"
EMAIL = "robot@project.iam.gserviceaccount.com"
POOL = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q"


def new_key():
    """Return a new private key in PEM, and its public half."""
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return pem, key.public_key()


class Google(LoopbackServer):
    """Each of the services, on one port.

    :ivar keys: the public keys that sign assertions, by their ids.
    :ivar subjects: the subject tokens that are accepted.
    :ivar flavor: what the metadata server says that it is.
    """

    def __init__(self, **options):
        self.keys = {}
        self.subjects = {"subject-token"}
        self.flavor = "Google"
        super().__init__(**options)

    def key_file(self, path, key_id, pem, **changes):
        """Write the key file of a service account, whose key is *pem*."""
        content = {
            "type": "service_account",
            "client_email": EMAIL,
            "private_key_id": key_id,
            "private_key": pem,
            "token_uri": f"{self.origin}/token",
        }
        path.write_text(json.dumps(content | changes))
        return path

    def account_file(self, path, source, **changes):
        """Write the file of an external account, whose subject token comes from *source*."""
        content = {
            "type": "external_account",
            "audience": POOL,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{self.origin}/v1/token",
            "credential_source": source,
        }
        path.write_text(json.dumps(content | changes))
        return path

    @property
    def impersonation_url(self):
        return f"{self.origin}/v1/projects/-/serviceAccounts/{EMAIL}:generateAccessToken"

    def answer(self, request):
        if request.path == "/token":
            return self._by_assertion(parse_qs(request.body.decode()))
        if request.path == "/v1/token":
            return self._by_exchange(parse_qs(request.body.decode()))
        if request.path.endswith(":generateAccessToken"):
            return self._impersonated(request)
        if request.path.startswith("/computeMetadata/"):
            return self._metadata(request)
        if request.path == "/subject":
            if request.headers.get("metadata") != "True":
                return Answer(400, {"error": "invalid_request"})
            return Answer(body={"access_token": "subject-token"})
        return Answer(404)

    def _by_assertion(self, form):
        assertion = form["assertion"][0]
        key = self.keys.get(jwt.get_unverified_header(assertion)["kid"])
        try:
            claims = jwt.decode(assertion, key, ["RS256"], audience=AUDIENCE, issuer=EMAIL)
        except (jwt.InvalidTokenError, TypeError):
            said = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
            return Answer(400, said)
        user = claims["sub"] if claims["sub"] != EMAIL else "itself"
        return self._granted(f"{user}:{claims['scope']}")

    def _by_exchange(self, form):
        if form["subject_token"][0] not in self.subjects or form["audience"] != [POOL]:
            return Answer(400, {"error": "invalid_grant", "error_description": "no"})
        return self._granted(f"federated:{form['scope'][0]}")

    def _impersonated(self, request):
        if not (request.bearer or "").startswith("federated:"):
            said = {"code": 403, "message": "Permission denied", "status": "PERMISSION_DENIED"}
            return Answer(403, {"error": said})
        asked = json.loads(request.body)
        token = f"robot:{' '.join(asked['scope'])}:{asked['lifetime']}"
        # The names of this API, which is not a token endpoint.
        return Answer(body={"accessToken": _visible(token), "expireTime": "2999-01-01T00:00:00Z"})

    def _metadata(self, request):
        if request.headers.get("metadata-flavor") != "Google":
            return Answer(403)
        account = request.path.split("/")[-2]
        scopes = dict(request.query).get("scopes", "machine")
        granted = self._granted(f"{account}:{scopes}")
        return Answer(body=granted.body, headers={"Metadata-Flavor": self.flavor})

    def _granted(self, token):
        return Answer(
            body={"access_token": _visible(token), "token_type": "Bearer", "expires_in": 3599}
        )


def _visible(token):
    return token.replace(" ", "+")
