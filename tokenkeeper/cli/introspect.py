"""``tokenkeeper introspect``: what the server knows of a token."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from tokenkeeper._renewal.registry import check_taken
from tokenkeeper._support.escaping import escaped
from tokenkeeper.cli.asking import ask, brief_keeper, timeout_message, warn_about_store
from tokenkeeper.cli.common import (
    ExitCode,
    complete_names,
    json_option,
    report_problems,
    source_options,
    timeout_option,
)
from tokenkeeper.cli.source import Source
from tokenkeeper.cli.token_options import token_options
from tokenkeeper.names import NO_PARAMETERS, TokenName, TokenParameters

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

    --scope, --resource, --audience and --tenant mean another token of the same registration.
    """
    source: Source = ctx.obj
    with report_problems():
        selection = source.select_valid([name])
        (provider,) = selection.providers
        keeper = selection.add_to(brief_keeper(source.store()))  # not closed: a request may hang
        if parameters != NO_PARAMETERS:
            check_taken(provider, parameters)
        token_name = TokenName.of(name, parameters)
        answer = ask(keeper, [token_name], timeout=timeout)[token_name]
        warn_about_store(keeper)
        if answer.error is not None:
            raise answer.error
        if answer.token is None:
            raise click.ClickException(escaped(timeout_message(provider, timeout)))
        found = keeper.introspect(token_name)
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
