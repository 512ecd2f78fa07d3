"""Where the command ``tokenkeeper`` begins, whether or not its extra is installed."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    try:
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


if __name__ == "__main__":
    main()
