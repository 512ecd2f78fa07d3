"""Forked children: each has its own connections and msal, and makes its own requests."""

import os
import threading

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")

CHILDREN = 4


def test_children_of_a_warm_keeper(kit, entra, make_keeper, make_provider):
    """Children keep the inherited token, and request missing and forced ones themselves."""
    keeper = make_keeper(make_provider("warm"), make_provider("cold"))
    warm = keeper.get_token("warm")

    def live():
        tokens = [keeper.get_token("warm"), keeper.get_token("cold")]
        tokens += kit.at_once(*[lambda: keeper.get_token("cold")] * 8)
        tokens.append(keeper.get_token("warm", force_refresh=True))
        keeper.watch.assert_flawless()
        return tokens

    reports = [child.result() for child in [kit.Child(live) for _ in range(CHILDREN)]]
    assert all(report[0] == warm for report in reports)
    assert all(len(set(report[1:-1])) == 1 for report in reports)
    assert len({report[1] for report in reports}) == CHILDREN
    assert len({report[-1] for report in reports}) == CHILDREN
    assert keeper.get_token("warm") == warm
    assert keeper.get_token("warm", force_refresh=True) != warm
    assert len(entra.requests) == 1 + 2 * CHILDREN + 1
    # Two providers in each child, and in the parent the one that was used.
    assert entra.discoveries == 1 + 2 * CHILDREN
    assert entra.refused_calls == []


@pytest.mark.parametrize("warmed_up", [True, False])
def test_children_forked_in_the_middle_of_a_request(
    kit, entra, make_keeper, make_provider, warmed_up
):
    """The request belongs to the parent; each child makes its own, also before msal is loaded."""
    keeper = make_keeper(make_provider())
    if warmed_up:
        keeper.get_token("graph")
        keeper.clear_token("graph")
    asked_before = len(entra.requests)
    entra.gate.clear()
    children = []

    def fork_meanwhile():
        kit.until(lambda: len(entra.requests) > asked_before, "a request")
        children.extend(kit.Child(lambda: [keeper.get_token("graph")]) for _ in range(CHILDREN))
        kit.until(lambda: len(entra.requests) == asked_before + 1 + CHILDREN, "their requests")
        entra.gate.set()
        return "forked"

    token, _ = kit.at_once(lambda: keeper.get_token("graph"), fork_meanwhile)
    tokens = [token, *(child.result()[0] for child in children)]
    assert len(set(tokens)) == 1 + CHILDREN
    assert len(entra.requests) == asked_before + 1 + CHILDREN
    assert keeper.get_token("graph") == token
    assert entra.refused_calls == []


def test_children_forked_in_the_middle_of_discovery(kit, entra, make_keeper, make_provider):
    """A fork while msal creates its application, under the provider's lock, leaves no lock held."""
    keeper = make_keeper(make_provider())
    entered, go_on = threading.Event(), threading.Event()

    def slow(own):
        entered.set()
        go_on.wait(kit.GUARD_SECONDS)
        return own

    entra.discovery_script.append(slow)
    children = []

    def fork_meanwhile():
        assert entered.wait(kit.GUARD_SECONDS)
        children.extend(kit.Child(lambda: [keeper.get_token("graph")]) for _ in range(CHILDREN))
        reports = [child.result() for child in children]
        go_on.set()
        return reports

    token, reports = kit.at_once(lambda: keeper.get_token("graph"), fork_meanwhile)
    assert len({token, *(report[0] for report in reports)}) == 1 + CHILDREN
    assert len(entra.requests) == entra.discoveries == 1 + CHILDREN
    assert entra.refused_calls == []
