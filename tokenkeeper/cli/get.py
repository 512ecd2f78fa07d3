"""``tokenkeeper get``: print one token."""

from __future__ import annotations

import os

import click

from tokenkeeper.cli.common import words_for_errors
from tokenkeeper.config.environment import provider_from_environment
from tokenkeeper.keeper import TokenKeeper

__all__ = ["get"]


@click.command()
@click.argument("name")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds to wait for a token, retries included.",
)
def get(name: str, timeout: float) -> None:
    """Print a token of the client that the environment describes.

    It is described either by OAUTH2_CLIENT_ID, OAUTH2_CLIENT_SECRET, OAUTH2_TOKEN_URL and, if
    need be, OAUTH2_SCOPE, or by AZURE_CLIENT_ID, AZURE_CLIENT_SECRET and AZURE_TENANT_ID. Where
    both are set, the NAME "azure" or "oauth2" chooses; otherwise NAME is yours to choose.
    """
    with words_for_errors():
        provider = provider_from_environment(name, os.environ)
        with TokenKeeper() as keeper:
            keeper.add_provider(provider)
            token = keeper.get_token(name, timeout=timeout)
    click.echo(token)
