"""Writes docs/fleet.md from the figures of the long forms."""

HEAD = """# A fleet, measured

Fleets of real processes on real engines, on one machine with two cores. The tokens live for three
seconds where the table does not say otherwise, which is worse than any real server: a need arises
about every second. `tox -e fleet` runs all of it again, and writes this page; the tests run short
forms.

No process got an expired token in any scenario, nor an error while it had a valid token{except_}.

*Errors* are those of callers whose token had expired: tokens of three seconds do not outlast an
outage of ten. *Slowest* is the slowest call of a process whose own token was still valid. A token
from the store counts as older by the time that it took to read it. So with tokens of three seconds,
a new connection on a busy machine can make a caller wait for the next one.
"""

ORDER = {
    "one token": (
        "## One token for all",
        (
            "Processes that ask all the time. *Adoption* is the time from the publication of a "
            "token to its adoption by another process."
        ),
    ),
    "cold at once": ("## Started together", "Processes that start together, without a token."),
    "woken together": (
        "## Woken together",
        "Processes that were stopped until their token had expired, and go on all at once.",
    ),
    "a 401 for all": ("## Rejected together", "An API rejects the token of all processes at once."),
    "server down": (
        "## A server that is down",
        "Requests that reached a server which answered 503 for ten seconds.",
    ),
    "killed holders": (
        "## Killed holders",
        "The process that had the claim was killed with `kill -9` before the answer came.",
    ),
    "killed with a helper": (
        "## Workers that are killed",
        (
            "Workers that were killed with `kill -9` at random moments of a renewal, with "
            "`detached: true`, on a server that revokes a grant whose refresh token is used twice. "
            "Kills before the request cause none."
        ),
    ),
    "killed in mid-write": (
        "## Writers that are killed",
        "Processes that were killed with `kill -9` while they published one token after another.",
    ),
    "store locked": ("## A database that is locked", "Another program held SQLite's lock."),
    "store hung": ("## A store that hangs", "The engine's processes were stopped."),
    "store killed": ("## A store that is killed", "The engine was killed, and started again."),
    "hanging store": (
        "## A store that hangs at the renewal",
        "Tokens of 60 seconds. The engine was stopped for 14 seconds, across the renewal.",
    ),
    "key rotation": ("## Keys that are rotated", "Three steps of a rotation while the fleet runs."),
    "the store's clock steps": (
        "## A store whose clock steps",
        "The engine ran on a clock that was set back by an hour, and forth again.",
    ),
    "hosts apart": ("## Hosts hours apart", "Three hosts, each an hour from the next."),
    "paused holder": (
        "## A holder that is paused",
        "A process was stopped between its claim and its request, until another one took over.",
    ),
    "rotating refresh tokens": (
        "## Refresh tokens that work once",
        (
            "The server revokes all tokens of a grant when a refresh token is used twice. The "
            "store hung twice, came back older, and lost everything; after each, requests wait for "
            "ten seconds."
        ),
    ),
}


def as_markdown(known):
    """Return the page for the figures of all scenarios, by name."""
    broken = [each for figures in known.values() for each in figures["broken"]]
    lines = [HEAD.format(except_=", except where a table says so" if broken else "")]
    for scenario, (title, text) in ORDER.items():
        rows = [each for each in known.values() if each["scenario"] == scenario]
        if rows:
            lines += [title, "", text, "", *_table(rows), ""]
    return "\n".join(lines)


def _table(rows):
    names = list(dict.fromkeys(name for row in rows for name in row["values"]))
    yield f"| engine | {' | '.join(map(_heading, names))} |"
    yield f"| --- | {' | '.join('---:' for _ in names)} |"
    for row in rows:
        cells = [_cell(row["values"].get(name, "")) for name in names]
        mark = " (**missed**)" if row["broken"] else ""
        yield f"| {row['engine']}{mark} | {' | '.join(cells)} |"


def _heading(name):
    units = {"_ms": ", ms", "_s": ", s"}
    for ending, unit in units.items():
        if name.endswith(ending):
            name = name.removesuffix(ending) + unit
    return name.replace("_", " ")


def _cell(value):
    return f"{value:,.0f}" if isinstance(value, float) and value == int(value) else str(value)
