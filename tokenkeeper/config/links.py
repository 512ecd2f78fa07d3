"""Providers whose requests need the tokens of others: these have to exist, without a circle."""

from __future__ import annotations

from collections.abc import Mapping

from tokenkeeper.config.late_tokens import links_in
from tokenkeeper.config.problems import KeyPath
from tokenkeeper.providers.kinds import did_you_mean

__all__ = ["link_problems", "needed_by"]


def link_problems(blocks: Mapping[KeyPath, object]) -> dict[KeyPath, str]:
    """Return what is wrong with each name of another provider, by the path of that name.

    :param blocks: the blocks by path, with their variables filled in.
    """
    links: dict[str, list[str]] = {}
    names: list[str] = []
    for content in blocks.values():
        name = _name_of(content)
        if name is not None:
            names.append(name)
            links.setdefault(name, []).extend(each for _, each in links_in(content))
    problems: dict[KeyPath, str] = {}
    for path, content in blocks.items():
        own = _name_of(content)
        for place, name in links_in(content):
            if name not in names:
                near = did_you_mean(name, names)
                problems[(*path, *place)] = f"names no provider of this configuration{near}"
            elif own is not None and (circle := _way(name, own, links)):
                shown = " needs ".join([own, *circle])
                problems[(*path, *place)] = f"closes a circle: {shown}"
    return problems


def needed_by(names: list[str], needs: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return the providers whose tokens those called *names* need, at first or second hand.

    :param needs: the providers that each one needs at first hand.
    """
    found: list[str] = []
    waiting = list(names)
    while waiting:
        for name in needs.get(waiting.pop(), ()):
            if name not in found and name not in names:
                found.append(name)
                waiting.append(name)
    return found


def _name_of(content: object) -> str | None:
    name = content.get("provider_name") if isinstance(content, Mapping) else None
    return name if isinstance(name, str) else None


def _way(start: str, end: str, links: Mapping[str, list[str]]) -> list[str]:
    """Return the names on a way from *start* to *end*; nothing if there is none."""
    ways = [[start]]
    seen = {start}
    while ways:
        way = ways.pop()
        if way[-1] == end:
            return way
        for name in links.get(way[-1], ()):
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return []
