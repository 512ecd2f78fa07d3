"""The command ``tokenkeeper`` itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from tokenkeeper._support.escaping import escaped
from tokenkeeper._version import __version__
from tokenkeeper.cli.clear import clear
from tokenkeeper.cli.common import source_options
from tokenkeeper.cli.completion import completion
from tokenkeeper.cli.config import check, config
from tokenkeeper.cli.dashboard import dashboard
from tokenkeeper.cli.demo.command import demo
from tokenkeeper.cli.discover import discover
from tokenkeeper.cli.doctor import doctor
from tokenkeeper.cli.get import get
from tokenkeeper.cli.introspect import introspect
from tokenkeeper.cli.listing import list_
from tokenkeeper.cli.login import login
from tokenkeeper.cli.logout import logout
from tokenkeeper.cli.revoke import revoke
from tokenkeeper.cli.source import Source
from tokenkeeper.cli.status import status
from tokenkeeper.cli.stores import STORE_COMMANDS, store
from tokenkeeper.cli.watch import watch

__all__ = ["cli"]

# The commands report what the log would contain.
logging.getLogger("tokenkeeper").addHandler(logging.NullHandler())


_CODES = """\b
Exit codes:
  0    success
  1    no token could be obtained, or the output could not be written
  2    the configuration, or the command line, is invalid
{}  130  interrupted by Ctrl-C; 129, 143: ended by SIGHUP, SIGTERM
"""

EXIT_CODES = _CODES.format("  10+  `doctor` found a problem; see its help\n")


class _Escaping(click.Group):
    """Escapes click's messages about an invalid command line, which quote arguments unchanged."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Parse the options before the command."""
        with _escaped_messages():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        with _escaped_messages():
            return super().invoke(ctx)


@contextmanager
def _escaped_messages() -> Iterator[None]:
    try:
        yield
    except click.UsageError as error:
        error.message = escaped(error.message)  # type: ignore[misc] # of this object alone
        raise


@click.group(
    cls=_Escaping,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
)
@source_options
@click.version_option(__version__, prog_name="tokenkeeper")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Tokenkeeper owns a service's OAuth2 access tokens and hands out valid ones by name.

    Tokens go to standard output, messages to standard error.
    """
    ctx.ensure_object(Source)


for command in (
    get,
    list_,
    status,
    watch,
    clear,
    login,
    logout,
    revoke,
    introspect,
    store,
    config,
    discover,
    completion,
    demo,
    doctor,
    dashboard,
):
    cli.add_command(command)

for command in (
    get,
    list_,
    status,
    watch,
    clear,
    login,
    logout,
    revoke,
    introspect,
    check,
    discover,
    completion,
    demo,
    dashboard,
    *STORE_COMMANDS,
):
    command.epilog = _CODES.format("")
