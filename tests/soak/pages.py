"""A report as text for a terminal, and as a page in Markdown."""

import textwrap

RESOURCES = ("", "memory", "threads (ours)", "file descriptors", "objects")

HEAD = """\
{threads} threads, {tasks} asyncio tasks and {trio_tasks} trio tasks get tokens from one keeper for
{seconds:.0f} seconds and check each. There are {providers} providers, {own} of them written with
`async def`. Their tokens expire after {lifetime:g} seconds. The authorization server is a separate
process. It answers {errors:.0%} of the requests with 5xx, stalls in {stalls:.0%}, sends garbage in
{garbage:.0%}, and has outages of {short:g} and {long:g} seconds in turn, at one of its {sites}
sites after the other. Meanwhile the wall clock is set by an hour every {step_every:g} s, a child
is forked every {fork_every:g} s and uses the tokens for a while, and a thread forces, refuses,
clears and removes tokens of four further providers. This page is written by
"""

RULES = """\
Each token contains its expiry, on a clock that all processes of the machine share. A token counts
as expired if it had expired before the call that returned it began. A valid token existed if a
caller had got it before the call began, and it remained usable until the call returned. A request
is needless if it overlaps another request of its provider in one process, or if it is sent before
the previous token is due although no caller forced it. Failed requests fulfil no need and are not
counted as extra. A wall clock that is set forward looks like a paused machine, so a keeper renews
its tokens. The consequences of that count neither as needless nor as errors with a valid token.
Clocks are read immediately before and after each call, and nothing is subtracted. The table also
shows how long the machine itself held up the threads.
"""


def as_text(report):
    """Return the report for a terminal."""
    lines = []
    for title, rows in report.tables():
        width = max(len(what) for what, _ in rows)
        lines += [title, "-" * len(title)]
        lines += [f"{what:{width}}  {figure:>12}" for what, figure in rows] + [""]
    for row in [RESOURCES, *report.resource_rows()]:
        lines.append("{:20} {:>12} {:>16} {:>18} {:>10}".format(*row))
    lines += ["", *(f"{count:8,}  {name}" for name, count in report.everybody.errors.most_common())]
    lines += [f"BROKEN: {claim}" for claim in report.broken]
    lines += [f"        {example}" for example in report.examples]
    return "\n".join(lines).replace("`", "").replace("**", "")


def as_markdown(report, sizes, command):
    """Return the report as a page in Markdown."""
    from benchmarks.machine import description

    facts = {**vars(sizes), **sizes.moods.as_dict(), "providers": sizes.generic + sizes.own}
    parts = [
        "# The soak\n",
        textwrap.fill(HEAD.format(**facts), 98) + "\n",
        f"    {command}\n",
        "\n".join(f"- {line}" for line in description()) + "\n",
        textwrap.fill(RULES, 98) + "\n",
    ]
    for title, rows in report.tables():
        parts.append(f"## {title}\n")
        parts.append(_table(("", ""), rows))
    parts.append("## Memory, threads, descriptors\n")
    parts.append(_table(RESOURCES, report.resource_rows()))
    parts.append("## Errors while there was no valid token\n")
    errors = report.everybody.errors.most_common()
    parts.append(_table(("", ""), [(name, f"{count:,}") for name, count in errors]))
    parts += [f"**Broken in this run:** {claim}\n" for claim in report.broken]
    return "\n".join(parts)


def _table(head, rows):
    rule = ("---", *["---:"] * (len(head) - 1))
    lines = [f"| {' | '.join(row)} |" for row in (head, rule, *rows)]
    return "\n".join(lines) + "\n"
