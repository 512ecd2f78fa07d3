import os

from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.catalog.rest.auth import AuthManager, AuthManagerAdapter, AuthManagerFactory

from tokenkeeper import TokenKeeper, get_default_source, set_default_keeper


class KeeperAuthManager(AuthManager):
    def __init__(self, provider):
        self.source = get_default_source(provider)
        self.auth = self.source.auth(timeout=20)

    def auth_header(self):
        return f"Bearer {self.source()}"


class Renewing(AuthManagerAdapter):
    def __call__(self, request):
        return self.auth_manager.auth(request)


class KeeperCatalog(RestCatalog):
    """A REST catalog whose sessions see each 401, which an AuthManager never does."""

    def _create_session(self):
        session = super()._create_session()
        session.auth = Renewing(session.auth.auth_manager)
        return session


AuthManagerFactory.register("tokenkeeper", KeeperAuthManager)
AUTH = {"type": "tokenkeeper", "tokenkeeper": {"provider": "oauth2"}}

if __name__ == "__main__":
    with TokenKeeper.from_env() as keeper:
        set_default_keeper(keeper)
        print(KeeperCatalog("prod", uri=os.environ["CATALOG_URL"], auth=AUTH).list_namespaces())
