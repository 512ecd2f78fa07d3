"""Which bodies blocking Azure clients send again, and broken connections."""

import io

import pytest
import requests
from azure.core import PipelineClient
from azure.core.exceptions import AzureError, ServiceRequestError, ServiceResponseError
from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RetryPolicy
from azure.core.pipeline.transport import RequestsTransport
from integrations.azure.pipelines import SCOPE, client_of, send
from requests.adapters import HTTPAdapter

from tokenkeeper.integrations.azure import KeeperCredential
from tokenkeeper.integrations.azure_transport import RenewingTransport


def test_a_body_that_can_be_rewound(api, client):
    """A file is sent again from its position."""
    send(client, api.url)
    api.valid.clear()
    file = io.BytesIO(b"skipped sent")
    file.seek(8)
    assert send(client, api.url, "PUT", content=file).json()["body"] == "sent"
    assert [body for *_, body in api.seen[1:]] == [b"sent", b"sent"]


def test_a_form(api, client):
    """A form is sent again."""
    send(client, api.url)
    api.valid.clear()
    assert send(client, api.url, "POST", data={"a": "b"}).json()["body"] == "a=b"


@pytest.mark.parametrize("kind", ["generator", "files", "closed"])
def test_a_body_that_is_used_up(api, client, kind):
    """A body that can be read only once is not sent again; the next request has the new token."""
    send(client, api.url)
    api.valid.clear()

    class Closing(io.BytesIO):
        def read(self, size=-1):
            part = super().read(size)
            if not part:
                self.close()
            return part

    body = {
        "generator": {"content": (part for part in [b"a", b"b"])},
        "files": {"files": {"file": io.BytesIO(b"ab")}},
        "closed": {"content": Closing(b"ab")},
    }[kind]
    assert send(client, api.url, "PUT", **body).status_code == 401
    assert send(client, api.url).json()["token"] == "token-2"


def test_a_body_that_is_used_up_waits_for_nothing(api, provider, client):
    """A caller whose request can't be sent again gets the 401 without waiting for the renewal."""
    send(client, api.url)
    api.valid.clear()
    provider.open.clear()
    assert send(client, api.url, "PUT", content=iter([b"a"])).status_code == 401
    provider.open.set()
    assert send(client, api.url).json()["token"] == "token-2"
    assert provider.minted == 2


def test_a_streamed_answer(api, keeper):
    """A refused streamed response frees its connection, and the second one is streamed."""
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(pool_connections=1, pool_maxsize=1, pool_block=True))
        below = RequestsTransport(session=session, session_owner=False)
        with client_of(keeper, api, transport=below) as client:
            send(client, api.url)
            api.valid.clear()
            with send(client, api.url, stream=True) as answer:
                assert b"token-2" in b"".join(answer.iter_bytes())


def test_a_connection_that_breaks(api, client):
    """Errors of azure-core reach the caller, and the next call works."""
    send(client, api.url)
    api.faults = ["drop"]
    with pytest.raises((ServiceRequestError, ServiceResponseError)):
        send(client, api.url, "POST")
    assert send(client, api.url, "POST").status_code == 200


@pytest.mark.parametrize("retries", [0, 3])
def test_a_connection_that_breaks_before_the_second_request(api, provider, keeper, retries):
    """The token is renewed all the same; the SDK's retries, if any, send the request again."""
    policies = [
        RetryPolicy(retry_total=retries, retry_backoff_factor=0),
        BearerTokenCredentialPolicy(KeeperCredential(keeper, "api"), SCOPE),
    ]
    transport = RenewingTransport(keeper, "api")
    with PipelineClient(api.url, policies=policies, transport=transport) as client:
        send(client, api.url)
        api.valid.clear()
        api.faults = [None, "drop"]
        if not retries:
            with pytest.raises((ServiceRequestError, ServiceResponseError)):
                send(client, api.url, "PUT")
        assert send(client, api.url, "PUT").json()["token"] == "token-2"
    assert api.tokens == ["token-1", "token-1", "token-2", "token-2"]
    assert provider.minted == 2


def test_answers_that_break_off(api, provider, client):
    """A refusal that breaks off does no harm; a response that breaks off is the caller's error."""
    send(client, api.url)
    api.valid.clear()
    api.faults = ["cut"]
    streamed = send(client, api.url, stream=True)
    assert streamed.read()
    assert streamed.status_code == 200
    api.faults = ["cut"]
    with pytest.raises(AzureError):
        send(client, api.url, "PUT")
    assert send(client, api.url).json()["token"] == "token-2"
    assert provider.minted == 2
