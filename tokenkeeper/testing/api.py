"""The protected resource of the loopback authorization server (RFC 6750)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tokenkeeper.testing.faults import Answer
from tokenkeeper.testing.grants import Grants
from tokenkeeper.testing.request import Request
from tokenkeeper.testing.stats import Recorder

__all__ = ["METHODS", "ProtectedResource"]

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class ProtectedResource:
    """Answers calls that have a valid token. Thread-safe."""

    def __init__(self, grants: Grants, recorder: Recorder) -> None:
        self._grants = grants
        self._recorder = recorder
        self._refusals: Iterator[None] = iter(())

    def refuse(self, times: int) -> None:
        """Refuse the next *times* calls, whatever their tokens."""
        self._refusals = iter([None] * times)

    def answer(self, request: Request, path: str) -> Answer:
        """Answer one call (RFC 6750 §3)."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            self._recorder.api_call("missing")
            challenge = 'Bearer realm="loopback"'
            return Answer(401, {"error": "no token was sent"}, {"WWW-Authenticate": challenge})
        scripted = "refused as told" if next(self._refusals, self) is None else None
        problem = scripted or self._grants.problem(token.strip())
        self._recorder.api_call(problem)
        if problem is None:
            return _accepted(request, path)
        challenge = (
            'Bearer realm="loopback", error="invalid_token", '
            f'error_description="the token is {problem}"'
        )
        refusal = {"error": "invalid_token", "error_description": f"the token is {problem}"}
        return Answer(401, refusal, {"WWW-Authenticate": challenge})


def _accepted(request: Request, path: str) -> Answer:
    """Return what arrived: the path, and for methods other than GET also the method and body."""
    seen: dict[str, Any] = {"path": path}
    if request.method not in ("GET", "HEAD"):  # HEAD has the headers of GET (RFC 9110 §9.3.2)
        seen["method"] = request.method
        if request.body:
            seen["body"] = request.body.decode("utf-8", "replace")
    headers = {"Allow": ", ".join(METHODS)} if request.method == "OPTIONS" else {}
    return Answer(200, seen, headers)
