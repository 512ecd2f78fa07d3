"""``tokenkeeper get``: print one token."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable

import click

from tokenkeeper._renewal.registry import check_taken
from tokenkeeper._support.escaping import escaped
from tokenkeeper.cli.asking import (
    ask,
    brief_keeper,
    release_claim,
    timeout_message,
    variant_of,
    warn_about_store,
)
from tokenkeeper.cli.common import (
    complete_names,
    json_option,
    report_problems,
    source_options,
    timeout_option,
)
from tokenkeeper.cli.sign_ins import with_advice
from tokenkeeper.cli.source import Source
from tokenkeeper.cli.token_options import token_options
from tokenkeeper.models import OAuth2Token
from tokenkeeper.names import NO_PARAMETERS, TokenName, TokenParameters

__all__ = ["get"]


def _as_json(token: OAuth2Token, _: str) -> str:
    content = {
        "access_token": token.access_token,
        "token_type": token.token_type,
        "expires_at": token.expires_at.isoformat(),
        "scope": token.scope,
    }
    return json.dumps(content)


def _as_assignment(token: OAuth2Token, variable: str) -> str:
    return f"export {variable}={shlex.quote(token.access_token)}"


def _variable_for(name: str) -> str:
    variable = re.sub(r"\W", "_", f"{name}_TOKEN".upper(), flags=re.ASCII)
    return f"_{variable}" if variable[0].isdigit() else variable


def _checked_variable(
    _ctx: click.Context, _parameter: click.Parameter, variable: str | None
) -> str | None:
    # The output is passed to a shell's eval.
    if variable is None or re.fullmatch(r"[A-Z_]\w*", variable, re.ASCII | re.IGNORECASE):
        return variable
    raise click.BadParameter("use letters, digits and underscores, and don't begin with a digit")


_FORMATS: dict[str, Callable[[OAuth2Token, str], str]] = {
    "token": lambda token, _: token.access_token,
    "header": lambda token, _: f"Authorization: Bearer {token.access_token}",
    "json": _as_json,
    "env": _as_assignment,
}


@click.command()
@click.argument("name", shell_complete=complete_names)
@click.option("--force", is_flag=True, help="Ask the server, even if a fresh token is stored.")
@click.option(
    "--format",
    "style",
    type=click.Choice(list(_FORMATS)),
    default="token",
    show_default=True,
    help="The bare token, an HTTP header, JSON, or a line for a shell's eval (NAME_TOKEN=...).",
)
@click.option(
    "--variable",
    callback=_checked_variable,
    help="The variable that --format env sets, instead of NAME_TOKEN.",
)
@json_option
@token_options
@source_options
@timeout_option
@click.pass_obj
def get(
    source: Source,
    name: str,
    *,
    force: bool,
    style: str,
    variable: str | None,
    as_json: bool,
    timeout: float,
    parameters: TokenParameters,
) -> None:
    """Print a token of the provider NAME.

    The configuration file describes the provider. Without a file, the environment does, by
    OAUTH2_CLIENT_ID, OAUTH2_CLIENT_SECRET, OAUTH2_TOKEN_URL and, if needed, OAUTH2_SCOPE, or by
    AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, AZURE_TENANT_ID and, if needed, AZURE_SCOPE.
    OAUTH2_CLIENT_SECRET_FILE or AZURE_CLIENT_SECRET_FILE names a file that contains the secret;
    other variables describe a key, a certificate or an assertion in its place.
    If both families are set, the NAME "oauth2" or "azure" selects one; otherwise NAME can be
    anything.

    --scope, --resource, --audience, --tenant and --account request another token of it.

    \b
    tokenkeeper get billing --format header | curl -H @- https://api.example.com/
    eval "$(tokenkeeper get billing --format env)"
    """  # noqa: D301 - click needs the character
    style = "json" if as_json else style
    if variable is not None and style != "env":
        raise click.UsageError("--variable needs --format env")
    with report_problems():
        selection = source.select_valid([name])
        (provider,) = selection.providers
        settings = source.store()
        keeper = selection.add_to(brief_keeper(settings))  # not closed: a request may hang
        if parameters != NO_PARAMETERS:
            check_taken(provider, parameters)
        token_name = TokenName.of(name, parameters)
        answer = ask(keeper, [token_name], timeout=timeout, force=force)[token_name]
        if answer.timed_out:
            message = timeout_message(provider, timeout)
            if settings is not None:
                release_claim(settings, variant_of(provider, parameters), token_name, message)
            if answer.token is None:
                raise click.ClickException(escaped(message))
        warn_about_store(keeper)
        if answer.error is not None:
            raise with_advice(answer.error, provider, parameters.account)
        if answer.token is not None:  # perhaps one whose renewal hangs
            click.echo(_FORMATS[style](answer.token, variable or _variable_for(name)))
