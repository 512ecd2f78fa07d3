"""Faults that a test can cause at a token endpoint."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

__all__ = ["Answer", "Faults", "Outage"]

Outage = Literal["503", "reset", "stall"]
"""How a token endpoint is down: it answers 503, resets connections, or does not answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response, which may be as malformed as a test needs.

    :param status: the HTTP status.
    :param body: bytes are sent unchanged, a string as UTF-8, anything else as JSON.
    :param headers: the headers; ``Content-Length`` and, for JSON, ``Content-Type`` are added.
    :param drip_seconds: how long to wait after each byte of the body.
    """

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    drip_seconds: float = 0.0

    def encoded(self) -> tuple[dict[str, str], bytes]:
        """Return the headers and the body to send."""
        headers = dict(self.headers)
        if isinstance(self.body, bytes):
            body = self.body
        elif isinstance(self.body, str):
            body = self.body.encode()
        else:
            body = json.dumps(self.body).encode()
            headers.setdefault("Content-Type", "application/json")
        headers.setdefault("Content-Length", str(len(body)))
        return headers, body


class Faults:
    """The faults of a token endpoint. Thread-safe; a change applies from the next request on.

    :ivar latency_seconds: how long an answer takes.
    :ivar stopping: set when the server stops; ends every wait.
    """

    def __init__(self, latency_seconds: float = 0.0) -> None:
        self.latency_seconds = latency_seconds
        self.stopping: threading.Event = threading.Event()
        self._script: deque[Answer] = deque()
        self._outage: tuple[Outage, float | None] | None = None
        self._restored = threading.Event()

    @property
    def outage(self) -> Outage | None:
        """How the endpoint is down; ``None`` while it is up."""
        outage = self._outage
        return outage and outage[0]

    def go_down(self, mode: Outage, retry_after: float | None) -> None:
        """Begin an outage."""
        if mode not in get_args(Outage):
            raise ValueError(f"mode must be one of {', '.join(get_args(Outage))}, not {mode!r}")
        self.come_back()  # requests that an earlier outage stalls go on
        self._restored = threading.Event()
        self._outage = mode, retry_after

    def come_back(self) -> None:
        """End the outage."""
        self._outage = None
        self._restored.set()

    def stop(self) -> None:
        """End every wait, now and from now on."""
        self.stopping.set()
        self._restored.set()

    def script(self, *answers: Answer) -> None:
        """Give *answers*, one for each request, before the endpoint behaves normally again."""
        self._script.extend(answers)

    def strike(self) -> Answer | Literal["reset"] | None:
        """Wait for the latency; return the scripted answer or the outage's, if there is one."""
        if self.latency_seconds > 0:
            self.stopping.wait(self.latency_seconds)
        restored = (
            self._restored
        )  # read before the outage, so that it does not belong to a later one
        outage = self._outage
        if outage is not None:
            mode, retry_after = outage
            if mode == "503":
                asked = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
                return Answer(503, "the token endpoint is down for a while", asked)
            if mode == "stall":
                restored.wait()
            return "reset"
        try:
            return self._script.popleft()
        except IndexError:
            return None
