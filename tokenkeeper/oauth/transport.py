"""Sends single HTTP requests with secrets: no redirects, cookies or netrc, within a time limit."""

from __future__ import annotations

import encodings.idna  # the socket module imports both late, this one for any host
import encodings.punycode  # noqa: F401 - and this one for a non-ASCII host; see fork.py
import os
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
import requests.auth

from tokenkeeper._runtime.fork import notice_fork
from tokenkeeper._runtime.interruptions import interruption_in, is_interruption
from tokenkeeper._support.checks import checked_seconds, is_loopback
from tokenkeeper._support.hiding import Hidden, without_frames
from tokenkeeper.clock import SYSTEM_CLOCK, Clock
from tokenkeeper.exceptions import InvalidConfigurationError, TokenAcquisitionError
from tokenkeeper.oauth.claims import LookAgain, last_look
from tokenkeeper.oauth.client_proof import ClientCertificate
from tokenkeeper.oauth.client_tls import cert_argument
from tokenkeeper.oauth.deadline import Budget, ForeignPeerError, is_link_local
from tokenkeeper.oauth.exchange import HttpAnswer
from tokenkeeper.oauth.network_errors import explain
from tokenkeeper.oauth.request_style import USER_AGENT
from tokenkeeper.oauth.sessions import borrowed, give_back, our_session, read

__all__ = ["HttpTransport", "is_thrown_in"]

_LIBRARIES = frozenset(
    {"binascii", "builtins", "encodings", "google", "http", "idna", "msal", "requests", "responses"}
    | {"socket", "socks", "ssl", "tokenkeeper", "urllib3", "zlib"}
)
"""Packages whose exceptions a request may raise."""

METADATA_HOSTS = frozenset({"metadata", "metadata.google.internal"})
"""Host names of the link-local addresses at which clouds have their metadata servers."""

_DEFAULT_USER_AGENT = requests.utils.default_user_agent()


class HttpTransport:
    """Sends single requests that carry a secret to a server.

    Thread-safe. Nothing is kept between requests, so there is nothing to close.

    :param connect_timeout: how many seconds to wait for a connection, including its TLS handshake;
        5 by default.
    :param read_timeout: how many seconds to wait for each piece of the response; 10 by default.
    :param total_timeout: how many seconds the whole request may take; 30 by default. It can't
        interrupt the resolver. If an adapter of *session* connects without urllib3, it applies from
        the response's headers on.
    :param verify: a file or directory of CA certificates, which replaces the usual ones,
        ``REQUESTS_CA_BUNDLE`` and ``CURL_CA_BUNDLE``; ``None``, the default, uses those.
    :param session: a session whose headers, hooks, proxies, certificates and adapters to use; by
        default the library's own. It is neither changed nor closed, and its retries and redirects
        are not used.
    :param clock: the source of time; by default the system's.
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

    @property
    def verify(self) -> bool | str | None:
        """The CA certificates that servers are checked against, as requests takes them."""
        return self._verify

    @property
    def total_timeout(self) -> float:
        """How many seconds a whole request may take."""
        return self._total_timeout

    @without_frames
    def request(
        self,
        method: str,
        url: str,
        *,
        provider_name: str,
        authorization: str | None = None,
        certificate: ClientCertificate | None = None,
        data: Mapping[str, Any] | bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        within: float | None = None,
    ) -> HttpAnswer:
        """Send one request and return its response, whatever the status.

        A request with a secret uses https or goes to this machine. One without a secret may also go
        to a link-local address, such as a cloud's metadata server. A request with a *certificate*
        has TLS settings of its own, so that no other request presents it.

        :param within: how many seconds it may take, if these are less than the ``total_timeout``.
        :raises TokenAcquisitionError: if there is no response. The message says why and what to do.
        """
        carries_nothing = data is None and authorization is None and not _authorizes(headers)
        _check_way(url, provider_name, certificate, link_local=carries_nothing)
        notice_fork()
        handled_before = sys.exception()
        total = min(within or self._total_timeout, self._total_timeout)
        budget = Budget(self._clock, total, self._read_timeout)
        try:
            return self._answer(
                budget,
                certificate,
                method=method,
                url=url,
                data=data,
                headers=_all_headers(headers, self._callers_session),
                params=params,
                auth=_Authorization(authorization),
            )
        except ForeignPeerError as foreign:
            failure: BaseException = _off_this_machine(url, foreign.peer, provider_name)
        except Exception as error:  # a URL or a server may cause any error
            if isinstance(error, LookAgain) or is_thrown_in(error):
                raise
            failure = interruption_in(error, handled_before) or self._explained(
                error, url, provider_name, budget, certificate
            )
        raise failure  # here it has no __context__, whose frames would hold the secret

    def _answer(
        self, budget: Budget, certificate: ClientCertificate | None, **request: Any
    ) -> HttpAnswer:
        """Return the response to *request*, read to its end within *budget*."""
        theirs = self._callers_session
        session = our_session(certificate) if theirs is None else borrowed(theirs)
        last_look()  # for adapters that connect without urllib3; others look again on the wire
        connect_timeout = min(self._connect_timeout, budget.total_seconds)
        with (
            budget,
            session.request(
                **request,
                **cert_argument(session, certificate),
                timeout=(connect_timeout, self._read_timeout),
                allow_redirects=False,
                stream=True,
                verify=self._verify,
            ) as response,
        ):
            body = read(response, budget)
            headers = {name.lower(): value for name, value in response.headers.items()}
            answer = HttpAnswer(response.status_code, headers, body)
        give_back(session)
        return answer

    def _explained(
        self,
        error: Exception,
        url: str,
        provider_name: str,
        budget: Budget,
        certificate: ClientCertificate | None,
    ) -> TokenAcquisitionError:
        return explain(
            error,
            url,
            provider_name,
            certificate=certificate,
            connecting=_limit(budget, self._connect_timeout, "connect_timeout"),
            reading=_limit(budget, self._read_timeout, "read_timeout"),
        )


def _limit(budget: Budget, seconds: float, name: str) -> str:
    """Return the timeout that applied."""
    if budget.remaining() > 0.001:  # a socket may wake up a moment early
        return f"{name} of {seconds:g} s"
    total = budget.total_seconds  # may be what is left of a longer one
    return f"total_timeout of {total:.0f} s" if total >= 10 else f"total_timeout of {total:.2g} s"


def _all_headers(
    headers: Mapping[str, str] | None, callers_session: requests.Session | None
) -> dict[str, str]:
    """Return *headers*, with our ``User-Agent`` if neither they nor the session have one."""
    given = {**(headers or {}), "Accept-Encoding": "identity"}
    if callers_session is None:  # our own session adds it
        return given
    own = callers_session.headers.get("User-Agent") not in (None, _DEFAULT_USER_AGENT)
    if own or any(name.lower() == "user-agent" for name in given):
        return given
    return {"User-Agent": USER_AGENT, **given}


def is_thrown_in(error: BaseException) -> bool:
    """Return whether a host threw *error* into the thread, such as a task's soft time limit.

    Its class is not from an HTTP library, or :mod:`tokenkeeper._runtime.interruptions` recognizes
    it.
    """
    return type(error).__module__.partition(".")[0] not in _LIBRARIES or is_interruption(error)


def _checked_verify(verify: object) -> bool | str | None:
    """Return *verify* in the form that requests accepts.

    requests takes an empty value, such as an empty environment variable, as a request not to verify
    certificates. Here only ``False`` turns verification off.
    """
    if verify is None or isinstance(verify, bool):
        return verify
    path = os.fspath(verify) if isinstance(verify, (str, os.PathLike)) else None
    if not isinstance(path, str) or not path.strip():
        raise InvalidConfigurationError(
            "verify must be a file or directory of CA certificates, True, False or None. "
            "requests would verify nothing with an empty value.",
            field="verify",
        )
    return path


def _authorizes(headers: Mapping[str, str] | None) -> bool:
    return any(name.lower() == "authorization" for name in headers or ())


def _check_way(
    url: str, provider_name: str, certificate: ClientCertificate | None, *, link_local: bool
) -> None:
    """Raise if another machine could read a request to *url*, or it needs TLS and has none."""
    if not url.lstrip().lower().startswith("http:"):
        return  # https, or a scheme that requests rejects
    try:
        host = urlsplit(url.strip()).hostname or ""
    except ValueError:
        host = ""
    if certificate is not None:
        problem = "a client certificate can't be presented over plain http"
    elif is_loopback(host) or (link_local and (host in METADATA_HOSTS or is_link_local(host))):
        return
    else:
        problem = "anyone on the network could read it over plain http"
    raise TokenAcquisitionError(
        f"provider {provider_name!r}: request to {host} was not sent: {problem}. Use https.",
        provider_name=provider_name,
        transient=False,
    )


def _off_this_machine(url: str, peer: str, provider_name: str) -> TokenAcquisitionError:
    problem = (
        f"the name resolved to {peer}, which is not this machine, and the request is not "
        "encrypted. Correct the hosts file or the resolver, or use https"
    )
    return TokenAcquisitionError(
        f"provider {provider_name!r}: request to {urlsplit(url).hostname} was not sent: {problem}.",
        provider_name=provider_name,
        network_reason="dns",
        transient=False,
    )


class _Authorization(requests.auth.AuthBase):
    """Sets the header, if there is one. With an ``auth=``, requests does not read ``~/.netrc``."""

    def __init__(self, header: str | None) -> None:
        self._header = Hidden(header)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        header = self._header.text
        if header is not None:
            request.headers["Authorization"] = header
        return request
