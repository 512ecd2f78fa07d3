"""Has a person sign in at the authorization server of an MCP server."""

from __future__ import annotations

import threading

from tokenkeeper._runtime.fork import forks_wait
from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import AuthorizationRequiredError, TokenAcquisitionError
from tokenkeeper.integrations._mcp_settings import McpSettings
from tokenkeeper.oauth.loopback_listener import is_listening

__all__ = ["SignInExpiredError", "open_browser", "sign_in", "wait_for_others"]

LOOK_SECONDS = 0.25
"""How often a process looks whether a sign-in of another one is over."""


class SignInExpiredError(TokenAcquisitionError):
    """The time for a sign-in passed without an answer."""


def open_browser(url: str) -> None:
    """Open *url* in the person's browser.

    :raises OSError: if there is none.
    """
    with forks_wait():
        import webbrowser  # few programs need it

    if not webbrowser.open(url):
        raise OSError("no browser")


def sign_in(settings: McpSettings, scope: tuple[str, ...], clock: Clock) -> None:
    """Block until a person has signed in, and the keeper has the tokens.

    :param scope: the scope to ask for; empty for none.
    :raises TokenAcquisitionError: if the server refuses, the person declines, or the time passes;
        an ``AuthorizationRequiredError`` if there is no one to ask.
    """
    name = settings.provider_name
    if settings.on_sign_in is None:
        raise _required(name, "No one is asked, because on_sign_in is None.")
    with settings.keeper.authorize(
        name,
        scope=scope or None,
        account=settings.account,
        timeout_seconds=settings.sign_in_timeout_seconds,
    ) as authorization:
        try:
            settings.on_sign_in(authorization.url)
        except Exception as error:  # noqa: BLE001 - its text may contain the URL
            problem = type(error).__name__
        else:
            try:
                authorization.wait()
            except TokenAcquisitionError as error:
                if clock.time() < authorization.expires_at.timestamp():
                    raise
                raise SignInExpiredError(str(error), provider_name=name, transient=False) from error
            return
    raise _required(name, f"The page could not be shown: on_sign_in raised {problem}.")


def wait_for_others(settings: McpSettings, port: int, clock: Clock) -> bool:
    """Block while another process has a person sign in at *port*.

    :returns: whether one did, and is done.
    """
    deadline = clock.monotonic() + settings.sign_in_timeout_seconds
    state = settings.keeper._coordinator.state  # noqa: SLF001 - a part of the keeper
    did = False
    while is_listening(port) and not state.is_closed:
        if clock.monotonic() >= deadline:
            return False
        did = True
        clock.wait(threading.Event(), LOOK_SECONDS)
    return did


def _required(name: str, problem: str) -> AuthorizationRequiredError:
    return AuthorizationRequiredError(
        f"provider {name!r}: a person has to sign in. {problem} Pass a function that shows a URL, "
        "such as print.",
        provider_name=name,
        transient=False,
    )
