"""``tokenkeeper revoke``: sign out, at the server and in the store."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from tokenkeeper._support.escaping import escaped
from tokenkeeper.cli.asking import brief_keeper
from tokenkeeper.cli.common import complete_names, json_option, report_problems, source_options
from tokenkeeper.cli.sign_ins import account_option
from tokenkeeper.cli.source import Source

if TYPE_CHECKING:
    from tokenkeeper.oauth.revocation import Revocation

__all__ = ["as_json_object", "in_words", "revoke", "revoked"]


@click.command()
@click.argument("name", shell_complete=complete_names)
@account_option
@json_option
@source_options
@click.pass_obj
def revoke(source: Source, name: str, *, account: str | None, as_json: bool) -> None:
    """Have the server revoke the stored tokens of NAME.

    They are deleted as well. Where somebody signed in, these are the refresh token and all access
    tokens that it brought, and no process that shares the store gets another one until there is a
    new sign-in. Otherwise it is the access token.

    If the server does not do it, nothing is deleted. `tokenkeeper clear` deletes without the
    server.
    """
    with report_problems():
        found = revoked(source, name, account)
    if as_json:
        click.echo(json.dumps(as_json_object(found)))
    else:
        click.echo(in_words(found), err=True)


def revoked(
    source: Source, name: str, account: str | None = None, *, forgets_anyway: bool = False
) -> Revocation:
    """Revoke the grant of NAME, or its access token, and return what became of it.

    :param account: the account whose grant it is; the provider's own by default.
    :param forgets_anyway: whether to delete tokens although the server has no endpoint to revoke
        them at; by default that is an error.
    :raises InvalidConfigurationError: if the provider is not valid.
    :raises TokenAcquisitionError: if the server did not revoke it. Nothing is deleted then.
    """
    from tokenkeeper._renewal.revoking import revoke as revoke_at_server

    selection = source.select_valid([name])
    with selection.add_to(brief_keeper(source.store())) as keeper:
        return revoke_at_server(
            keeper._coordinator,  # noqa: SLF001 - what a service can't ask for
            name,
            "refresh_token",
            account=account,
            forgets_anyway=forgets_anyway,
        )


def as_json_object(found: Revocation) -> dict[str, Any]:
    """Return *found* for programs, without the name of an account."""
    content = {**asdict(found), "goes_with": found.goes_with}
    del content["token_name"]
    until = found.valid_until
    return {**content, "valid_until": None if until is None else until.isoformat()}


def in_words(found: Revocation) -> str:
    """Return *found* in a few sentences."""
    name = f"provider {found.provider_name!r}"
    if found.token is None:
        return escaped(f"{name}: nothing to revoke: no token is stored.")
    what = f"the {found.token.replace('_', ' ')}"
    if found.server_was_asked:
        sentences = [f"{name}: {what} was revoked.", found.goes_with]
    else:
        sentences = [
            f"{name}: {what} was deleted.",
            "The server has no endpoint to revoke it, so a copy stays valid until it expires.",
        ]
    if found.valid_until is not None:
        until = found.valid_until.isoformat(timespec="seconds")
        sentences.append(f"An API that does not ask the server may accept a copy until {until}.")
    return escaped(" ".join(sentences))
