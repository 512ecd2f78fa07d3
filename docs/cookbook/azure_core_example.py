import os

from azure.core import PipelineClient
from azure.core.pipeline.policies import BearerTokenCredentialPolicy
from azure.core.rest import HttpRequest

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.azure import KeeperCredential
from tokenkeeper.integrations.azure_transport import RenewingTransport

url = os.environ["API_URL"]

with TokenKeeper.from_env() as keeper:
    source = keeper.source("oauth2")
    policy = BearerTokenCredentialPolicy(KeeperCredential(source), "api/.default")
    with PipelineClient(url, policies=[policy], transport=RenewingTransport(source)) as client:
        answer = client.send_request(HttpRequest("GET", url))
        print(answer.status_code, answer.json()["path"])
