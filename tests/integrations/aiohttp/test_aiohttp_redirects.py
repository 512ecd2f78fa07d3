"""Which redirects of aiohttp keep the token."""

from integrations.aiohttp.answers import said


def test_redirects_on_the_same_host(api, in_session):
    """A redirect keeps the token, and only the requests that are refused are sent again."""

    async def body(session):
        await said(session.get(api.url))
        api.valid.clear()
        assert (await said(session.get(api.url + "/to//end")))["token"] == "token-2"
        assert api.tokens[1:] == ["token-1", "token-1", "token-2"]
        api.valid.clear()
        assert (await said(session.post(api.url + "/then//end")))["token"] == "token-3"
        assert api.tokens[4:] == ["token-2", "token-3", "token-3"]
        api.once.add("token-3")
        api.valid.clear()
        assert (await said(session.post(api.url + "/then//end")))["token"] == "token-4"
        assert [path for path, *_ in api.seen[7:]] == ["/then//end", "/end", "/end"]

    in_session(body)


def test_a_redirect_there_and_back(api, elsewhere, in_session):
    """A redirect back to the first origin carries the token again."""

    async def body(session):
        back = api.url + "/to/" + elsewhere.url + "/to/" + api.url + "/end"
        return await said(session.get(back))

    assert in_session(body)["token"] == "token-1"
    assert elsewhere.tokens == [None]


def test_a_redirect_to_another_server(api, elsewhere, provider, in_session):
    """A redirect to another port drops the token, and renews nothing."""

    async def body(session):
        async with session.get(f"{api.url}/to/{elsewhere.url}/end") as answer:
            return answer.status

    assert in_session(body) == 401
    assert elsewhere.tokens == [None]
    assert provider.minted == 1
