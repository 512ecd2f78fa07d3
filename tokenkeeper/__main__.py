"""Where the command ``tokenkeeper`` begins, whether or not its extra is installed."""

from __future__ import annotations

import io
import sys
from contextlib import suppress

from tokenkeeper.cli.endings import end_at_once_by_signals

__all__ = ["main"]


def main() -> None:
    """Run the command line. For the main thread of a process that does nothing else after it."""
    end_at_once_by_signals()
    try:
        _escape_unencodable()
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


def _escape_unencodable() -> None:
    """Have a name that this locale can't write escaped, instead of failing."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
