"""``tokenkeeper store``: the records of a store, and its keys."""

from __future__ import annotations

import json
from pathlib import Path

import click

from tokenkeeper._support.escaping import escaped
from tokenkeeper.cli.common import json_option, report_problems, source_options
from tokenkeeper.cli.purge import purge
from tokenkeeper.cli.source import Source, required_store

__all__ = ["STORE_COMMANDS", "store"]


@click.group()
def store() -> None:
    """Look after a store: its records, its state and its keys."""


@store.command("ls")
@json_option
@source_options
@click.pass_obj
def ls(source: Source, *, as_json: bool) -> None:
    """List the records of the store, without tokens and secrets. Changes nothing.

    Problems come first. At most 1,000 records are listed.
    """
    from tokenkeeper.cli.screen import console
    from tokenkeeper.cli.store_table import as_table
    from tokenkeeper.stores.overview import overview

    with report_problems():
        seen = overview(required_store(source))
    if as_json:
        click.echo(json.dumps(seen.as_json()))
        return
    screen = console()
    screen.print(as_table(seen.records, screen.width))
    count, shown = seen.totals.records, seen.totals.shown
    of = f" of {count:,}" if count > shown else ""
    click.echo(f"{shown:,}{of} record{'' if count == 1 else 's'} in {seen.label}.", err=True)


@store.command()
@click.option("--strict", is_flag=True, help="Treat a warning as a failure in the exit code.")
@json_option
@source_options
@click.pass_context
def check(ctx: click.Context, *, strict: bool, as_json: bool) -> None:
    """Examine the store as the doctor does: access, clock, keys, records, server settings.

    Exits with 20 if something is wrong with it.
    """
    from tokenkeeper.cli.doctor_screen import Screen
    from tokenkeeper.doctor.store_checks import examine_store

    with report_problems():
        report = examine_store(required_store(ctx.obj))
    if as_json:
        click.echo(json.dumps(report.as_dict(strict=strict), indent=2))
    else:
        with Screen() as screen:
            screen.show_store(report)
    ctx.exit(report.exit_code(strict=strict))


@store.command("new-key")
@click.argument("file", required=False, type=click.Path(path_type=Path))
def new_key(file: Path | None) -> None:
    """Create FILE with new keys, for you alone. Without FILE, print a new line for a key file.

    The first line of a key file encrypts, all of them decrypt.
    """
    from tokenkeeper.stores.key_file import create_key_file
    from tokenkeeper.stores.key_lines import new_key

    if file is None:
        click.echo(new_key())
        return
    with report_problems():
        kid = create_key_file(file)
    click.echo(
        f"{escaped(file)} has the new key {kid}, and one that names the records. Give the file to "
        "every process of the fleet, and set key_file.",
        err=True,
    )


@store.command("rotate-key")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--drop-unused",
    is_flag=True,
    help="Drop the old keys instead. What they encrypted can't be read any more.",
)
def rotate_key(file: Path, *, drop_unused: bool) -> None:
    """Take the next step of rotating the keys in FILE, and print what to do then.

    The first run adds a new key that only decrypts. Once every process has the file, the second run
    makes that key encrypt. When nothing that is stored needs the old key any more, --drop-unused
    removes it. In this order, no step costs a token request.
    """
    from tokenkeeper.stores.key_file import rotate_key_file

    with report_problems():
        rotation = rotate_key_file(file, drop_unused)
    advice = rotation.advice
    match rotation.step:
        case "added":
            what = f"Added the key {rotation.kid}, which only decrypts so far."
        case "promoted":
            what = f"The key {rotation.kid} encrypts from now on."
            advice = advice.replace("drop it.", "drop it with --drop-unused.")
        case "dropped":
            what = f"Dropped {', '.join(rotation.dropped)}. The key {rotation.kid} encrypts."
    click.echo(f"{what} {advice}", err=True)


store.add_command(purge)

STORE_COMMANDS = (ls, check, purge, new_key, rotate_key)
