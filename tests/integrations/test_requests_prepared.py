"""A prepared request that is sent more than once."""

import pytest
import requests


@pytest.fixture
def send(keeper):
    """Return a function that sends the same request at each call."""
    with requests.Session() as session:

        def prepared(url):
            request = requests.Request("GET", url, auth=keeper.auth("api"))
            ready = session.prepare_request(request)
            return lambda: session.send(ready, timeout=30)

        yield prepared


def test_each_sending_is_renewed(api, provider, send):
    """Each time that it is sent is handled on its own."""
    again = send(api.url)
    for _ in range(3):
        assert again().ok
        api.valid.clear()
    assert provider.minted == 3


def test_a_redirect_of_a_later_sending(api, provider, send):
    """A refused redirect renews the token, even if an earlier time it was sent did so too."""
    again = send(api.url + "/then//end")
    assert again().ok
    api.valid.clear()
    assert again().ok
    api.once.add("token-2")
    api.valid.clear()
    assert again().ok
    assert api.tokens[-3:] == ["token-2", "token-2", "token-3"]
    assert provider.minted == 3
