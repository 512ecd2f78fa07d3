"""Names, keys and paths as they may be shown on a terminal or in a log."""

from __future__ import annotations

__all__ = ["escaped", "escaped_lines"]


def escaped(text: object) -> str:
    r"""Return *text* in one line, with ``\x1b`` and the like for each character that is not seen.

    Control characters, line ends, marks that turn the reading direction, zero-width characters and
    lone surrogates command a terminal, forge lines in a log, or hide what is there. Letters of
    every script stay.
    """
    line = str(text)
    if line.isprintable():
        return line
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in line
    )


def escaped_lines(text: object) -> str:
    """Return *text* with each of its lines :func:`escaped`."""
    return "\n".join(map(escaped, str(text).split("\n")))
