"""Where the command ``tokenkeeper`` begins, whether or not its extra is installed."""

from __future__ import annotations

import io
import os
import select
import signal
import sys
from contextlib import suppress
from types import FrameType

__all__ = ["main"]

_SHOWN_CURSOR = b"\x1b[?25h"


def main() -> None:
    """Run the command line. For the main thread of a process that does nothing else after it."""
    _end_at_once_by_signals()
    try:
        _show_what_has_no_letters_here()
        from tokenkeeper.cli.group import cli

        cli(prog_name="tokenkeeper")
    except ModuleNotFoundError as missing:
        if missing.name not in ("click", "filelock", "rich"):
            raise
        sys.stderr.write(
            "The command line needs an extra that is not installed: "
            'pip install "tokenkeeper-oauth2[cli]"\n'
        )
        raise SystemExit(2) from None
    except OSError as error:  # a full disk behind standard output, or standard error, say
        with suppress(OSError, AttributeError):
            sys.stderr.write(f"Error: {error}\n")
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, AttributeError):
                stream.close()  # or what is left in it would fail once more at the very end
        raise SystemExit(1) from None


def _end_at_once_by_signals() -> None:
    """Let Ctrl-C and its like end the process at once, and without a word.

    An exception would not do: it comes up in whatever code runs at that moment, also in that which
    ends the interpreter, and a callback of a C extension makes another error of it, or swallows
    it. What a kill leaves half done, every part of the command copes with anyway, as SIGKILL asks
    nobody.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        # A shell has what runs in the background ignore Ctrl-C, and nohup has it ignore SIGHUP.
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, _: FrameType | None) -> None:
    """End the process, and give a terminal its cursor back."""
    with suppress(OSError):  # the terminal may be gone
        terminals = [each for each in (1, 2) if os.isatty(each)]
        # A terminal that was halted with Ctrl-S takes nothing, and is not waited for.
        takes = select.select([], terminals[:1], [], 0)[1]
        can_hide = os.environ.get("TERM", "").lower() not in ("dumb", "unknown")
        for terminal in takes:
            os.write(terminal, (_SHOWN_CURSOR if can_hide else b"") + b"\n")
    os._exit(128 + number)  # also where the default would not end it: as the first process


def _show_what_has_no_letters_here() -> None:
    """Have a name that this locale can't write escaped, in the place of an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
