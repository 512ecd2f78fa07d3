"""oidc-provider on Node, as the tests install, start and control it."""

import subprocess
from pathlib import Path
from urllib.parse import urljoin

import requests

from kit.npm import install
from kit.servers.administered import SECONDS, SECRET, Administered

HOME = Path(__file__).with_name("oidc_provider")


class OidcProvider(Administered):
    """The server, with the client "worker"; further clients have the fields of RFC 7591."""

    def __init__(self):
        install(HOME, "oidc-provider")
        super().__init__("node", str(HOME / "server.mjs"), stderr=subprocess.DEVNULL)
        self.add_client("worker", "worker-secret")

    def add_client(self, client_id, client_secret=SECRET, **registration):
        """Register a client.

        Extensions are ``lifetime_seconds``, ``delay_seconds`` (before a token is granted) and
        ``hold_seconds`` (between that and its answer).
        """
        super().add_client(client_id, client_secret, **{"scope": "read write", **registration})

    def listen_by_tls(self, authority, *, strict=False):
        """Serve by TLS as well, with a certificate of *authority*; return the origin.

        Clients may present a certificate; the server knows those that *authority* issued, and if
        it is *strict*, it closes all other connections.
        """
        issued = authority.issue_cert("127.0.0.1")
        pair = {
            "certificate": issued.cert_chain_pems[0].bytes().decode(),
            "key": issued.private_key_pem.bytes().decode(),
            "ca": authority.cert_pem.bytes().decode(),
            "strict": strict,
        }
        return self.admin("POST", "mtls", pair)["origin"]

    def sign_in(self, client_id, account="somebody", resources=(), *, key=None):
        """Return the first refresh token of a grant, as after a sign-in with consent.

        With the thumbprint of a *key*, it is bound to that. Each works once. If one is used twice,
        all tokens of the grant are revoked.
        """
        grant = {
            "client_id": client_id,
            "account": account,
            "resources": list(resources),
            "jkt": key,
        }
        return self.admin("POST", "grants", grant)["refresh_token"]

    def decide(self, approved, *, account, user_code=None):
        """Play the person who has a user code, or whom the server asks by CIBA."""
        decision = {"approved": approved, "account": account, "user_code": user_code}
        self.admin("POST", "decisions", decision)

    def browse(self, url, until):
        """Do what a person does in a browser, and return the URL that it is sent to in the end.

        ``login_hint`` names the person, who consents; "decliner" declines.

        :param until: what only that URL contains. It is not asked for.
        """
        with requests.Session() as session:
            session.trust_env = False
            for _ in range(12):
                answer = session.get(url, allow_redirects=False, timeout=SECONDS)
                assert answer.is_redirect, (answer.status_code, answer.text)
                url = urljoin(url, answer.headers["Location"])
                if until in url:
                    return url
        raise AssertionError("the redirects do not end")

    def require_nonces(self, required=True):
        """Refuse DPoP proofs without a nonce from now on, or accept them again."""
        self.admin("POST", "nonces", {"required": required})

    def revoke(self, token):
        """Have the API reject *token* from now on; no client is notified."""
        self.admin("POST", "revoke", {"token": token})
