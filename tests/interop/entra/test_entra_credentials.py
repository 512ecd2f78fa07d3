"""Credentials that change, users and challenges, under load: no caller sees an error."""

import json
import os

import pytest
from kit.servers.entra_assertions import Certificates

THREADS = 16
CHILDREN = 4


@pytest.fixture(scope="module")
def certificates():
    """Return an authority that issues certificates."""
    return Certificates()


@pytest.fixture
def make_certified(entra, make_provider, certificates, tmp_path):
    """Return a function that makes a provider with a new certificate, which Entra ID trusts."""

    def make(name="graph"):
        path = tmp_path / f"{name}.pem"
        entra.trusted.certificates.append(certificates.issue(path))
        return make_provider(name, client_secret=None, certificate_file=path)

    return make


def test_a_certificate_that_is_replaced_under_load(
    kit, entra, make_keeper, make_certified, certificates, tmp_path
):
    """While callers force renewals, the certificate is replaced five times; none fails."""
    keeper = make_keeper(make_certified())
    keeper.get_token("graph")  # or the first certificate might be replaced before it was used
    path = tmp_path / "graph.pem"

    def replace():
        for number in range(5):
            new = tmp_path / f"{number}.pem"
            entra.trusted.certificates.append(certificates.issue(new))
            new.replace(path)
            # Entra ID trusts the old one until the new one was used.
            kit.until(_uses_more_than(number + 1), "an assertion of the new certificate")
        return "replaced"

    def _uses_more_than(count):
        return lambda: len(_thumbprints(entra)) > count

    def renew():
        while len(_thumbprints(entra)) <= 5:
            keeper.get_token("graph", force_refresh=True)
        return "renewed"

    assert kit.at_once(replace, *[renew] * 4) == ["replaced", *["renewed"] * 4]
    assert len(entra.trusted.seen) == len(set(entra.trusted.seen)) == len(entra.requests)
    assert entra.refused_calls == []


def _thumbprints(entra):
    return {each["x5t#S256"] for each in list(entra.trusted.headers)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_children_with_a_certificate(kit, entra, make_keeper, make_certified):
    """Forked children sign with the certificate that the parent has read."""
    keeper = make_keeper(make_certified())
    keeper.get_token("graph")

    def live():
        return [keeper.get_token("graph", force_refresh=True)]

    tokens = [child.result()[0] for child in [kit.Child(live) for _ in range(CHILDREN)]]
    assert len(set(tokens)) == CHILDREN
    assert len(set(entra.trusted.seen)) == 1 + CHILDREN


def test_a_crowd_of_users(kit, entra, keeper):
    """Threads of many users share one request for each, and no one gets another's token."""
    users = 12
    for number in range(users):
        entra.users[f"user-token-{number}"] = f"user-{number}"

    def job(number):
        source = keeper.source("graph", subject=f"user-token-{number}")
        return lambda: (number, source())

    results = kit.at_once(*[job(number % users) for number in range(4 * users)])
    assert len(entra.requests) == users
    assert len({token for _, token in results}) == users
    for number, token in results:
        assert entra.granted_for[token] == f"user-{number}"


def test_a_crowd_that_is_challenged(kit, entra, make_keeper, make_provider):
    """Threads whose tokens are challenged at once share one request with the claims."""
    claims = {"access_token": {"nbf": {"essential": True, "value": "1604106651"}}}
    keeper = make_keeper(make_provider(client_capabilities=["CP1"]))
    token = keeper.get_token("graph")
    entra.demanded = claims

    def renew():
        return keeper.renew_refused("graph", token, claims=json.dumps(claims))

    [renewed] = set(kit.at_once(*[renew] * THREADS))
    assert entra.call(renewed)[0] == 200
    assert len(entra.requests) == 2
