"""``tokenkeeper dashboard``: the dashboard of a store, on loopback."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

import click

from tokenkeeper.cli.common import ExitCode, report_problems, source_options
from tokenkeeper.cli.source import Source
from tokenkeeper.clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    from tokenkeeper.stores.settings import StoreSettings

__all__ = ["dashboard"]

PORT = 8321


class _MissingExtra(click.ClickException):
    exit_code = ExitCode.CONFIGURATION


@click.command(short_help="Show a store's tokens on a web page, on this machine.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The loopback address to listen on.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    help="The port to listen on; 0 picks a free one.",
)
@source_options
@click.pass_context
def dashboard(ctx: click.Context, host: str, port: int) -> None:
    """Show the tokens of a store on a web page, to browsers on this machine.

    The page shows each token's life, which process renewed it last, claims and failures. It
    contains no token or secret, and changes nothing. It has no login, so it listens on loopback
    only. Ctrl-C ends it.
    """
    try:
        import uvicorn

        from tokenkeeper.dashboard.app import application
        from tokenkeeper.dashboard.headers import LoopbackHostsOnly, is_loopback
    except ModuleNotFoundError as missing:
        if str(missing.name).partition(".")[0] not in ("starlette", "uvicorn"):
            raise
        raise _MissingExtra(
            "The dashboard needs an extra that is not installed: "
            'pip install "tokenkeeper-oauth2[cli,dashboard]"'
        ) from None
    if not is_loopback(host):
        raise click.UsageError(
            f"--host {host} is not a loopback address. The dashboard has no login. To show it to "
            "others, mount tokenkeeper.dashboard.dashboard(...) behind the login of your own "
            "application"
        )
    with report_problems():
        settings = _settings(ctx.obj)
        app = LoopbackHostsOnly(application(settings, "Tokenkeeper", 2.0, SYSTEM_CLOCK))
    with _listener(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        click.echo(
            f"The dashboard is at http://{shown}:{listener.getsockname()[1]}/. "
            "Press Ctrl-C to stop.",
            err=True,
        )
        config = uvicorn.Config(
            app,
            access_log=False,
            lifespan="off",
            log_level="error",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        uvicorn.Server(config).run(sockets=[listener])


def _settings(source: Source) -> StoreSettings:
    """Return the store of the command line, or else that of the configuration or environment."""
    found = source.configured_store()
    if found is None:
        raise click.UsageError(
            "no store is configured. Set --store, TOKENKEEPER_STORE, or store: in the "
            "configuration file"
        )
    return found


def _listener(host: str, port: int) -> socket.socket:
    """Return a socket that listens on *host* and *port*."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        advice = ". Set --port to another one, or to 0" if error.errno == errno.EADDRINUSE else ""
        raise click.ClickException(
            f"can't listen on {host}, port {port}: {error.strerror}{advice}"
        ) from None
