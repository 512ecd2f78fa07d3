"""Client authentication by a certificate in TLS (RFC 8705)."""

from __future__ import annotations

import os
from typing import Any

from tokenkeeper._support.checks import checked_switch, checked_text
from tokenkeeper._support.hiding import without_frames
from tokenkeeper.oauth.certificate_files import CertificateFiles
from tokenkeeper.oauth.client_proof import ClientCertificate, ClientProof, Recipient

__all__ = ["TlsClientAuth"]


class TlsClientAuth:
    """Mutual TLS: the client presents a certificate when it connects (RFC 8705 §2). Thread-safe.

    The files are read for each request, so a renewed certificate is used from the next request on.
    While they are being replaced and do not fit, the certificate that was read before is used as
    long as it is valid. The request also contains ``client_id``, by which the server finds out
    which certificate to expect.

    :param certificate_file: the certificate in PEM, followed by those of its issuers if the server
        does not have them.
    :param certificate_key_file: its private key in PEM, without a password; ``None``, the default,
        if it is in *certificate_file*.
    :param self_signed: whether the certificate itself is registered at the server
        (``self_signed_tls_client_auth``, §2.2) rather than its subject (``tls_client_auth``, §2.1);
        ``False`` by default.
    :raises InvalidConfigurationError: if a file can't be read, the key is encrypted or belongs to
        another certificate, or the certificate has expired or is not valid yet.
    """

    __slots__ = ("_files", "certificate_file", "certificate_key_file", "method")

    @without_frames
    def __init__(
        self,
        certificate_file: str | os.PathLike[str],
        certificate_key_file: str | os.PathLike[str] | None = None,
        *,
        self_signed: bool = False,
    ) -> None:
        signed = checked_switch(self_signed, "self_signed")
        self.certificate_file: str = _path(certificate_file, "certificate_file")
        self.certificate_key_file: str | None = None
        if certificate_key_file is not None:
            self.certificate_key_file = _path(certificate_key_file, "certificate_key_file")
        self.method: str = "self_signed_tls_client_auth" if signed else "tls_client_auth"
        self._files = CertificateFiles(self.certificate_file, self.certificate_key_file)
        self._files.check()

    @without_frames
    def prove(self, client_id: str, recipient: Recipient) -> ClientProof:
        """Return the identifier, and the certificate for the connection.

        :raises TokenAcquisitionError: if the files can't be used, and no certificate that was read
            before is valid.
        """
        return ClientProof({"client_id": client_id}, certificate=self.certificate())

    @without_frames
    def certificate(self) -> ClientCertificate:
        """Return the certificate to present now.

        :raises TokenAcquisitionError: as :meth:`prove` does.
        """
        return ClientCertificate(self._files.current())

    def describe(self) -> dict[str, Any]:
        """Return the paths of the files."""
        return {
            "certificate_file": self.certificate_file,
            "certificate_key_file": self.certificate_key_file,
        }

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.method} with {self.certificate_file}>"


def _path(value: object, field: str) -> str:
    """Return *value* as an absolute path: the working directory may change later."""
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    return os.path.abspath(checked_text(path, field))
