"""What a request carries to prove which client sends it, and for whom that proof is meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenkeeper.oauth.key_pair import KeyPair

__all__ = ["ClientCertificate", "ClientProof", "Recipient"]

_SECRET_PARAMETERS = ("client_secret", "client_assertion")


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom a proof is meant for.

    :ivar url: the endpoint that the request is sent to.
    :ivar token_url: the server's token endpoint.
    :ivar issuer: the server's issuer identifier (RFC 8414 §2); ``None``, the default, if it is
        unknown.
    """

    url: str
    token_url: str
    issuer: str | None = None

    @property
    def audience(self) -> str:
        """The audience of an assertion: the issuer if it is known, or else the token endpoint."""
        return self.issuer or self.token_url


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """The certificate that one connection presents (RFC 8705).

    :ivar pair: the certificate and its key, as they were read for this request.
    """

    pair: KeyPair = field(repr=False)

    @property
    def file(self) -> str:
        """The file of the certificate, for messages."""
        return self.pair.files[0]


@dataclass(slots=True)
class ClientProof:
    """What one request carries to prove which client sends it. Never changed after its creation.

    It is not frozen, because its creation would take longer by a fiftieth of a signature.

    :ivar parameters: the parameters that are added to the request; none by default.
    :ivar authorization: the value of the ``Authorization`` header; ``None``, the default, to send
        no such header.
    :ivar certificate: the certificate for the connection; ``None``, the default, for none.
    :ivar hidden: further texts that no message may show; none by default.
    """

    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    authorization: str | None = field(default=None, repr=False)
    certificate: ClientCertificate | None = None
    hidden: Iterable[str] = field(default=(), repr=False)

    def secrets(self) -> Iterator[str]:
        """Yield the texts that no message may show."""
        if self.authorization is not None:
            yield self.authorization.partition(" ")[2]
        for name in _SECRET_PARAMETERS:
            if name in self.parameters:
                yield self.parameters[name]
        yield from self.hidden
