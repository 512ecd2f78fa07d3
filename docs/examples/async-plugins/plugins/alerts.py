"""A plugin that runs on trio."""

import trio


async def work(tokens):
    seen = set()

    async def ask():
        seen.add(await tokens.get_token("vault"))

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(ask)
    return seen


def main(tokens):
    return trio.run(work, tokens)
