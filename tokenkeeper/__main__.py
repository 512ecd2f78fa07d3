"""The entry point of the command ``tokenkeeper``, which works without its extra."""

from __future__ import annotations

import io
import sys
from contextlib import suppress

from tokenkeeper.cli.endings import exit_on_signals

__all__ = ["main"]


def main() -> None:
    """Run the command line, in the main thread of a process that does nothing else afterwards."""
    exit_on_signals()
    try:
        _escape_unencodable()
        from tokenkeeper.cli.group import cli

        cli(prog_name="tokenkeeper")
    except ModuleNotFoundError as missing:
        if missing.name not in ("click", "rich"):
            raise
        sys.stderr.write(
            "The command line needs an extra that is not installed: "
            'pip install "tokenkeeper-oauth2[cli]"\n'
        )
        raise SystemExit(2) from None
    except OSError as error:  # for example, standard output is a file on a full disk
        with suppress(OSError, AttributeError):
            sys.stderr.write(f"Error: {error}\n")
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, AttributeError):
                stream.close()  # so that its buffer does not fail again at exit
        raise SystemExit(1) from None


def _escape_unencodable() -> None:
    """Escape characters that the locale can't encode, instead of failing."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
