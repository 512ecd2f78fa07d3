"""The command ``tokenkeeper`` itself."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from tokenkeeper._version import __version__
from tokenkeeper.cli.common import Source
from tokenkeeper.cli.demo import demo
from tokenkeeper.cli.doctor import doctor
from tokenkeeper.cli.get import get

__all__ = ["cli"]

# What the log would say, the commands say in words of their own.
logging.getLogger("tokenkeeper").addHandler(logging.NullHandler())


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The YAML file that describes the providers; by default TOKENKEEPER_CONFIG.",
)
@click.version_option(__version__, prog_name="tokenkeeper")
@click.pass_context
def cli(ctx: click.Context, config: Path | None) -> None:
    """Tokenkeeper owns a service's OAuth2 access tokens and hands out valid ones by name."""
    ctx.obj = Source(config)


for command in (get, demo, doctor):
    cli.add_command(command)
