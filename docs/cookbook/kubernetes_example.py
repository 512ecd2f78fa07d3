import os

from kubernetes import client

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.kubernetes import KeeperApiClient

configuration = client.Configuration(host=os.environ["KUBERNETES_URL"])

with (
    TokenKeeper.from_env() as keeper,
    KeeperApiClient(keeper.source("oauth2"), configuration) as api,
):
    pods = client.CoreV1Api(api).list_namespaced_pod("default")
    print(*(pod.metadata.name for pod in pods.items))
