"""What can be made to go wrong at a token endpoint under test."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

__all__ = ["Answer", "Faults", "Outage"]

Outage = Literal["503", "reset", "stall"]
"""How a token endpoint is down: it says so, it resets connections, or it does not answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, as raw as it has to be.

    :param status: the HTTP status.
    :param body: bytes as they are, a string as UTF-8, anything else as JSON.
    :param headers: to be sent; ``Content-Length`` and, for JSON, ``Content-Type`` are added.
    :param drip_seconds: how long to wait after each byte of the body.
    """

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    drip_seconds: float = 0.0

    def encoded(self) -> tuple[dict[str, str], bytes]:
        """Return headers and body as they go over the wire."""
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
    """The moods of a token endpoint. Thread-safe; a change counts from the next request on.

    :ivar latency_seconds: how long an answer takes.
    :ivar stopping: set when the server stops; ends every wait.
    """

    def __init__(self, latency_seconds: float = 0.0) -> None:
        self.latency_seconds = latency_seconds
        self.stopping: threading.Event = threading.Event()
        self._script: deque[Answer] = deque()
        self._outage: tuple[Outage, float | None] | None = None
        self._mended = threading.Event()

    @property
    def outage(self) -> Outage | None:
        """How the endpoint is down; ``None`` while it is up."""
        outage = self._outage
        return outage and outage[0]

    def go_down(self, mode: Outage, retry_after: float | None) -> None:
        """Begin an outage."""
        if mode not in get_args(Outage):
            raise ValueError(f"mode must be one of {', '.join(get_args(Outage))}, not {mode!r}")
        self.come_back()  # who is stalled by an outage before this one is let go
        self._mended = threading.Event()
        self._outage = mode, retry_after

    def come_back(self) -> None:
        """End the outage."""
        self._outage = None
        self._mended.set()

    def stop(self) -> None:
        """End every wait, now and from now on."""
        self.stopping.set()
        self._mended.set()

    def script(self, *answers: Answer) -> None:
        """Give *answers*, one for each request, before the endpoint is itself again."""
        self._script.extend(answers)

    def strike(self) -> Answer | Literal["reset"] | None:
        """Wait as long as an answer takes; return what to answer instead of the truth."""
        if self.latency_seconds > 0:
            self.stopping.wait(self.latency_seconds)
        mended = self._mended  # before the outage, so that it is not that of a later one
        outage = self._outage
        if outage is not None:
            mode, retry_after = outage
            if mode == "503":
                asked = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
                return Answer(503, "the token endpoint is down for a while", asked)
            if mode == "stall":
                mended.wait()
            return "reset"
        try:
            return self._script.popleft()
        except IndexError:
            return None
