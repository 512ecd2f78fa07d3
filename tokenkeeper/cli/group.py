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
from tokenkeeper.cli.demo.command import demo
from tokenkeeper.cli.doctor import doctor
from tokenkeeper.cli.get import get
from tokenkeeper.cli.listing import list_
from tokenkeeper.cli.source import Source
from tokenkeeper.cli.status import status
from tokenkeeper.cli.watch import watch

__all__ = ["cli"]

# What the log would say, the commands say in words of their own.
logging.getLogger("tokenkeeper").addHandler(logging.NullHandler())


_CODES = """\b
Exit codes:
  0    all is well
  1    no token could be had, or the output could not be written
  2    the configuration, or the call, is wrong
{}  130  interrupted by Ctrl-C; 129, 143: ended by SIGHUP, SIGTERM
"""

EXIT_CODES = _CODES.format("  10+  `doctor` found something: its help has the list\n")


class _Escaping(click.Group):
    """Escapes what click says of a wrong call: it quotes arguments and paths as they are."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Read what stands before the command."""
        with _escaped_words():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        with _escaped_words():
            return super().invoke(ctx)


@contextmanager
def _escaped_words() -> Iterator[None]:
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

    Tokens go to standard output, words to standard error.
    """
    ctx.ensure_object(Source)


for command in (get, list_, status, watch, clear, config, completion, demo, doctor):
    cli.add_command(command)

for command in (get, list_, status, watch, clear, check, completion, demo):
    command.epilog = _CODES.format("")
