"""Many callers of Entra tokens: one request for one need, from threads and both event loops."""

import itertools

import pytest

THREADS = 64
TASKS = 64


@pytest.fixture
def hold_until_all_wait(kit, entra, watch):
    """Return a function that holds the answer back until a number of callers wait for it."""

    def job(count):
        entra.gate.clear()

        def let_go():
            kit.until(lambda: entra.requests and watch.waiting >= count, "a crowd that waits")
            entra.gate.set()
            return []

        return let_go

    return job


def test_a_cold_crowd_of_both_kinds(kit, entra, keeper, hold_until_all_wait):
    """Threads, asyncio and trio without a token cause one discovery and one request."""
    manager = kit.WatchedManager(keeper)

    def loop(backend):
        return kit.tasks_at_once(backend, TASKS, lambda: manager.get_token("graph"))

    results = kit.at_once(
        hold_until_all_wait(THREADS + 2 * TASKS),
        *[lambda: [keeper.get_token("graph")]] * THREADS,
        lambda: loop("asyncio"),
        lambda: loop("trio"),
    )
    tokens = list(itertools.chain(*results))
    assert len(tokens) == THREADS + 2 * TASKS
    assert len(set(tokens)) == 1
    assert len(entra.requests) == 1
    assert entra.discoveries == 1
    assert entra.calls == len(tokens)


def test_a_cold_crowd_that_is_refused(kit, entra, make_keeper, make_provider, hold_until_all_wait):
    """Callers share a refusal as well, each with an exception object of its own."""
    keeper = make_keeper(make_provider(client_secret="wr0ng"), cooldown_seconds=600)
    _, *errors = kit.at_once(
        hold_until_all_wait(THREADS), *[lambda: keeper.get_token("graph")] * THREADS
    )
    assert {error.error for error in errors} == {"invalid_client"}
    assert len(set(map(id, errors))) == THREADS
    assert len(entra.requests) == 1


def test_each_renewal_is_a_request(entra, keeper):
    """``force_refresh`` gets a new token each time, and none from a cache of msal."""
    tokens = [keeper.get_token("graph", force_refresh=True) for _ in range(5)]
    assert len(set(tokens)) == 5
    assert keeper.get_token("graph") == tokens[-1]
    assert set(entra.correlations().values()) == {1}
    assert len(entra.requests) == 5
    assert entra.discoveries == 1


def test_a_crowd_that_insists(kit, entra, keeper):
    """``force_refresh`` by many callers at once never has two requests in flight."""
    before = keeper.get_token("graph")
    tokens = kit.at_once(*[lambda: keeper.get_token("graph", force_refresh=True)] * 32)
    assert before not in tokens
    assert entra.most_at_once == 1
    assert len(entra.requests) == len({before, *tokens})


def test_a_crowd_whose_token_was_refused(kit, entra, keeper, watch):
    """Fifty threads with a token that Entra revoked cause one renewal."""
    token = keeper.get_token("graph")
    entra.revoke_all()
    watch.revoked.add(token)
    renewed = kit.at_once(*[lambda: keeper.renew_refused("graph", token)] * 50)
    assert len(set(renewed)) == 1
    assert token not in renewed
    assert len(entra.requests) == 2


def test_two_providers_at_one_tenant(kit, entra, make_keeper, make_provider):
    """Two providers for two scopes share nothing, and each makes one request."""
    names = {"graph": "https://graph.microsoft.com/.default", "vault": "https://vault/.default"}
    keeper = make_keeper(*(make_provider(name, scope=scope) for name, scope in names.items()))
    tokens = kit.at_once(*[lambda name=name: keeper.get_token(name) for name in [*names] * 16])
    assert len(set(tokens)) == 2
    assert sorted(request.form["scope"] for request in entra.requests) == sorted(names.values())
