"""``tokenkeeper get``: print one token."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable

import click

from tokenkeeper.cli.common import (
    complete_names,
    json_option,
    report_problems,
    source_options,
    timeout_option,
)
from tokenkeeper.cli.one_token import one_token
from tokenkeeper.cli.source import Source
from tokenkeeper.cli.token_options import token_options
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.models import OAuth2Token
from tokenkeeper.names import TokenParameters

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
        found = one_token(source, name, parameters, timeout=timeout, force=force)
        if style == "header" and found.token.dpop_key is not None:
            raise InvalidConfigurationError(
                f"provider {name!r}: its tokens are bound to a key (DPoP), so a header is not "
                "enough: each request needs a proof as well. Use the library to make requests",
                provider_name=name,
                field="dpop",
            )
        click.echo(_FORMATS[style](found.token, variable or _variable_for(name)))
