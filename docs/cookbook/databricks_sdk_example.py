import os

from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config, CredentialsStrategy

from tokenkeeper import TokenKeeper


class KeeperCredentials(CredentialsStrategy):
    def __init__(self, source):
        self.source = source

    def auth_type(self):
        return "tokenkeeper"

    def __call__(self, cfg):
        return lambda: self.source.headers("GET", cfg.host)


def workspace(source):
    config = Config(
        host=os.environ["DATABRICKS_HOST"], credentials_strategy=KeeperCredentials(source)
    )
    client = WorkspaceClient(config=config)
    session = client.api_client._api_client._session  # noqa: SLF001 - there is no public way to it
    session.auth = source.auth(timeout=20)  # sees each 401, which the strategy never does
    return client


if __name__ == "__main__":
    with TokenKeeper.from_env() as keeper:
        user = workspace(keeper.source("oauth2")).current_user.me()
        print(user.user_name)
