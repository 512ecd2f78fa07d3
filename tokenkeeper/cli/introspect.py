"""``tokenkeeper introspect``: what the server knows of a token."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from tokenkeeper._support.escaping import escaped
from tokenkeeper.cli.common import (
    ExitCode,
    complete_names,
    json_option,
    report_problems,
    source_options,
    timeout_option,
)
from tokenkeeper.cli.one_token import one_token
from tokenkeeper.cli.token_options import token_options
from tokenkeeper.names import TokenParameters

__all__ = ["introspect"]


@click.command()
@click.argument("name", shell_complete=complete_names)
@json_option
@token_options
@source_options
@timeout_option
@click.pass_context
def introspect(
    ctx: click.Context, name: str, *, as_json: bool, timeout: float, parameters: TokenParameters
) -> None:
    """Show what the server knows of a token of NAME.

    That is its scope, audience, expiry and more. A token is requested if none is stored; it is not
    printed. The exit code is 1 if the server calls it inactive.

    --scope, --resource, --audience, --tenant and --account mean another token of the same
    registration.
    """
    with report_problems():
        one = one_token(ctx.obj, name, parameters, timeout=timeout)
        found = one.keeper.introspect(one.name)
    if as_json:
        click.echo(json.dumps(found))
    else:
        _write(found)
    if not found["active"]:
        ctx.exit(ExitCode.NO_TOKEN)


def _write(found: Mapping[str, Any]) -> None:
    names = ["active", *sorted(each for each in found if each != "active")]
    width = max(map(len, map(escaped, names)))
    for name in names:
        value = found[name]
        text = value if isinstance(value, str) else json.dumps(value)
        click.echo(f"{escaped(name):{width}}  {escaped(text)}")
