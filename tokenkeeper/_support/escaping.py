"""Escapes names, keys and paths for display on a terminal or in a log."""

from __future__ import annotations

__all__ = ["escaped", "escaped_lines"]


def escaped(text: object) -> str:
    r"""Return *text* in one line, with an escape such as ``\x1b`` for each unprintable character.

    Control characters, line breaks, marks that change the reading direction, zero-width characters
    and lone surrogates can command a terminal, forge lines in a log, or hide text. Letters of every
    script are kept.
    """
    line = str(text)
    if line.isprintable():
        return line
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in line
    )


def escaped_lines(text: object) -> str:
    """Return *text* with each of its lines escaped by :func:`escaped`."""
    return "\n".join(map(escaped, str(text).split("\n")))
