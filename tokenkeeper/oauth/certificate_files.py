"""The files of a client's certificate, read again for each request so that a new one is noticed."""

from __future__ import annotations

import logging
import os
import stat
import threading
from typing import Any

from tokenkeeper._support.hiding import Hidden
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.exceptions import InvalidConfigurationError, TokenAcquisitionError
from tokenkeeper.oauth.key_pair import CertificateFileError, KeyPair, read_key_pair

__all__ = ["CertificateFiles"]

_log = logging.getLogger("tokenkeeper.oauth")

PAUSES_SECONDS = (0.0, 0.02, 0.1, 0.3, 0.6)
"""How long to wait before files that do not fit are read again, if there is no earlier pair."""

_LONGEST = 1024 * 1024
"""In bytes. A certificate with its issuers has some thousand; a larger file is another one."""

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


class CertificateFiles:
    """The certificate and the key in two files, which may be replaced at any time. Thread-safe.

    Programs that renew certificates replace two files, and few do it in one step. Kubernetes
    switches a symbolic link, so that only a reader that is interrupted between the files sees a
    certificate and a key that do not fit. Others write one file after the other, in place. So both
    files are read for each request, and read again if they do not fit. If that does not help, the
    pair that was read before is used as long as its certificate is valid. Renewing a certificate
    while the old one is valid thus causes no failure, however long it takes.

    :param certificate_file: the certificate, and those of its issuers, in PEM.
    :param key_file: the private key in PEM; ``None`` if it is in *certificate_file*.
    """

    def __init__(self, certificate_file: str, key_file: str | None) -> None:
        self._paths = certificate_file, key_file
        # Replaced in one assignment. There is no lock, so a fork can't leave one held; threads
        # that notice new files at the same time both parse them.
        self._pair: KeyPair | None = None
        self._reported = ""

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the key, which another process reads itself."""
        return {"_paths": self._paths, "_pair": None, "_reported": ""}

    def check(self) -> None:
        """Read the files for the first time.

        :raises InvalidConfigurationError: if they can't be used.
        """
        try:
            self._pair = self._read_until_it_fits()
            self._pair.check_dates(SYSTEM_CLOCK.time())
        except CertificateFileError as error:
            failure = InvalidConfigurationError(str(error), field=error.field)
        else:
            return
        raise failure  # out here, so that it has no context

    def current(self) -> KeyPair:
        """Return the pair to present now.

        :raises TokenAcquisitionError: if there is none.
        """
        now, earlier = SYSTEM_CLOCK.time(), self._pair
        try:
            pair = self._read_until_it_fits() if earlier is None else self._read_again(earlier)
            pair.check_dates(now)
        except CertificateFileError as error:
            if earlier is not None and _is_valid(earlier, now):
                self._report(str(error))
                return earlier
            failure = TokenAcquisitionError(str(error), transient=error.transient)
        else:
            self._pair, self._reported = pair, ""
            return pair
        raise failure  # out here, so that it has no context

    def _report(self, problem: str) -> None:
        """Log *problem* once, as long as it lasts."""
        if self._reported != problem:
            self._reported = problem
            _log.warning("%s. The certificate that was read before is used.", problem.rstrip("."))

    def _read_until_it_fits(self) -> KeyPair:
        for pause in PAUSES_SECONDS:
            try:
                return self._read(None)
            except CertificateFileError as error:
                if not error.incomplete:
                    raise
            SYSTEM_CLOCK.wait(threading.Event(), pause)
        return self._read(None)

    def _read_again(self, earlier: KeyPair) -> KeyPair:
        try:
            return self._read(earlier)
        except CertificateFileError:
            return self._read(earlier)

    def _read(self, earlier: KeyPair | None) -> KeyPair:
        """Return the pair in the files: *earlier* itself if they have not changed."""
        certificate_file, key_file = self._paths
        certificate = _content(certificate_file, "certificate_file")
        key = certificate if key_file is None else _content(key_file, "certificate_key_file")
        if earlier and (earlier.certificate, earlier.key) == (certificate.text, key):
            return earlier
        return read_key_pair(
            certificate.text, key, (certificate_file, key_file or certificate_file)
        )


def _is_valid(pair: KeyPair, now: float) -> bool:
    return pair.not_before.timestamp() <= now < pair.not_after.timestamp()


def _content(path: str, field: str) -> Hidden[bytes]:
    """Return the content of the file *path*; the first may contain the key, too."""
    missing = False
    try:
        descriptor = os.open(path, _FLAGS)
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                content = _bytes(descriptor)
                if len(content.text) <= _LONGEST:
                    return content
                problem = "is larger than 1 MiB"
            else:
                problem = "is not a file"
        finally:
            os.close(descriptor)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        problem = f"can't be read: {error.strerror or type(error).__name__}"
    raise CertificateFileError(f"{path} {problem}", field=field, transient=missing)


def _bytes(descriptor: int) -> Hidden[bytes]:
    with open(descriptor, "rb", closefd=False) as file:
        return Hidden(file.read(_LONGEST + 1))
