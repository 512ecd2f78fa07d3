"""HTTP as a secret may travel by it: no redirects, no cookies, no netrc, and an end in time."""

from __future__ import annotations

import encodings.idna  # the socket module imports both late: this one for any host,
import encodings.punycode  # noqa: F401 - and this one for a host in other letters
import netrc  # noqa: F401 - requests imports it in its first request; see fork.py on late imports
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
import requests.auth

from tokenkeeper.clock import SYSTEM_CLOCK, Clock
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.fork import renew_after_fork
from tokenkeeper.oauth.deadline import Budget, DeadlineAdapter
from tokenkeeper.oauth.exchange import HttpAnswer
from tokenkeeper.oauth.failures import TooLongError, explain
from tokenkeeper.oauth.request_style import USER_AGENT

__all__ = ["HttpTransport", "checked_seconds"]

LONGEST_BODY = 1024 * 1024
"""Bytes, after decoding. A token takes a few thousand; what is longer is an attack or a mistake."""

MOST_SETTINGS = 1000
"""URLs whose proxy is remembered. A service has a few; who makes and drops thousands leaks none."""

_PIECE = 64 * 1024

_DEFAULT_USER_AGENT = requests.utils.default_user_agent()

_PROXIES = [f"{which}_proxy" for which in ("http", "https", "all", "no")]
_VARIABLES = (*_PROXIES, *map(str.upper, _PROXIES), "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class HttpTransport:
    """Makes single requests to a server that is trusted with a secret, and with nothing else.

    Thread-safe. Nothing of a request stays behind, so there is nothing to close.

    :param connect_timeout: seconds to wait for a connection, and for its TLS.
    :param read_timeout: seconds to wait for each piece of the answer.
    :param total_timeout: seconds for the whole request. With a *session* of the caller's own it is
        looked at between the pieces of the body only.
    :param verify: a file or directory of CA certificates, in the place of the usual ones and of
        ``REQUESTS_CA_BUNDLE`` and ``CURL_CA_BUNDLE``; ``None`` goes by those.
    :param session: a session to use as it is. It stays the caller's: it is never closed here, and
        a forked child goes on using it.
    :raises InvalidConfigurationError: for a timeout or a *verify* that can't work.
    """

    def __init__(
        self,
        *,
        connect_timeout: float = 5.0,
        read_timeout: float = 10.0,
        total_timeout: float = 30.0,
        verify: bool | str | os.PathLike[str] | None = None,
        session: requests.Session | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        for field, value in (
            ("connect_timeout", connect_timeout),
            ("read_timeout", read_timeout),
            ("total_timeout", total_timeout),
        ):
            checked_seconds(value, field)
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._total_timeout = total_timeout
        self._verify = _checked_verify(verify)
        self._callers_session = session
        self._clock = clock

    def request(
        self,
        method: str,
        url: str,
        *,
        provider_name: str,
        authorization: str | None = None,
        data: Mapping[str, Any] | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> HttpAnswer:
        """Make one request and read its answer, whatever its status.

        :raises TokenAcquisitionError: if there is no answer, saying why and what to do.
        """
        session = _ours.session if self._callers_session is None else self._callers_session
        connect_timeout = min(self._connect_timeout, self._total_timeout)
        budget = Budget(self._clock, self._total_timeout, self._read_timeout)
        try:
            with (
                budget,
                session.request(
                    method,
                    url,
                    data=data,
                    headers=_naming_us(headers, session),
                    params=params,
                    auth=_Authorization(authorization),
                    timeout=(connect_timeout, self._read_timeout),
                    allow_redirects=False,
                    stream=True,
                    verify=self._verify,
                ) as response,
            ):
                body = _read(response, budget)
                lowered = {name.lower(): value for name, value in response.headers.items()}
                return HttpAnswer(response.status_code, lowered, body)
        except Exception as error:  # noqa: BLE001 - whatever a URL and a server can cause is ours
            failure = explain(
                error,
                url,
                provider_name,
                connecting=self._limit(budget, self._connect_timeout, "connect_timeout"),
                reading=self._limit(budget, self._read_timeout, "read_timeout"),
            )
        raise failure  # out here no context hangs on it, whose frames hold the secret

    def _limit(self, budget: Budget, seconds: float, name: str) -> str:
        if budget.remaining() > 0.001:  # a socket may wake up a moment early
            return f"nothing for {seconds:g} s: {name}"
        return f"{self._total_timeout:g} s at most: total_timeout"


def _naming_us(headers: Mapping[str, str] | None, session: requests.Session) -> dict[str, str]:
    """Return *headers* with our ``User-Agent``, unless they or a caller's session have one."""
    given = dict(headers or {})
    own = session.headers.get("User-Agent") not in (None, _DEFAULT_USER_AGENT)
    if own or any(name.lower() == "user-agent" for name in given):
        return given
    return {"User-Agent": USER_AGENT, **given}


def checked_seconds(value: object, field: str) -> float:
    """Return *value* if it is a number of seconds, more than 0 and not beyond all waiting."""
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not 0 < value <= threading.TIMEOUT_MAX
    ):
        raise InvalidConfigurationError(
            f"{field} must be a number of seconds, more than 0", field=field
        )
    return float(value)


def _checked_verify(verify: object) -> bool | str | None:
    """Return *verify* as requests takes it.

    requests reads any value that is empty, such as a variable of the environment that is set to
    nothing, as the wish to verify no certificate. Only ``False`` says that here.
    """
    if verify is None or isinstance(verify, bool):
        return verify
    path = os.fspath(verify) if isinstance(verify, (str, os.PathLike)) else None
    if not isinstance(path, str) or not path.strip():
        raise InvalidConfigurationError(
            "verify must be a file or directory of CA certificates, True, False or None: "
            "an empty one verifies nothing",
            field="verify",
        )
    return path


class _Session(requests.Session):
    """Goes nowhere but where it is sent, and keeps nothing of it: no cookie, no connection."""

    def __init__(self) -> None:
        super().__init__()
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("https://", "http://"):
            self.mount(scheme, DeadlineAdapter())
        self._settings: dict[object, Any] = {}  # entries are made whole, so without a lock

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        """Return the proxy and the CA for *url*, from the environment as it is.

        requests looks through the whole of it, twice for each request; so here once for each state.
        """
        state = [os.environ.get(name) for name in _VARIABLES]
        key = (url.partition("?")[0], verify, *state)
        settings = self._settings.get(key)
        if settings is None:
            settings = super().merge_environment_settings(url, proxies, stream, verify, cert)
            if len(self._settings) >= MOST_SETTINGS:
                self._settings = {}
            self._settings[key] = settings
        return settings

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Say that there is none.

        Even with ``allow_redirects=False`` requests prepares the next request for who may want
        it, and for that reads the whole body of the answer, however long it may become.
        """


class _OurSession:
    """One session for all providers of the process; a forked child has its own."""

    def __init__(self) -> None:
        self.after_fork_in_child()
        renew_after_fork(self)

    def after_fork_in_child(self) -> None:
        """Leave the parent's locks to the parent."""
        self.session = _Session()


_ours = _OurSession()


class _Authorization(requests.auth.AuthBase):
    """Sets the header, or none. With ``auth=`` given, requests leaves ``~/.netrc`` alone."""

    def __init__(self, header: str | None) -> None:
        self._header = header

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._header is not None:
            request.headers["Authorization"] = self._header
        return request


def _read(response: requests.Response, budget: Budget) -> bytes:
    """Read the body in pieces: a short compressed one may become very long."""
    pieces = bytearray()
    while True:
        budget.next_read()
        piece = response.raw.read1(_PIECE, decode_content=True)
        if not piece:
            return bytes(pieces)
        pieces += piece
        if len(pieces) > LONGEST_BODY:
            with suppress(OSError):
                response.raw.close()  # the rest is not worth reading to use the connection again
            raise TooLongError
