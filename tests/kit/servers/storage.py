"""Azurite, the emulator of Azure Storage, behind a guard that knows which tokens are alive.

Azurite reads the claims of a token, but does not check its signature and knows of no revocation.
So the guard checks the token as Storage would, and passes the request on with a token that has the
claims Azurite looks for.
"""

import time
from pathlib import Path

import jwt
import urllib3

from kit.guards import GUARD_SECONDS
from kit.npm import install
from kit.programs import Program, free_port
from kit.servers.base import Answer
from kit.servers.guarded import Guarded

HOME = Path(__file__).with_name("azurite")
ACCOUNT = "devstoreaccount1"
TENANT = "00000000-0000-4000-8000-000000000001"
CHALLENGE = (
    f"Bearer authorization_uri=https://login.microsoftonline.com/{TENANT}/oauth2/authorize "
    "resource_id=https://storage.azure.com"
)
OF_ONE_CONNECTION = {"authorization", "connection", "host", "keep-alive", "transfer-encoding"}


def start(certificate, folder):
    """Start Azurite, with its data in memory, and return the program."""
    install(HOME, "Azurite")
    port = free_port()
    tls = ("--cert", certificate.chain, "--key", certificate.key)
    options = ("--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent")
    script = HOME / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    command = ("node", script, "--blobPort", port, "--oauth", "basic", *tls, *options)
    return Program(*command, port=port, folder=folder)


def with_claims():
    """Return a token that Azurite accepts."""
    now = int(time.time())
    claims = {
        "aud": "https://storage.azure.com",
        "iss": f"https://sts.windows.net/{TENANT}/",
        "iat": now - 60,
        "nbf": now - 60,
        "exp": now + 600,
    }
    return jwt.encode(claims, "Azurite does not check the signature", "HS256")


class Storage(Guarded):
    """The guard. Its account is at :attr:`url`.

    :param azurite: the running program.
    """

    def __init__(self, is_alive, certificate, azurite):
        self._behind = f"https://localhost:{azurite.port}"
        self._http = urllib3.PoolManager(
            maxsize=16, ca_certs=str(certificate.ca), timeout=GUARD_SECONDS, retries=False
        )
        super().__init__(is_alive, tls=certificate.context, name="localhost")
        self.host = f"{self.origin.removeprefix('https://')}/{ACCOUNT}"
        self.url = f"https://{self.host}"

    def stop(self):
        super().stop()
        self._http.clear()

    def create_container(self, name):
        """Create a container if there is none of that name."""
        url = f"{self._behind}/{ACCOUNT}/{name}?restype=container"
        headers = {"authorization": f"Bearer {with_claims()}", "x-ms-version": "2023-11-03"}
        assert self._http.request("PUT", url, headers=headers).status in (201, 409)

    def granted(self, request):
        answer = self._http.request(
            request.method,
            f"{self._behind}{request.target}",
            body=request.body,
            headers=_passed_on(request.headers) | {"authorization": f"Bearer {with_claims()}"},
        )
        return Answer(answer.status, answer.data, _passed_on(answer.headers))

    def refused(self, request):
        """Refuse the request as Storage does."""
        text = b"<Error><Code>InvalidAuthenticationInfo</Code><Message>no</Message></Error>"
        headers = {"Content-Type": "application/xml", "WWW-Authenticate": CHALLENGE}
        return Answer(401, text, headers | {"x-ms-error-code": "InvalidAuthenticationInfo"})


def _passed_on(headers):
    """Return the headers that are not about one connection."""
    kept = {name.title(): value for name, value in headers.items()}
    return {name: kept[name] for name in kept if name.lower() not in OF_ONE_CONNECTION}
