"""Fifty children are forked while a request waits for a server in another process."""

import os

import pytest
from stress.holding import Held

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")

CHILDREN = 50


@pytest.fixture(scope="module")
def launched():
    with Held() as server:
        yield server


def test_fifty_children_in_mid_flight(kit, make_keeper, launched):
    """Each child has its token immediately, and requests the other once for all its threads."""
    names = ["bomb-warm", "bomb-cold"]
    keeper = make_keeper(*map(launched.provider, names))
    warm = keeper.get_token("bomb-warm")
    launched.command("hold", "bomb-cold")
    waiting = kit.crowd(20, lambda: keeper.get_token("bomb-cold"))
    kit.until(lambda: launched.holds("bomb-cold"))
    kit.until(lambda: kit.threads_waiting(keeper, "bomb-cold") == 20)

    def work():
        assert keeper.get_token("bomb-warm") == warm
        tokens = set(kit.crowd(4, lambda: keeper.get_token("bomb-cold")).join())
        assert len(tokens) == 1
        assert all(map(launched.accepts, [warm, *tokens]))
        return tokens.pop()

    children = [kit.Child(work) for _ in range(CHILDREN)]
    tokens = [child.result() for child in children]
    assert len(set(tokens)) == CHILDREN
    assert kit.threads_waiting(keeper, "bomb-cold") == 20
    assert launched.requests == {**launched.requests, "bomb-warm": 1, "bomb-cold": 1 + CHILDREN}
    launched.command("release", "bomb-cold")
    (token,) = set(waiting.join())
    assert token not in tokens
    assert launched.accepts(token)
    assert keeper.get_token("bomb-cold") == token
    assert keeper.get_token("bomb-cold", force_refresh=True) != token
    assert launched.requests["bomb-cold"] == 2 + CHILDREN


def test_children_that_fork_in_mid_flight_themselves(kit, make_keeper, launched):
    """Three generations, each with a request on the wire: all complete, one for each need."""
    names = [f"generation-{number}" for number in range(4)]
    keeper = make_keeper(*map(launched.provider, names))

    def work(generation):
        """Return the tokens of this generation and of all later ones."""
        inherited = [keeper.get_token(name) for name in names[:generation]]
        if generation == len(names) - 1:
            return [inherited]
        launched.command("hold", names[generation])
        flight = kit.crowd(3, lambda: keeper.get_token(names[generation]))
        kit.until(lambda: launched.holds(names[generation]))
        below = kit.Child(lambda: work(generation + 1)).result()
        launched.command("release", names[generation])
        (own,) = set(flight.join())
        return [[*inherited, own], *below]

    tokens = work(0)
    assert [len(each) for each in tokens] == [1, 2, 3, 3]
    flat = [token for each in tokens for token in each]
    assert len(set(flat)) < len(flat)  # tokens from before a fork are inherited
    assert all(map(launched.accepts, flat))
    requests = launched.requests
    assert requests == {**requests, "generation-0": 2, "generation-1": 2, "generation-2": 2}


def test_each_of_many_children_forks_again(kit, make_keeper, launched):
    """Ten children fork one child each during the parent's request: one request a process."""
    keeper = make_keeper(launched.provider("twice"))
    launched.command("hold", "twice")
    waiting = kit.crowd(4, lambda: keeper.get_token("twice"))
    kit.until(lambda: launched.holds("twice"))

    def work_and_fork():
        below = kit.Child(lambda: keeper.get_token("twice"))  # it finds a grandparent's flight
        return [keeper.get_token("twice"), below.result()]

    children = [kit.Child(work_and_fork) for _ in range(10)]
    tokens = [token for child in children for token in child.result()]
    launched.command("release", "twice")
    tokens += set(waiting.join())
    assert len(set(tokens)) == len(tokens) == 21
    assert launched.requests["twice"] == 21
    assert all(map(launched.accepts, tokens))
