"""Where the command ``tokenkeeper`` begins, whether or not its extra is installed."""

from __future__ import annotations

import io
import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

__all__ = ["main"]

_CURSOR_AND_LINE = b"\x1b[?25h\n"


def main() -> None:
    """Run the command line."""
    try:
        with _terminated_at_once():
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
    except KeyboardInterrupt:  # before a command began: from then on the commands see to it
        raise SystemExit(130) from None
    except OSError as error:  # a full disk behind standard output, say
        with suppress(OSError, AttributeError):
            sys.stdout.close()  # or what is left in it would fail once more at the very end
        sys.stderr.write(f"Error: {error}\n")
        raise SystemExit(1) from None


@contextmanager
def _terminated_at_once() -> Iterator[None]:
    """Let SIGTERM end the process at once, and give a terminal its cursor back.

    An exception would not do: it comes up in whatever code runs at that moment, and a callback of
    a C extension makes another error of it, or swallows it. What a kill leaves half done, every
    part of the command copes with anyway, as SIGKILL asks nobody.
    """

    def end(number: int, _: FrameType | None) -> None:
        with suppress(OSError):  # the terminal may be gone
            terminals = [each for each in (1, 2) if os.isatty(each)]
            # A terminal that was halted with Ctrl-S takes nothing, and is not waited for.
            takes = select.select([], terminals[:1], [], 0)[1]
            for terminal in takes:
                os.write(terminal, _CURSOR_AND_LINE)
        os._exit(128 + number)  # also where the default would not end it: as the first process

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _show_what_has_no_letters_here() -> None:
    """Have a name that this locale can't write escaped, in the place of an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
