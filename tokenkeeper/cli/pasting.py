"""Completes a sign-in with the address that the browser ended at, which a person pastes.

For a browser whose answer can't arrive here: it runs on another machine, or is sent to a web
application. The address has the authorization code, so it is not shown, and no shell remembers it.
It may be longer than the 4,095 characters that a terminal passes on as one line, so the terminal
passes on characters as they come.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

from tokenkeeper._support.hiding import without_frames
from tokenkeeper.cli.endings import restored_at_end
from tokenkeeper.providers.grants.sign_in import ForeignAnswerError

if TYPE_CHECKING:
    from tokenkeeper.authorization import Authorization
    from tokenkeeper.models import OAuth2Token

__all__ = ["completed_by_paste", "terminal"]

LOOK_SECONDS = 0.25
"""How often to look whether the answer has arrived all the same, or the sign-in has expired."""

LONGEST = 64 * 1024
"""The most bytes of an address."""

_END = b"\x04"  # Ctrl-D
_MARKS = (b"\x1b[200~", b"\x1b[201~")  # around a paste, if a program before left them on


def terminal() -> int | None:
    """Return the descriptor of standard input if a person can paste there; ``None`` otherwise."""
    try:
        import termios  # noqa: F401 - Windows has none

        number = sys.stdin.fileno()
        # A job in the background would be stopped.
        return number if os.tcgetpgrp(number) == os.getpgrp() else None
    except (AttributeError, ImportError, OSError, ValueError):
        return None


@without_frames  # they have the code
def completed_by_paste(
    authorization: Authorization, number: int, say: Callable[[str], object]
) -> OAuth2Token:
    """Complete a sign-in with the pasted address, or the answer if it arrives first.

    :param number: the descriptor of the terminal.
    :param say: shows a line to the person.
    :raises TokenAcquisitionError: as :meth:`Authorization.complete` does. An address that is not
        the answer to this sign-in does not end it.
    :raises click.Abort: if the terminal is closed.
    """
    lines = _Lines(number)
    with _unseen(number):
        while not authorization.is_due():
            line = lines.next(LOOK_SECONDS)
            if line:
                try:
                    return authorization.complete(line)
                except ForeignAnswerError as error:
                    say(f"{error} Or paste the whole address once more.")
        return authorization.proceed()


class _Lines:
    """What is entered at a terminal, by line."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._entered = b""

    def next(self, seconds: float) -> str:
        """Return the next line, without outer spaces; ``""`` if none is complete.

        :param seconds: how long to wait for a part of it.
        :raises click.Abort: at the end of the input.
        """
        if b"\n" not in self._entered and select.select([self._number], [], [], seconds)[0]:
            self._entered += self._read()
        line, end, rest = self._entered.partition(b"\n")
        if not end:
            self._entered = line if len(line) <= LONGEST else b""
            return ""
        self._entered = rest
        for mark in _MARKS:
            line = line.replace(mark, b"")
        return line.decode("utf-8", "replace").strip()

    def _read(self) -> bytes:
        try:
            piece = os.read(self._number, LONGEST)
        except OSError:  # the terminal is gone
            piece = b""
        if not piece or _END in piece:
            raise click.Abort
        return piece.replace(b"\r", b"\n")


@contextmanager
def _unseen(number: int) -> Iterator[None]:
    """Have a terminal show nothing that is entered within the ``with`` block."""
    import termios

    before = termios.tcgetattr(number)
    now = termios.tcgetattr(number)
    now[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON)
    now[6][termios.VMIN], now[6][termios.VTIME] = 1, 0

    def restore() -> None:
        with suppress(termios.error):  # the terminal may be gone
            termios.tcsetattr(number, termios.TCSANOW, before)

    with restored_at_end(restore):
        termios.tcsetattr(number, termios.TCSANOW, now)
        yield
