"""Parts of a generic provider that many registrations have in common, made once for all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tokenkeeper._runtime.fork import forks_wait
from tokenkeeper._support.checks import checked_seconds, checked_switch, checked_words
from tokenkeeper._support.sharing import Shared
from tokenkeeper.clock import SYSTEM_CLOCK, Clock
from tokenkeeper.oauth.request_style import (
    RequestStyle,
    checked_accept,
    checked_headers,
    checked_request_format,
)

if TYPE_CHECKING:
    import requests

    from tokenkeeper.oauth.token_request import Reading
    from tokenkeeper.oauth.transport import HttpTransport

__all__ = ["shared_omissions", "shared_reading", "shared_style", "shared_transport"]

_styles: Shared[RequestStyle] = Shared()
_readings: Shared[Reading] = Shared()
_transports: Shared[HttpTransport] = Shared()
shared_omissions: Shared[tuple[str, ...]] = Shared()


def shared_style(request_format: object, accept: object, headers: object) -> RequestStyle:
    """Return the format of requests, checked."""
    style = RequestStyle(
        checked_request_format(request_format), checked_accept(accept), checked_headers(headers)
    )
    if style.headers:
        return style
    return _styles.one((style.request_format, style.accept), style)


def shared_reading(
    default_lifetime_seconds: object,
    lifetime_seconds: object,
    never_expires: object,
    accept_token_types: object,
) -> Reading:
    """Return how responses are read, checked."""
    reading: Reading = {
        "default_lifetime": checked_seconds(default_lifetime_seconds, "default_lifetime_seconds"),
        "lifetime_seconds": None
        if lifetime_seconds is None
        else checked_seconds(lifetime_seconds, "lifetime_seconds"),
        "never_expires": checked_switch(never_expires, "never_expires"),
        "accept_token_types": checked_words(accept_token_types, "accept_token_types"),
    }
    return _readings.one(tuple(reading.values()), reading)


def shared_transport(
    connect_timeout: float,
    read_timeout: float,
    total_timeout: float,
    verify: bool | str | os.PathLike[str] | None,
    session: requests.Session | None,
    clock: Clock,
) -> HttpTransport:
    """Return the transport of a provider; a shared one, unless it has its own session or clock."""
    # requests takes longer to import than all of Tokenkeeper. So it is loaded with the first
    # provider, and not by programs that import this module and make none.
    with forks_wait():
        from tokenkeeper.oauth import token_request  # noqa: F401 - for the first request
        from tokenkeeper.oauth.transport import HttpTransport

    transport = HttpTransport(
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        total_timeout=total_timeout,
        verify=verify,
        session=session,
        clock=clock,
    )
    if session is not None or clock is not SYSTEM_CLOCK:  # kept, they could never be collected
        return transport
    verify = verify if verify is None or isinstance(verify, bool) else os.fspath(verify)
    return _transports.one((connect_timeout, read_timeout, total_timeout, verify), transport)
