"""Faults of a token endpoint under test."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

__all__ = ["Answer", "Faults", "Outage"]

Outage = Literal["503", "reset", "stall"]
"""How a token endpoint is down: it answers 503, it resets connections, or it does not answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer.

    :param status: the HTTP status; 200 by default.
    :param body: bytes, which are sent unchanged; a string, sent as UTF-8; or anything else, sent as
        JSON. Empty by default.
    :param headers: headers to send. ``Content-Length`` and, for JSON, ``Content-Type`` are added.
    :param drip_seconds: seconds to wait after each byte of the body; 0 by default.
    """

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    drip_seconds: float = 0.0

    def encoded(self) -> tuple[dict[str, str], bytes]:
        """Return headers and body as they are sent."""
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
    """The faults of a token endpoint. Thread-safe. A change affects requests from then on.

    :ivar latency_seconds: how long an answer takes.
    :ivar stopping: set when the server stops, which ends every wait.
    """

    def __init__(self, latency_seconds: float = 0.0) -> None:
        self.latency_seconds = latency_seconds
        self.stopping: threading.Event = threading.Event()
        self._script: deque[Answer] = deque()
        self._outage: tuple[Outage, float | None] | None = None
        self._recovered = threading.Event()

    @property
    def outage(self) -> Outage | None:
        """How the endpoint is down; ``None`` while it is up."""
        outage = self._outage
        return outage and outage[0]

    def go_down(self, mode: Outage, retry_after: float | None) -> None:
        """Start an outage."""
        if mode not in get_args(Outage):
            raise ValueError(f"mode must be one of {', '.join(get_args(Outage))}, not {mode!r}")
        self.come_back()  # so that requests which an earlier outage stalls can end
        self._recovered = threading.Event()
        self._outage = mode, retry_after

    def come_back(self) -> None:
        """End the outage."""
        self._outage = None
        self._recovered.set()

    def stop(self) -> None:
        """End every wait, now and from now on."""
        self.stopping.set()
        self._recovered.set()

    def script(self, *answers: Answer) -> None:
        """Give *answers* to the next requests, one each, before the endpoint works again."""
        self._script.extend(answers)

    def strike(self) -> Answer | Literal["reset"] | None:
        """Wait as long as an answer takes; return the scripted answer, if there is one."""
        if self.latency_seconds > 0:
            self.stopping.wait(self.latency_seconds)
        recovered = self._recovered  # before the outage, so that it can't belong to a later one
        outage = self._outage
        if outage is not None:
            mode, retry_after = outage
            if mode == "503":
                asked = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
                return Answer(503, "the token endpoint is down for a while", asked)
            if mode == "stall":
                recovered.wait()
            return "reset"
        try:
            return self._script.popleft()
        except IndexError:
            return None
