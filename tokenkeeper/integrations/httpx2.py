"""``httpx2``, the fork of httpx that openai, anthropic, mcp and others use: the same ``auth=``."""

from __future__ import annotations

import httpx2

from tokenkeeper.integrations._httpx_flow import HttpxFlow

__all__ = ["KeeperAuth"]


class KeeperAuth(HttpxFlow[httpx2.Request, httpx2.Response], httpx2.Auth):
    """Authenticates requests of httpx2 with the token of a provider (RFC 6750 §2.1).

    It does what :class:`tokenkeeper.integrations.httpx.KeeperAuth` does for httpx, and has the same
    parameters. httpx2 refuses an ``httpx.Auth``, and httpx refuses this one.
    """

    _byte_stream = httpx2.ByteStream
