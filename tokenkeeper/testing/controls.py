"""The settings and faults of a loopback authorization server, as its methods."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tokenkeeper.testing.endpoints import Endpoints
from tokenkeeper.testing.faults import Answer, Outage
from tokenkeeper.testing.stats import ServerStats

__all__ = ["Controls"]


class Controls:
    """What a test, or the control endpoint, can do to a server while it runs."""

    _endpoints: Endpoints

    # ---- settings

    @property
    def lifetime_seconds(self) -> float:
        """The lifetime of tokens granted from now on."""
        return self._endpoints.lifetime_seconds

    @lifetime_seconds.setter
    def lifetime_seconds(self, seconds: float) -> None:
        self._endpoints.lifetime_seconds = seconds

    @property
    def latency_seconds(self) -> float:
        """How many seconds the token endpoint takes to answer from now on."""
        return self._endpoints.faults.latency_seconds

    @latency_seconds.setter
    def latency_seconds(self, seconds: float) -> None:
        self._endpoints.faults.latency_seconds = seconds

    @property
    def refresh_tokens(self) -> bool:
        """Whether tokens granted from now on come with a refresh token, which works once."""
        return self._endpoints.refresh_tokens

    @refresh_tokens.setter
    def refresh_tokens(self, granted: bool) -> None:
        self._endpoints.refresh_tokens = granted

    # ---- faults

    @property
    def down(self) -> Outage | None:
        """How the token endpoint is down; ``None`` while it is up."""
        return self._endpoints.faults.outage

    def go_down(self, mode: Outage = "503", *, retry_after: float | None = None) -> None:
        """Take the token endpoint down; the API goes on.

        :param mode: "503" answers with that status, "reset" resets the connection, and "stall" does
            not answer until the outage ends, and then resets the connection.
        :param retry_after: the seconds in the ``Retry-After`` of a 503; none by default.
        """
        self._endpoints.faults.go_down(mode, retry_after)

    def come_back(self) -> None:
        """End the outage."""
        self._endpoints.faults.come_back()

    @contextmanager
    def outage(self, mode: Outage = "503", *, retry_after: float | None = None) -> Iterator[None]:
        """Take the token endpoint down until the block ends."""
        self.go_down(mode, retry_after=retry_after)
        try:
            yield
        finally:
            self.come_back()

    def script(self, *answers: Answer) -> None:
        """Have the token endpoint give *answers*, one for each request."""
        self._endpoints.faults.script(*answers)

    def refuse(
        self,
        error: str = "invalid_client",
        description: str = "refused by the test",
        *,
        times: int = 1,
    ) -> None:
        """Have the token endpoint refuse the next requests (RFC 6749 §5.2).

        :param error: the error code; "invalid_client" has status 401, others 400.
        :param description: the error description.
        :param times: how many requests to refuse; 1 by default.
        """
        status = 401 if error == "invalid_client" else 400
        body = {"error": error, "error_description": description}
        self.script(*[Answer(status, body)] * times)

    def refuse_api_calls(self, times: int = 1) -> None:
        """Have the API answer the next calls with 401, even if their tokens are valid."""
        self._endpoints.api.refuse(times)

    # ---- tokens

    def revoke(self, token: str) -> bool:
        """Revoke a token and all tokens of its grant; return whether it was known."""
        return self._endpoints.grants.revoke(token)

    def revoke_all(self) -> None:
        """Revoke every token granted so far."""
        self._endpoints.grants.revoke_all()

    def is_alive(self, token: str) -> bool:
        """Return whether the server granted *token*, and it is neither expired nor revoked."""
        return self._endpoints.grants.problem(token) is None

    def stats(self) -> ServerStats:
        """Return what the server has seen so far."""
        return self._endpoints.recorder.snapshot()
