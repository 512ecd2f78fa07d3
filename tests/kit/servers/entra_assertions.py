"""What Entra ID checks of an application that has no secret: certificates, federated tokens."""

import base64
import json
import time
from dataclasses import dataclass, field

import jwt
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from trustme import CA, KeyType


def base64url(value):
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


class Certificates:
    """Issues RSA certificates with their keys, and writes them to files."""

    def __init__(self):
        self.ca = CA(key_type=KeyType.RSA)

    def issue(self, path, *, password=None):
        """Write a new certificate and its key to *path*; return the certificate."""
        issued = self.ca.issue_cert("app.example", key_type=KeyType.RSA)
        key = issued.private_key_pem.bytes()
        if password is not None:
            private = serialization.load_pem_private_key(key, None)
            key = private.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(password.encode()),
            )
        chain = b"".join(each.bytes() for each in issued.cert_chain_pems)
        path.write_bytes(key + chain + self.ca.cert_pem.bytes())
        return x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes())


@dataclass
class Trusted:
    """The credentials of one application beside its secret.

    :ivar certificates: those that are registered.
    :ivar issuers: with these, any certificate that they issued and that is sent along.
    :ivar federated: the tokens of other identity providers that are accepted now.
    :ivar seen: the ``jti`` of each assertion that was accepted.
    :ivar headers: those of the assertions that were accepted.
    """

    certificates: list = field(default_factory=list)
    issuers: list = field(default_factory=list)
    federated: set = field(default_factory=set)
    seen: list = field(default_factory=list)
    headers: list = field(default_factory=list)

    def accepts(self, assertion, client_id, audience):
        """Return whether *assertion* proves that *client_id* sends a request to *audience*."""
        if assertion in self.federated:
            return True
        try:
            headers = jwt.get_unverified_header(assertion)
            key = self._key(headers)
            claims = jwt.decode(assertion, key, ["PS256"], audience=audience, issuer=client_id)
        except (jwt.InvalidTokenError, LookupError):
            return False
        if claims["sub"] != client_id or claims["jti"] in self.seen:
            return False
        self.seen.append(claims["jti"])
        self.headers.append(headers)
        return claims["exp"] - time.time() <= 600

    def _key(self, headers):
        thumbprint = headers["x5t#S256"]
        sent = [
            x509.load_der_x509_certificate(base64.b64decode(each))
            for each in headers.get("x5c", [])
        ]
        trusted = [each for each in sent if any(_issued(issuer, each) for issuer in self.issuers)]
        for certificate in [*self.certificates, *trusted]:
            if base64url(certificate.fingerprint(hashes.SHA256())) == thumbprint:
                key = certificate.public_key()
                assert isinstance(key, rsa.RSAPublicKey)
                return key
        raise LookupError(thumbprint)


def _issued(issuer, certificate):
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def challenge_header(claims):
    """Return the ``WWW-Authenticate`` header of an API that demands *claims*."""
    encoded = base64.b64encode(json.dumps(claims).encode()).decode()
    return (
        'Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/'
        'authorize", error="insufficient_claims", claims="' + encoded + '"'
    )
