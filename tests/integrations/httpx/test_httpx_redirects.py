"""Which redirects of httpx keep the token."""


def test_a_redirect_on_the_same_host(api, client):
    """A redirect keeps the token, which may be renewed at its target."""
    client.get(api.url)
    api.valid.clear()
    assert client.get(api.url + "/to//end").json() == {
        "path": "/end",
        "token": "token-2",
        "body": "",
    }


def test_a_redirect_after_a_renewal(api, client):
    """A redirect after a renewal carries the new token."""
    client.get(api.url)
    api.valid.clear()
    answer = client.post(api.url + "/then//end", content=b"x")
    assert answer.json() == {"path": "/end", "token": "token-2", "body": ""}
    assert api.tokens == ["token-1", "token-1", "token-2", "token-2"]


def test_a_refusal_at_the_end_of_a_redirect(api, provider, client):
    """Only the request that was refused is sent again, not those that redirected to it."""
    client.get(api.url)
    api.once.add("token-1")
    api.valid.clear()
    answer = client.post(api.url + "/then//end", content=b"x")
    assert answer.json()["token"] == "token-2"
    assert [path for path, *_ in api.seen[1:]] == ["/then//end", "/end", "/end"]
    assert provider.minted == 2


def test_a_body_that_a_redirect_took_along(api, client):
    """A body that a redirect kept is sent again, whatever its type."""
    client.get(api.url)
    api.once |= {"token-1"}
    api.valid.clear()
    answer = client.put(api.url + "/then//end", content=b"x")
    assert answer.json() == {"path": "/end", "token": "token-2", "body": "x"}


def test_a_redirect_there_and_back(api, elsewhere, client):
    """A token that a redirect dropped does not return by another redirect."""
    back = api.url + "/to/" + elsewhere.url + "/to/" + api.url + "/end"
    assert client.get(back).status_code == 401
    assert elsewhere.tokens == [None]
    assert api.tokens == ["token-1", None]


def test_a_redirect_to_another_scheme(api, auth, httpx):
    """A redirect from https to http drops the token."""
    seen = []

    def answer(request):
        seen.append((str(request.url), request.headers.get("Authorization")))
        location = {"Location": "http://localhost/"}
        return httpx.Response(302 if request.url.scheme == "https" else 401, headers=location)

    with httpx.Client(auth=auth, transport=httpx.MockTransport(answer)) as client:
        client.get("https://localhost/", follow_redirects=True)
    assert seen == [("https://localhost/", "Bearer token-1"), ("http://localhost/", None)]


def test_a_redirect_to_another_server(api, elsewhere, provider, client):
    """A redirect to another origin drops the token, and a 401 there renews nothing."""
    assert client.get(api.url + "/to/" + elsewhere.url + "/end").status_code == 401
    assert elsewhere.tokens == [None]
    assert provider.minted == 1
