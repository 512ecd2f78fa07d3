"""The endpoints of Authlib's server, found by its issuer."""

import pytest
from kit.crowds import at_once

from tokenkeeper import GenericOAuth2Provider, OAuth2Config, TokenAcquisitionError

THREADS = 24


def test_the_issuer_is_enough(server, make_keeper):
    """A client that knows only the issuer of the server gets tokens that its API accepts."""
    config = OAuth2Config("api", "worker", "worker-secret", issuer=server.issuer, scope="read")
    keeper = make_keeper(GenericOAuth2Provider(config))
    tokens = at_once(*[lambda: keeper.get_token("api")] * THREADS)
    assert len(set(tokens)) == 1
    assert server.call(tokens[0])[0] == 200


def test_another_spelling_of_the_issuer(server):
    """An issuer that differs in a slash at the end is refused, with both spellings."""
    config = OAuth2Config("api", "worker", "worker-secret", issuer=f"{server.issuer}/")
    with pytest.raises(TokenAcquisitionError) as caught:
        GenericOAuth2Provider(config).acquire_token()
    said = f"is that of the issuer {server.issuer!r}, not '{server.issuer}/'"
    assert said in str(caught.value)
