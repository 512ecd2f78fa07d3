"""The device authorization grant (RFC 8628): a person signs in on another device."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tokenkeeper._support.checks import is_loopback
from tokenkeeper.providers.grants.polled_sign_in import PolledSignIn, unusable
from tokenkeeper.providers.grants.sign_in import Asked, PendingSignIn

if TYPE_CHECKING:
    from tokenkeeper.oauth.client import OAuthClient

__all__ = ["DeviceCode"]

_REQUEST = "device authorization request"
_PAGES = ("verification_uri_complete", "verification_uri", "verification_url")
"""Where a page is named, the best first. The last is Google's spelling."""

_VISIBLE = re.compile(r"[\x21-\x7e]{1,2000}")
_LONGEST_CODE = 100


class DeviceCode(PolledSignIn):
    """A sign-in on another device (RFC 8628): for a program without a browser. Thread-safe.

    :meth:`TokenKeeper.authorize` returns an :class:`Authorization` with a ``url`` and a
    ``user_code`` to show to the person, and its ``wait()`` polls the server until the person has
    approved. The ``url`` already contains the code if the server offers that
    (``verification_uri_complete``); show both, so that the person can compare.

    The interval between polls is that of the server, 5 seconds if it states none, and 5 seconds
    longer after each ``slow_down`` (§3.5). After a lost connection it is doubled. How long the
    person has time is also up to the server.

    :param authorize_parameters: further parameters of the device authorization request, such as an
        ``audience``; none by default.
    :param resources: the resources that were authorized; ``None``, the default, for those that the
        sign-in asks for. Another one is refused before it is requested.
    :param scope_by_refresh: whether a source may narrow the scope by the request (RFC 6749 §6);
        ``False`` by default. Some servers then narrow the grant for good.
    :param on_rotated: called with each new refresh token; none by default.
    :raises InvalidConfigurationError: for an argument that can't work.
    """

    grant_type: str = "urn:ietf:params:oauth:grant-type:device_code"
    _code_parameter: str = "device_code"

    def begin(self, client: OAuthClient, asked: Asked) -> PendingSignIn:
        """Request a device code (§3.1), and return what to show to the person.

        :raises TokenAcquisitionError: if the server grants none, or answers without what §3.2
            requires.
        """
        from tokenkeeper.oauth.endpoint_answer import read_endpoint_answer  # with the client

        wanted = self._wanted(client, asked)
        exchange = client.post("device_authorization_endpoint", lambda _: wanted)
        content = read_endpoint_answer(
            client, exchange, _REQUEST, grant=self.grant_type, needs=("device_code", "user_code")
        )
        user_code = content["user_code"].strip()
        if not user_code.isprintable() or len(user_code) > _LONGEST_CODE:
            raise unusable(client, exchange, _REQUEST, "has a user_code that can't be shown")
        url = _page(content)
        if url is None:
            problem = "has no verification_uri that is an https:// URL"
            raise unusable(client, exchange, _REQUEST, problem)
        return self._pending(
            client, asked, exchange, content, what=_REQUEST, url=url, user_code=user_code
        )


def _page(content: Mapping[str, Any]) -> str | None:
    """Return the best of the pages where a person may enter a password."""
    return next((content[name] for name in _PAGES if _is_safe(content.get(name))), None)


def _is_safe(url: object) -> bool:
    """Return whether a browser may open *url*: by https, or on this machine."""
    if not isinstance(url, str) or not _VISIBLE.fullmatch(url):
        return False
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    if not host or "@" in parts.netloc:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
