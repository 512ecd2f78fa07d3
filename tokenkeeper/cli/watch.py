"""``tokenkeeper watch``: a running keeper, as a table or as lines."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import click

from tokenkeeper._renewal.registry import check_taken
from tokenkeeper._support.escaping import escaped
from tokenkeeper.cli.common import (
    ExitCode,
    Seconds,
    complete_names,
    json_option,
    report_problem,
    report_problems,
    source_options,
)
from tokenkeeper.cli.records import key_of, record_of
from tokenkeeper.cli.source import Source, in_memory
from tokenkeeper.cli.token_options import token_options
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.events import TokenEvent
from tokenkeeper.exceptions import StoreUnavailableError, TokenAcquisitionError
from tokenkeeper.keeper import TokenKeeper
from tokenkeeper.names import NO_PARAMETERS, TokenName, TokenParameters, stated_in
from tokenkeeper.stores.sign_ins import kept_in

if TYPE_CHECKING:
    from rich.console import Console

    from tokenkeeper.providers.base import BaseOAuth2Provider
    from tokenkeeper.stores.settings import StoreSettings
    from tokenkeeper.stores.views import RecordView

__all__ = ["watch"]

POLLS_PER_SECOND = 2

GLANCE_AGAIN_SECONDS = 5.0
"""How long a store that fails is not read for the table; the keeper goes on without that."""


@click.command(short_help="Get tokens and watch their renewals.")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_names)
@click.option("--seconds", type=Seconds(min=0), help="Seconds to watch; until Ctrl-C by default.")
@json_option
@token_options
@source_options
@click.pass_context
def watch(
    ctx: click.Context,
    names: tuple[str, ...],
    *,
    seconds: float | None,
    as_json: bool,
    parameters: TokenParameters,
) -> None:
    """Get the tokens of all providers, or of the named ones, and watch their renewals.

    With --scope, --resource, --audience, --tenant or --account, those tokens of the named
    providers.

    Shows a live table on a terminal; elsewhere, and with --json, prints a line for each event. A
    provider whose configuration is invalid is reported on standard error first, and makes the
    exit code 2.
    """
    from tokenkeeper.cli.screen import can_go_back, console

    if parameters != NO_PARAMETERS and not names:
        raise click.UsageError("name the providers whose tokens to get")
    source: Source = ctx.obj
    screen = console()
    lines = as_json or not can_go_back(screen)
    # Events arrive on the keeper's threads. They are written on this one, which has to notice when
    # standard output is closed, as with `| head`.
    events: SimpleQueue[TokenEvent] = SimpleQueue()
    with report_problems():
        selection = source.select(names)
        mistake = selection.error()
        if mistake is not None and (names or not selection.providers):
            raise mistake
        if mistake is not None:
            report_problem(mistake)
        settings = source.store() or in_memory()
        with TokenKeeper(hooks=[events.put] if lines else [], store=settings) as keeper:
            tokens = []
            selection.add_to(keeper)
            for provider in selection.providers:
                check_taken(provider, parameters)
                tokens.append(_Watched.of(settings, provider, parameters))
            if lines:
                _poll(keeper, tokens, seconds, lambda: _write_lines(events, as_json))
            else:
                _show_live(keeper, tokens, screen, seconds)
    ctx.exit(ExitCode.OK if mistake is None else ExitCode.CONFIGURATION)


@dataclass(frozen=True)
class _Watched:
    """A token that is watched.

    :ivar settings: the store that has it: its provider's custody, or else that of the command.
    :ivar key: of its record there.
    """

    name: TokenName
    settings: StoreSettings
    key: str
    buffer_seconds: float
    parameters: Mapping[str, Any]

    @classmethod
    def of(
        cls, settings: StoreSettings, provider: BaseOAuth2Provider, parameters: TokenParameters
    ) -> _Watched:
        name = TokenName.of(provider.provider_name, parameters)
        stated = json.loads(stated_in(name) or "{}")
        place = kept_in(provider, settings) or settings
        key = key_of(place, provider, parameters)
        return cls(name, place, key, provider.buffer_seconds, stated)


class _Glance:
    """Reads records of stores, and leaves a store alone for a while if that fails."""

    def __init__(self) -> None:
        self._again_at: dict[str, float] = {}  # by the label of the store

    def view(self, token: _Watched) -> RecordView | None:
        """Return the record of *token*; ``None`` if it can't be read now."""
        label = token.settings.label
        if SYSTEM_CLOCK.monotonic() < self._again_at.get(label, 0.0):
            return None
        try:
            return record_of(token.settings, token.key).view(token.buffer_seconds)
        except StoreUnavailableError:
            self._again_at[label] = SYSTEM_CLOCK.monotonic() + GLANCE_AGAIN_SECONDS
            return None


def _show_live(
    keeper: TokenKeeper,
    tokens: list[_Watched],
    screen: Console,
    seconds: float | None,
) -> None:
    """Show a table of the tokens, and keep it current."""
    from rich.live import Live

    from tokenkeeper.cli.rows import as_table, row_of_keeper

    glance = _Glance()
    with Live(console=screen, refresh_per_second=POLLS_PER_SECOND) as live:

        def show() -> None:
            providers = keeper.health()["providers"]
            rows = []
            for each in tokens:
                name = each.name.provider_name
                own = providers[name]
                health = own.get("tokens", {}).get(each.name, own)
                info = keeper.get_cached_token_info(each.name)
                view = glance.view(each)
                rows.append(row_of_keeper(name, info, health, each.parameters, view))
            live.update(as_table(rows, screen.width))

        _poll(keeper, tokens, seconds, show)


def _poll(
    keeper: TokenKeeper, tokens: list[_Watched], seconds: float | None, show: Callable[[], None]
) -> None:
    """Ask for every token several times a second, without waiting."""
    deadline = None if seconds is None else SYSTEM_CLOCK.monotonic() + seconds
    never = threading.Event()
    while deadline is None or SYSTEM_CLOCK.monotonic() < deadline:
        for each in tokens:
            try:
                keeper.get_token(each.name, timeout=0)
            except TokenAcquisitionError:
                continue  # a request is in flight, or its failure is shown
        SYSTEM_CLOCK.wait(never, 1 / POLLS_PER_SECOND)
        show()


def _write_lines(events: SimpleQueue[TokenEvent], as_json: bool) -> None:
    with suppress(Empty):
        while True:
            click.echo(_line_of(events.get_nowait(), as_json))


def _line_of(event: TokenEvent, as_json: bool) -> str:
    what = type(event).__name__
    fields = dataclasses.asdict(event)
    del fields["token_name"]  # this keeper has one token of each provider
    if as_json:
        return json.dumps({"event": what, **fields}, default=lambda moment: moment.isoformat())
    moment = f"{fields.pop('occurred_at'):%Y-%m-%dT%H:%M:%SZ}"
    rest = " ".join(
        f"{name}={_shortened(value)}" for name, value in fields.items() if value is not None
    )
    return f"{moment} {what} {rest}"


def _shortened(value: object) -> str:
    text = f"{value:.1f}" if isinstance(value, float) else str(value)
    return escaped(json.dumps(text, ensure_ascii=False) if " " in text else text)
