"""Two-second tokens of oidc-provider, renewed for a minute while everyone works."""

import threading
import time

import anyio

LIFETIME = 2
SECONDS = 60
THREADS, TASKS = 4, 16
PAUSE_SECONDS = 0.02  # so that the crowd does not take the machine from the server


def test_two_second_tokens(kit, server, make_keeper, make_provider, watch):
    """No call is refused, and nobody waits for a renewal while there is a valid token.

    This server counts in whole seconds: a token that it says lives for two may end after one and
    a moment. One client's tokens are looked up, the other's say all by themselves.
    """
    server.add_client("opaque", lifetime_seconds=LIFETIME, delay_seconds=0.1)
    server.add_client("jwt", lifetime_seconds=LIFETIME)
    watch.margin_seconds = LIFETIME / 20
    resource = {"resource": "https://invoices.example.com/"}
    keeper = make_keeper(
        make_provider("opaque", "opaque"),
        make_provider("jwt", "jwt", config={"additional_params": resource}),
    )
    names = keeper.list_providers()
    manager = kit.WatchedManager(keeper)
    began = time.monotonic()
    for name in names:
        keeper.get_token(name)
    ends = began + SECONDS
    done = threading.Event()

    def at_work():
        return time.monotonic() < ends and not watch.refused

    def thread():
        while at_work():
            for name in names:
                keeper.get_token(name)
            done.wait(PAUSE_SECONDS)

    async def task():
        while at_work():
            for name in names:
                await manager.get_token(name)
            await anyio.sleep(PAUSE_SECONDS * TASKS)

    def loop(backend):
        errors = kit.tasks_at_once(backend, TASKS, task)
        assert errors == [None] * TASKS

    loops = [lambda: loop("asyncio"), lambda: loop("trio")]
    assert kit.at_once(*[thread] * THREADS, *loops) == [None] * (THREADS + 2)
    watch.assert_flawless()

    # A machine that is busy elsewhere may stall us for as long as a token lives. That proves
    # nothing, may cost a request more, and must not be what happens most of the time.
    stalls = len(set(watch.starved))
    for name in names:

        def renewals(name=name):
            return keeper.get_cached_token_info(name)["renewals"]

        def one_each(name=name, renewals=renewals):
            return server.stats(name)["token_requests"] <= renewals() + 1 + stalls

        kit.until(one_each, "one request for each renewal")
        assert renewals() >= SECONDS / LIFETIME
        assert server.stats(name)["most_at_once"] <= 1
        assert stalls <= renewals() / 4
    assert len(watch.late) <= len(watch.taken) / 4
