"""Many threads that ask for different tokens of one registration at oidc-provider."""

import itertools
import random

import jwt
import pytest
from kit.crowds import at_once

THREADS = 24
ROUNDS = 8
RESOURCES = ("https://mixed-1.example.com/", "https://mixed-2.example.com/x")
SCOPES = ("read", "write", "read write")


@pytest.fixture
def sources(server, make_keeper, make_provider):
    """Return the sources for each resource and scope, with what they ask for."""
    server.add_client("mixed")
    keeper = make_keeper(make_provider("api", "mixed"))
    return [
        (keeper.source("api", resource=resource, scope=scope), resource, scope)
        for resource, scope in itertools.product(RESOURCES, SCOPES)
    ]


def test_mixed_names(server, sources):
    """Each token has the audience and the scope of its own name, also when all are renewed."""
    choices = [random.Random(seed).choices(sources, k=ROUNDS) for seed in range(THREADS)]

    def work(mine):
        wrong = []
        for number, (source, resource, scope) in enumerate(mine):
            token = source.get_token(force_refresh=number % 3 == 2)
            claims = jwt.decode(token, options={"verify_signature": False})
            if claims["aud"] != resource or set(claims["scope"].split()) != set(scope.split()):
                wrong.append((source.name, claims["aud"], claims["scope"]))
        return wrong

    results = at_once(*[lambda each=mine: work(each) for mine in choices])
    assert results == [[]] * THREADS
    assert server.stats("mixed")["grants"] >= len(sources)
