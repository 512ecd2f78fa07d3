"""``tokenkeeper discover``: the configuration for a server, from its metadata."""

from __future__ import annotations

import json

import click

from tokenkeeper.cli.common import Seconds, json_option, report_problems

__all__ = ["discover"]


@click.command()
@click.argument("url")
@click.option(
    "--timeout",
    type=Seconds(min=0, min_open=True, max=600),
    default=10.0,
    show_default=True,
    help="Seconds for all requests together.",
)
@json_option
def discover(url: str, timeout: float, *, as_json: bool) -> None:
    """Print a configuration for a server.

    It is a block of YAML, made from the server's metadata. URL is the issuer of the server, such as
    https://id.example.com/tenant1, or the URL of its metadata (RFC 8414, OpenID Connect Discovery).
    Sends no secret, and requests no token.
    """
    # Not at the top: other commands need no requests.
    from tokenkeeper.cli import discovered
    from tokenkeeper.clock import SYSTEM_CLOCK

    with report_problems():
        found = discovered.discover(url, SYSTEM_CLOCK, timeout=timeout)
        output = (
            json.dumps(discovered.as_json(found), indent=2)
            if as_json
            else discovered.as_yaml(found)
        )
    click.echo(output)
