"""A plugin that runs on asyncio."""

import asyncio


async def work(tokens):
    asked = [tokens.get_token("vault", timeout=10) for _ in range(100)]
    return set(await asyncio.gather(*asked))


def main(tokens):
    return asyncio.run(work(tokens))
