"""Which URLs a document of another server may send us to."""

from __future__ import annotations

from tokenkeeper._support.checks import checked_endpoint
from tokenkeeper._support.endpoints import origin_of
from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["is_trusted_from"]


def is_trusted_from(source: str, url: object) -> bool:
    """Return whether the server at *source* may direct a request to *url*.

    A server that is reached by https may name https URLs only. Plain http is for loopback, and only
    a server on loopback may name it: otherwise any API could have programs on this machine asked.

    :param source: a URL that was checked.
    """
    try:
        checked = checked_endpoint(url, "url")
    except InvalidConfigurationError:
        return False
    return origin_of(checked)[0] == "https" or origin_of(source)[0] == "http"
