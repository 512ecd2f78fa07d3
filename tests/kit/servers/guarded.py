"""An API on loopback behind a guard: it lets in what the authorization server has not revoked."""

import ssl
from dataclasses import dataclass, replace
from pathlib import Path

import trustme

from kit.servers.base import Answer, LoopbackServer


class Guarded(LoopbackServer):
    """Answers requests whose bearer token is alive, and refuses others with 401.

    Subclasses override :meth:`granted`, and :meth:`refused` where an API has its own form of a
    refusal.

    :param is_alive: returns whether a token is, as the authorization server's method does.
    """

    def __init__(self, is_alive, *, tls=None, name="127.0.0.1"):
        self.is_alive = is_alive
        super().__init__(tls=tls, name=name)

    def answer(self, request):
        token = request.bearer
        is_granted = token is not None and self.is_alive(token)
        answer = self.granted(request) if is_granted else self.refused(request)
        if request.method == "HEAD":  # RFC 9110 §9.3.2: the headers of a GET, and no body
            length = {"Content-Length": str(len(answer.content()))}
            return replace(answer, body=b"", headers=length | answer.headers)
        return answer

    def granted(self, request):
        """Return the answer to a request with a valid token: where it went."""
        return Answer(body={"path": request.path})

    def refused(self, request):
        """Return the answer to a request without one (RFC 6750 §3)."""
        challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        return Answer(401, {"error": "invalid_token"}, challenge)


@dataclass(frozen=True)
class Certificate:
    """A certificate for "localhost" and 127.0.0.1, and the CA that issued it, in files.

    :ivar context: the TLS context of a server that has it.
    """

    context: ssl.SSLContext
    ca: Path
    chain: Path
    key: Path


def certificate_in(folder):
    """Issue a certificate, and write it to *folder*."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    ca, chain, key = (Path(folder) / name for name in ("ca.pem", "chain.pem", "key.pem"))
    authority.cert_pem.write_to_path(ca)
    chain.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    return Certificate(context, ca, chain, key)
