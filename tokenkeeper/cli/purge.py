"""``tokenkeeper store purge``: delete records of a store."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import click

from tokenkeeper._support.escaping import escaped
from tokenkeeper.cli.common import (
    ExitCode,
    complete_names,
    json_option,
    report_problems,
    source_options,
)
from tokenkeeper.cli.records import StoredRecord, records
from tokenkeeper.cli.source import required_store
from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.names import provider_of

__all__ = ["purge"]

SHORTEST_KEY = 6
"""How many characters of a record's key are needed to name it."""

MOST_NAMED = 20


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_names)
@click.option(
    "--expired", is_flag=True, help="Only records whose token has expired, and can be replaced."
)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
@source_options
@click.pass_context
def purge(
    ctx: click.Context, names: tuple[str, ...], *, expired: bool, yes: bool, as_json: bool
) -> None:
    """Delete records of the store: of the named providers, the expired ones, or all of them.

    NAME is a provider, or the beginning of a record's key as `tokenkeeper store ls` shows it. Asks
    for confirmation on a terminal, and names the records that can't be had again: those with a
    refresh token, and those that can't be read.

    Running processes keep what they have in memory, and may store it again. `tokenkeeper clear`
    deletes tokens so that none comes back.
    """
    with report_problems():
        settings = required_store(ctx.obj)
        chosen = _chosen(list(records(settings)), names)
        if expired:
            chosen = [each for each in chosen if _is_expired(each)]
        lost = [each for each in chosen if each.is_irreplaceable]
        if lost:
            click.echo(_about(lost), err=True)
        if chosen and not yes:
            _confirm(f"Delete {_counted(len(chosen))} of {settings.label}?")
        count = _delete(chosen)
    if as_json:
        click.echo(json.dumps({"deleted": count}))
    else:
        click.echo(f"{_counted(count)} deleted.", err=True)
    if count < len(chosen):
        ctx.exit(ExitCode.NO_TOKEN)


def _delete(chosen: Sequence[StoredRecord]) -> int:
    """Delete records; return how many. One that the store can't delete is reported.

    :raises StoreUnavailableError: if the store can't be used.
    """
    count = 0
    for each in chosen:
        try:
            each.settings.store.forget(each.key, entirely=True)
        except StoreUnavailableError as error:
            if not error.is_misconfigured:
                raise
            click.echo(f"Error: {each.view().name}: {escaped(error)}", err=True)
        else:
            count += 1
    return count


def _chosen(found: Sequence[StoredRecord], names: Sequence[str]) -> list[StoredRecord]:
    """Return those of *found* that *names* mean, or all without names.

    :raises click.UsageError: if a name means none.
    """
    if not names:
        return list(found)
    chosen: dict[str, StoredRecord] = {}
    for name in names:
        meant = [each for each in found if _is_meant(each, name)]
        if not meant:
            raise click.UsageError(
                f"the store has no record of {escaped(name)!r}. See: tokenkeeper store ls"
            )
        chosen.update((each.key, each) for each in meant)
    return list(chosen.values())


def _is_meant(record: StoredRecord, name: str) -> bool:
    if record.token_name is not None and provider_of(record.token_name) == name:
        return True
    return len(name) >= SHORTEST_KEY and record.key.startswith(name)


def _is_expired(record: StoredRecord) -> bool:
    view = record.view()
    return view.state == "expired" and view.claim is None and not record.is_irreplaceable


def _about(lost: Sequence[StoredRecord]) -> str:
    """Return a text that names the records that can't be had again."""
    lines = [f"{_counted(len(lost))} can't be had again:"]
    for each in lost[:MOST_NAMED]:
        view = each.view()
        why = view.unreadable or "it has a refresh token"
        lines.append(f"  {view.name} ({each.key[:12]}): {why}")
    if len(lost) > MOST_NAMED:
        lines.append(f"  and {len(lost) - MOST_NAMED:,} more")
    return "\n".join(lines)


def is_terminal() -> bool:
    """Return whether a person can answer."""
    return sys.stdin.isatty()


def _confirm(question: str) -> None:
    if not is_terminal():
        raise click.UsageError("there is no terminal to ask for confirmation. Set --yes")
    click.confirm(question, abort=True, err=True)


def _counted(number: int) -> str:
    return f"{number:,} record{'' if number == 1 else 's'}"
