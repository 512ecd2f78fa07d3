"""``tokenkeeper login``: a person signs in, and services go on with the refresh token."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from tokenkeeper._support.escaping import escaped
from tokenkeeper.cli.asking import brief_keeper
from tokenkeeper.cli.common import (
    Seconds,
    complete_names,
    json_option,
    report_problems,
    source_options,
)
from tokenkeeper.cli.pasting import completed_by_paste, terminal
from tokenkeeper.cli.sign_ins import (
    account_option,
    by_device,
    check_kept,
    required_place,
    with_sign_in,
)
from tokenkeeper.cli.source import Source
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.stores.sign_ins import is_volatile

if TYPE_CHECKING:
    from tokenkeeper.authorization import Authorization
    from tokenkeeper.models import OAuth2Token
    from tokenkeeper.providers.base import BaseOAuth2Provider
    from tokenkeeper.stores.settings import StoreSettings

__all__ = ["login"]


@click.command()
@click.argument("name", shell_complete=complete_names)
@click.option(
    "--device",
    is_flag=True,
    help="Sign in on another device, with a code, whatever grant is configured.",
)
@click.option("--no-browser", is_flag=True, help="Print the URL, and open no browser.")
@account_option
@click.option("--scope", multiple=True, help="The scope, instead of the registration's.")
@click.option("--resource", multiple=True, help="A resource to authorize; may be repeated.")
@click.option("--audience", multiple=True, help="An audience to authorize; may be repeated.")
@click.option(
    "--timeout",
    type=Seconds(min=1, max=3600),
    default=300.0,
    show_default=True,
    help="Seconds to wait for the person.",
)
@json_option
@source_options
@click.pass_obj
def login(
    source: Source,
    name: str,
    *,
    device: bool,
    no_browser: bool,
    account: str | None,
    scope: tuple[str, ...],
    resource: tuple[str, ...],
    audience: tuple[str, ...],
    timeout: float,
    as_json: bool,
) -> None:
    """Sign a person in for the provider NAME.

    Opens a browser for the grant authorization_code, and waits until the sign-in is complete. If
    the answer can't arrive on this machine, paste the address that the browser ended at. The
    refresh token is then kept in the provider's custody or the store. There services with the same
    configuration find it, and get tokens without a person. Run this again when they report that a
    sign-in is needed.

    \b
    tokenkeeper login calendar
    tokenkeeper login calendar --device          # on a server without a browser
    tokenkeeper login hubspot --account acme     # for source("hubspot", account="acme")
    """  # noqa: D301 - click needs the character
    with report_problems():
        selection = with_sign_in(source, name)
        if device:
            selection = by_device(selection)
        (provider,) = selection.providers
        pastes = terminal()
        leaves = _leaves(provider, pastes)
        place = required_place(source, provider)
        keeper = selection.add_to(brief_keeper(source.store()))  # not closed: a request may hang
        authorization = keeper.authorize(
            name,
            scope=" ".join(scope) or None,
            resource=resource or None,
            audience=audience or None,
            account=account,
            timeout_seconds=timeout,
        )
        is_opened = _show(authorization, name, leaves=leaves, browser=not no_browser)
        arrives = not authorization.state or (is_opened and not leaves)
        token = _completed(authorization, None if arrives else pastes, leaves=leaves)
        if token.refresh_token is not None:
            check_kept(provider, account, place)
    _report(name, token, place, as_json=as_json)


def _leaves(provider: BaseOAuth2Provider, pastes: int | None) -> bool:
    """Return whether the answer goes to a web application. A person has to paste it then.

    :raises InvalidConfigurationError: if no person can; says how to sign in.
    """
    name = provider.provider_name
    if provider.describe().get("redirect_uri") is None:
        return False
    if pastes is None:
        raise InvalidConfigurationError(
            f"provider {name!r}: its redirect_uri belongs to a web application. Sign in there, or "
            "with --device, or on a terminal, where you can paste the address that the browser "
            "ends at, or set redirect_port instead of redirect_uri",
            provider_name=name,
            field="redirect_uri",
        )
    return True


def _show(authorization: Authorization, name: str, *, leaves: bool, browser: bool) -> bool:
    """Print where and how to sign in, and open a browser there if that makes sense.

    :returns: whether one was opened.
    """
    url, code = authorization.url, authorization.user_code
    where = "" if leaves else " on this machine"
    if code is not None:
        _say(f"To sign in for {name}, open this page on any device, and enter the code {code}:")
    elif authorization.state:
        _say(f"To sign in for {name}, open this page in a browser{where}:")
    else:
        _say(f"To sign in for {name}, confirm the request on the device that the server asks.")
    if url:
        _say(f"\n  {url}\n")
    wants_browser = browser and bool(url) and code is None
    is_opened = wants_browser and _opened(url)
    if wants_browser and not is_opened:
        _say("No browser could be opened.")
    _say("Waiting for the sign-in. Press Ctrl-C to give up.")
    return is_opened


_PASTE = (
    "When the browser has come to the last page, copy the whole address of that page, paste it "
    "here and press Enter. It is not shown."
)
_IF_ELSEWHERE = "If the browser is on another machine, it can't open the last page."


def _completed(authorization: Authorization, pastes: int | None, *, leaves: bool) -> OAuth2Token:
    """Wait until the sign-in is complete, and return the token.

    :param pastes: the descriptor of the terminal where a person may paste the answer; ``None`` if
        it arrives without that.
    """
    if pastes is None:
        return authorization.wait()
    _say(_PASTE if leaves else f"{_IF_ELSEWHERE} {_PASTE}")
    return completed_by_paste(authorization, pastes, _say)


def _opened(url: str) -> bool:
    """Open *url* in a browser, and return whether that worked. Only this command does so."""
    import webbrowser  # no other command needs it

    try:
        return webbrowser.open(url)
    except (webbrowser.Error, OSError):
        return False


def _say(text: str) -> None:
    """Print *text* on standard error, at once. Line ends are those of this module."""
    click.echo("\n".join(map(escaped, text.split("\n"))), err=True)


def _report(name: str, token: OAuth2Token, place: StoreSettings, *, as_json: bool) -> None:
    """Print what was granted, and where the refresh token is kept. Prints no token."""
    is_kept = token.refresh_token is not None
    label = place.label if is_kept else None
    if as_json:
        content: dict[str, Any] = {
            "provider_name": name,
            "scope": token.scope,
            "expires_at": token.expires_at.isoformat(),
            "has_refresh_token": is_kept,
            "kept_in": label,
        }
        click.echo(json.dumps(content))
    minutes = max(0.0, token.expires_at.timestamp() - SYSTEM_CLOCK.time()) / 60
    _say(f"{name}: signed in. Granted: {token.scope or 'what the server does not name'}")
    if not is_kept:
        _say(
            f"Warning: the server granted no refresh token, so a new sign-in is needed in "
            f"{minutes:.0f} minutes. Many servers grant one for the scope offline_access, or for "
            "authorize_parameters such as prompt: consent or access_type: offline."
        )
        return
    _say(f"The access token is valid for {minutes:.0f} minutes, and is renewed from now on.")
    _say(f"The refresh token is kept in {label}.")
    if is_volatile(place):
        _say(
            "Warning: that is emptied when you log out, or when the machine restarts. Set custody "
            "or store: to keep it for longer."
        )
