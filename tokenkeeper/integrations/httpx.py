"""``httpx``: an ``auth=`` for blocking and async clients that renews a refused token once."""

from __future__ import annotations

import httpx

from tokenkeeper.integrations._httpx_flow import HttpxFlow

__all__ = ["KeeperAuth"]


class KeeperAuth(HttpxFlow[httpx.Request, httpx.Response], httpx.Auth):
    """Authenticates requests with the token of a provider (RFC 6750 §2.1).

    Any number of clients, threads and event loops may share it. When an API answers 401, the token
    that it refused is renewed, and the request is sent again with the new one. However many
    requests are refused at once, one renewal follows. If the second answer is a 401 as well, the
    caller gets it. A body that is a stream is not sent again: the caller gets the 401 at once, and
    the next request has the new token. If the API refuses tokens that were just granted, no others
    are requested for a while, and callers get each 401.

    :param keeper: the keeper that has the tokens, or a source, which names its token itself.
    :param provider_name: the provider whose token to use.
    :param allowed_hosts: the hosts that may get the token, such as ``"api.example.com"``,
        ``".example.com"`` or ``"api.example.com:8443"``. By default every host that you call by
        https, and loopback by http as well. ``"http://api.internal"`` allows plain http. A
        redirect to another host, scheme or port never takes the token along, except from http up
        to https on the usual ports of the same host.
    :param timeout: seconds to wait for a token at most; by default there is no limit.
    """

    _byte_stream = httpx.ByteStream
