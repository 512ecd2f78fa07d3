"""The cost of a keeper's token request over loopback, beside bare ``requests``."""

import asyncio
import base64
import time

import requests
from loopback import loopback_server
from measure import Rounds
from report import Section, Table, short

from tokenkeeper import GenericOAuth2Provider, OAuth2TokenManager, TokenKeeper

SESSION = "`post` of a warm `requests.Session`"
ALONE = "`requests.post`"


def run(quick):
    number, rounds = (30, 8) if quick else (100, 25)
    with (
        loopback_server() as config,
        requests.Session() as session,
        TokenKeeper() as keeper,
        TokenKeeper(background=False) as inline,
        asyncio.Runner() as loop,
    ):
        for each in (keeper, inline):
            each.add_provider(GenericOAuth2Provider(config))
        manager = OAuth2TokenManager(keeper)
        bare = _Bare(config)

        async def await_many():
            for _ in range(number):
                manager.clear_token("api")
                await manager.get_token("api")

        def contender(call):
            def seconds():
                began = time.perf_counter()
                for _ in range(number):
                    call()
                return (time.perf_counter() - began) / number

            return seconds

        def cold(subject):
            subject.clear_token("api")
            subject.get_token("api")

        def awaited():
            began = time.perf_counter()
            loop.run(await_many())
            return (time.perf_counter() - began) / number

        contenders = {
            SESSION: contender(lambda: bare.token(session)),
            ALONE: contender(lambda: bare.token(requests)),
            "cold `get_token`": contender(lambda: cold(keeper)),
            "cold `get_token`, `background=False`": contender(lambda: cold(inline)),
            "cold `await get_token`": awaited,
        }
        for once in contenders.values():
            once()
        times = Rounds(contenders, rounds)

    table = Table(("one token from a loopback server", "best", f"x {SESSION}", f"x {ALONE}"))
    for name in contenders:
        table.add(
            name,
            short(times.best(name)),
            f"{times.median_ratio(name, SESSION):.2f}",
            f"{times.median_ratio(name, ALONE):.2f}",
        )
    says = (
        "The same request to the same server, which runs in a separate process. The ratios are "
        "medians of the ratios within each round. `requests.post` opens a connection each time, "
        "and so does a provider; a warm session keeps its connection. In addition, `get_token` "
        "hops to a worker thread and back, keeps a deadline, parses the answer strictly and "
        "publishes the token; `background=False` has no hop. Loopback answers in less than a "
        "millisecond; over a network these microseconds don't matter. The aim is 1.1 times "
        "`requests.post`."
    )
    return Section("A cold token over loopback", says, [table])


class _Bare:
    """The least code that gets a token."""

    def __init__(self, config):
        pair = f"{config.client_id}:{config.client_secret.replace(' ', '%20')}"
        self._url = config.token_url
        self._headers = {
            "Accept": "application/json",
            "Authorization": "Basic " + base64.b64encode(pair.encode()).decode(),
        }

    def token(self, poster):
        answer = poster.post(
            self._url,
            data={"grant_type": "client_credentials"},
            headers=self._headers,
            timeout=10,
        )
        answer.raise_for_status()
        return answer.json()["access_token"]
