"""Which bodies httpx sends again, streamed responses, and broken connections."""

import io

import pytest


def test_a_body_that_is_used_up(api, client):
    """A generator is not sent again: the caller gets the 401, and the next call has a token."""
    client.get(api.url)
    api.valid.clear()
    assert client.put(api.url, content=(part for part in [b"a", b"b"])).status_code == 401
    assert client.put(api.url, content=(part for part in [b"a", b"b"])).json()["body"] == "ab"


def test_a_body_that_is_used_up_waits_for_nothing(api, provider, client):
    """A caller whose request can't be sent again gets the 401 without waiting for the renewal."""
    client.get(api.url)
    api.valid.clear()
    provider.open.clear()
    assert client.put(api.url, content=iter([b"a"])).status_code == 401
    provider.open.set()
    assert client.get(api.url).json()["token"] == "token-2"
    assert provider.minted == 2


@pytest.mark.anyio
async def test_a_refusal_in_the_middle_of_a_body(api, client, async_client):
    """A body that the server did not wait for is sent again completely."""
    big = b"0123456789abcdef" * 2**18
    api.faults = ["early"]
    assert client.put(api.url, content=big).is_success
    assert ("/", "token-2", big) in api.seen  # the refused one may be read completely later
    api.faults = ["early"]
    assert (await async_client.put(api.url, content=big)).is_success
    assert ("/", "token-3", big) in api.seen


@pytest.mark.parametrize("kind", ["bytes", "text", "seekable"])
def test_a_form_with_a_file(api, client, kind):
    """A form is sent again, if its files can be read again."""
    file = {"bytes": b"whole", "text": "whole", "seekable": io.BytesIO(b"whole")}[kind]
    client.get(api.url)
    api.valid.clear()
    answer = client.post(api.url, data={"a": "b"}, files={"f": file})
    assert "whole" in answer.json()["body"]


class Pipe(io.BytesIO):
    """A file that can be read only once."""

    def seekable(self):
        return False

    def seek(self, *place):
        raise io.UnsupportedOperation


class Bare:
    """An object that can only be read."""

    def read(self, size=-1):
        return b""


@pytest.mark.parametrize("file", [Pipe(b"whole"), Bare()])
def test_a_form_with_a_file_that_is_used_up(api, client, file):
    """A form with a file that can't be read again is not sent again: its file would be missing."""
    client.get(api.url)
    api.valid.clear()
    assert client.post(api.url, files={"f": file}).status_code == 401
    assert len(api.seen) == 2


def test_streamed_answers(api, auth, one, httpx):
    """A refused streamed response frees its connection, and the second one is streamed."""
    api.refusal = b"no" * 2**20
    with httpx.Client(auth=auth, timeout=30, limits=one) as client:
        client.get(api.url)
        api.valid.clear()
        with client.stream("GET", api.url) as answer:
            assert b"token-2" in answer.read()
        api.valid.clear()
        with client.stream("PUT", api.url, content=iter([b"a"])) as answer:
            assert (answer.status_code, len(answer.read())) == (401, 2**21)
        assert client.get(api.url).is_success


def test_a_connection_that_breaks(api, client, httpx):
    """Errors of httpx reach the caller, and the next call works."""
    client.get(api.url)
    api.faults = ["drop"]
    with pytest.raises(httpx.RemoteProtocolError):
        client.post(api.url)
    assert client.post(api.url).is_success


@pytest.mark.parametrize("retries", [0, 3])
def test_a_connection_that_breaks_before_the_second_request(api, provider, auth, retries, httpx):
    """The token is renewed all the same, and the next call works."""
    transport = httpx.HTTPTransport(retries=retries)  # applies to connecting only
    with httpx.Client(auth=auth, timeout=30, transport=transport) as client:
        client.get(api.url)
        api.valid.clear()
        api.faults = [None, "drop"]
        with pytest.raises(httpx.RemoteProtocolError):
            client.post(api.url)
        assert client.post(api.url).json()["token"] == "token-2"
    assert api.tokens == ["token-1", "token-1", "token-2", "token-2"]
    assert provider.minted == 2


def test_answers_that_break_off(api, provider, client, httpx):
    """The caller gets the error, and the token is renewed all the same."""
    client.get(api.url)
    api.valid.clear()
    api.faults = ["cut"]
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(api.url)
    assert client.get(api.url).json()["token"] == "token-2"
    assert provider.minted == 2
