"""Faults by HTTP, for shells and for programs in other languages."""

from __future__ import annotations

import hmac
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, cast, get_args

from tokenkeeper.testing.controls import Controls
from tokenkeeper.testing.faults import Answer, Outage
from tokenkeeper.testing.request import FormError, Request

__all__ = ["KEY_HEADER", "PREFIX", "ControlEndpoint"]

PREFIX = "/control/"

KEY_HEADER = "Control-Key"
"""A header of its own: a page in a browser can't send it here, even if it knew the key."""

MOST_TIMES = 10_000


class ControlEndpoint:
    """Answers requests under ``/control/`` that have the key.

    :param controls: the server that it controls.
    :param key: what the header ``Control-Key`` must contain.
    """

    def __init__(self, controls: Controls, key: str) -> None:
        self._controls = controls
        self._key = key
        self._routes: dict[tuple[str, str], Callable[[Mapping[str, str]], None]] = {
            ("POST", "outage"): self._go_down,
            ("DELETE", "outage"): lambda _: controls.come_back(),
            ("POST", "refuse"): self._refuse,
            ("POST", "refuse-api"): self._refuse_api,
            ("POST", "revoke"): self._revoke,
            ("POST", "settings"): self._set,
            ("GET", "stats"): lambda _: None,
        }

    def answer(self, request: Request, path: str) -> Answer:
        """Do what the request asks for; answer with the state of the server."""
        if not hmac.compare_digest(
            request.headers.get(KEY_HEADER, "").encode(), self._key.encode()
        ):
            return Answer(403, {"error": f"the header {KEY_HEADER} is missing or wrong"})
        name = path.removeprefix(PREFIX)
        allowed = [method for method, each in self._routes if each == name]
        if not allowed:
            known = sorted({each for _, each in self._routes})
            return Answer(404, {"error": f"there are only {', '.join(known)}"})
        if request.method not in allowed:
            error = {"error": "method_not_allowed"}
            return Answer(405, error, {"Allow": ", ".join(allowed)})
        try:
            form = request.form() if request.body else {}
            self._routes[request.method, name](form)
        except (FormError, ValueError) as problem:
            return Answer(400, {"error": str(problem)})
        return Answer(200, self._state())

    def _state(self) -> dict[str, Any]:
        controls = self._controls
        return {
            **asdict(controls.stats()),
            "down": controls.down,
            "lifetime_seconds": controls.lifetime_seconds,
            "latency_seconds": controls.latency_seconds,
            "refresh_tokens": controls.refresh_tokens,
        }

    def _go_down(self, form: Mapping[str, str]) -> None:
        _check_names(form, "mode", "retry_after")
        mode = form.get("mode", "503")
        if mode not in get_args(Outage):
            raise ValueError(f"mode must be one of {', '.join(get_args(Outage))}")
        retry_after = _seconds(form, "retry_after") if "retry_after" in form else None
        self._controls.go_down(cast("Outage", mode), retry_after=retry_after)

    def _refuse(self, form: Mapping[str, str]) -> None:
        _check_names(form, "error", "description", "times")
        times = _times(form)
        texts = {name: value for name, value in form.items() if name != "times"}
        self._controls.refuse(**texts, times=times)

    def _refuse_api(self, form: Mapping[str, str]) -> None:
        _check_names(form, "times")
        self._controls.refuse_api_calls(_times(form))

    def _revoke(self, form: Mapping[str, str]) -> None:
        _check_names(form, "token")
        if "token" not in form:
            self._controls.revoke_all()
        elif not self._controls.revoke(form["token"]):
            raise ValueError("the token is unknown")

    def _set(self, form: Mapping[str, str]) -> None:
        _check_names(form, "lifetime_seconds", "latency_seconds", "refresh_tokens")
        values: dict[str, float | bool] = {
            name: _seconds(form, name) for name in form if name != "refresh_tokens"
        }
        if values.get("lifetime_seconds") == 0:
            raise ValueError("lifetime_seconds must be positive")
        if "refresh_tokens" in form:
            if form["refresh_tokens"] not in ("true", "false"):
                raise ValueError("refresh_tokens must be true or false")
            values["refresh_tokens"] = form["refresh_tokens"] == "true"
        for name, value in values.items():
            setattr(self._controls, name, value)


def _check_names(form: Mapping[str, str], *known: str) -> None:
    unknown = sorted(form.keys() - set(known))
    if unknown:
        raise ValueError(f"unknown parameter {unknown[0]!r}. Known: {', '.join(known)}")


def _times(form: Mapping[str, str]) -> int:
    text = form.get("times", "1")
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= MOST_TIMES):
        raise ValueError(f"times must be a number from 1 to {MOST_TIMES}")
    return int(text)


def _seconds(form: Mapping[str, str], name: str) -> float:
    try:
        seconds = float(form[name])
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{name} must be a number of seconds")
    return seconds
