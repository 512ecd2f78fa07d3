"""Azure clients with the renewing transport, and functions that send a request."""

from azure.core import PipelineClient
from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RedirectPolicy
from azure.core.pipeline.transport import AioHttpTransport, TrioRequestsTransport
from azure.core.rest import HttpRequest

from tokenkeeper.integrations.azure import KeeperCredential
from tokenkeeper.integrations.azure_transport import RenewingTransport

SCOPE = "https://storage.azure.com/.default"


def client_of(keeper, api, **options):
    """Return an Azure client of *api*, with the policies that decide about tokens."""
    policies = [
        RedirectPolicy(),
        BearerTokenCredentialPolicy(KeeperCredential(keeper, "api"), SCOPE),
    ]
    transport = RenewingTransport(keeper, "api", **options)
    return PipelineClient(api.url, policies=policies, transport=transport)


def send(client, url, method="GET", stream=False, **options):
    request = HttpRequest(method, url, **options)
    return client.send_request(request, stream=stream, enforce_https=False)


def below_for(loop, **options):
    """Return the transport to wrap under *loop*."""
    return TrioRequestsTransport(**options) if loop == "trio" else AioHttpTransport(**options)


async def send_async(client, url, method="GET", stream=False, **options):
    request = HttpRequest(method, url, **options)
    return await client.send_request(request, stream=stream, enforce_https=False)
