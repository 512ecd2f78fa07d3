"""``tokenkeeper status``: the stored tokens, and with ``--fetch`` those that are missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import click

from tokenkeeper.cli.asking import (
    ask,
    brief_keeper,
    release_claim,
    timeout_message,
    warn_about_store,
)
from tokenkeeper.cli.common import (
    ExitCode,
    complete_names,
    json_option,
    report_problems,
    source_options,
    timeout_option,
)
from tokenkeeper.cli.records import key_of, record_of, records, records_of
from tokenkeeper.cli.sign_ins import sign_in_advice, with_advice
from tokenkeeper.cli.source import NOT_STORED, Selection, Source, in_memory
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.names import NO_PARAMETERS
from tokenkeeper.stores.sign_ins import kept_in, needs_sign_in, sign_in_of

if TYPE_CHECKING:
    from tokenkeeper.cli.rows import Row
    from tokenkeeper.config.reloadable import ReloadableProvider
    from tokenkeeper.stores.settings import StoreSettings

__all__ = ["status"]

MOST_RECORDS = 1000
"""How many records are searched for tokens with parameters."""


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_names)
@click.option("--fetch", is_flag=True, help="Request missing tokens first.")
@json_option
@source_options
@timeout_option
@click.pass_context
def status(
    ctx: click.Context, names: tuple[str, ...], *, fetch: bool, as_json: bool, timeout: float
) -> None:
    """Show the stored tokens of all providers, or of the named ones.

    A token that get stored with --scope, --resource, --audience, --tenant or --account has its own
    row.

    Only --fetch sends requests; a token that can't be obtained then makes the exit code 1. A
    provider whose configuration is invalid is reported on standard error, and makes it 2.
    """
    # Not at the top, because `get` in a loop of a script does not need rich.
    from tokenkeeper.cli.rows import as_table
    from tokenkeeper.cli.screen import console

    source: Source = ctx.obj
    with report_problems():
        selection = source.select(names)
        if names:
            selection.raise_if_wrong()
        settings = source.store()
        everywhere = all(each.custody is not None for each in selection.providers)
        if not (fetch or settings or (everywhere and selection.providers)):
            click.echo(NOT_STORED, err=True)
        settings = settings or in_memory()
        late = _fetch_all(settings, selection, timeout) if fetch else {}
        rows = _rows(settings, selection.providers)
        rows = [
            replace(row, last_error=row.last_error or late.get(row.provider_name))
            if not row.parameters
            else row
            for row in rows
        ]
        if as_json:
            click.echo(json.dumps([asdict(row) for row in rows]))
        else:
            screen = console()
            screen.print(as_table(rows, screen.width))
        selection.raise_if_wrong()
    missing = [row for row in rows if row.state not in ("fresh", "renewing")]
    if fetch and not all(row.parameters for row in missing):
        ctx.exit(ExitCode.NO_TOKEN)


def _rows(settings: StoreSettings, providers: Sequence[ReloadableProvider]) -> list[Row]:
    """Return a row for each provider's own token, and for each other one that is stored."""
    from tokenkeeper.cli.rows import row_of_record

    stored = list(records(settings, MOST_RECORDS + 1))
    if len(stored) > MOST_RECORDS:
        click.echo(
            f"The store has more than {MOST_RECORDS:,} records, so tokens with parameters may be "
            "missing here.",
            err=True,
        )
    rows = []
    for provider in providers:
        name, place = provider.provider_name, kept_in(provider, settings) or settings
        own_key = key_of(place, provider, NO_PARAMETERS)
        own = record_of(place, own_key)
        row = row_of_record(name, own.view(provider.buffer_seconds))
        rows.append(_with_sign_in(row, place, provider))
        others = stored if place is settings else records(place, MOST_RECORDS)
        for each in records_of(provider, others):
            row = row_of_record(name, each.view(provider.buffer_seconds), each.parameters)
            if each.key != own_key and (row.state in ("fresh", "renewing") or row.last_error):
                rows.append(row)
    return rows


def _with_sign_in(row: Row, place: StoreSettings, provider: ReloadableProvider) -> Row:
    """Return *row* with what to run if a person has to sign in before there can be a token."""
    if row.state == "unreadable" or not needs_sign_in(provider):
        return row
    found = sign_in_of(provider, place, SYSTEM_CLOCK.time())
    if found.is_usable:
        return row
    advice = sign_in_advice(provider)
    return replace(row, last_error=f"{found.lost} {advice}" if found.lost else advice)


def _fetch_all(settings: StoreSettings, selection: Selection, timeout: float) -> dict[str, str]:
    """Request all tokens at the same time; return the errors by name."""
    # Not closed, because that would wait for a hanging request. The process ends it anyway.
    keeper = brief_keeper(settings)
    selection.add_to(keeper)
    providers = selection.providers
    errors = {}
    answers = ask(keeper, [each.provider_name for each in providers], timeout=timeout)
    for provider in providers:
        name = provider.provider_name
        answer = answers[name]
        if answer.timed_out:
            errors[name] = timeout_message(provider, timeout)
            release_claim(settings, provider, name, errors[name])
        elif isinstance(answer.error, TokenAcquisitionError):
            errors[name] = str(with_advice(answer.error, provider))
        elif answer.error is not None:
            raise answer.error
    warn_about_store(keeper)
    return errors
