import os

from github import Github
from github.Auth import Auth
from github.Requester import (
    HTTPRequestsConnectionClass,
    HTTPSRequestsConnectionClass,
    Requester,
)

from tokenkeeper import TokenKeeper


class KeeperToken(Auth):
    def __init__(self, source):
        self.source = source

    @property
    def token_type(self):
        return "Bearer"

    @property
    def token(self):
        return self.source()


def renew_refused_tokens(source):
    """Have the connections of PyGithub see each 401, which an Auth never does."""
    auth = source.auth(timeout=20)

    class Renewing(HTTPSRequestsConnectionClass):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.session.auth = lambda sent: auth(sent) if "Authorization" in sent.headers else sent

    Requester.injectConnectionClasses(HTTPRequestsConnectionClass, Renewing)


if __name__ == "__main__":
    with TokenKeeper.from_env() as keeper:
        source = keeper.source("oauth2")
        renew_refused_tokens(source)
        url = os.environ.get("GITHUB_API_URL", "https://api.github.com")
        with Github(base_url=url, auth=KeeperToken(source)) as github:
            print(github.get_user().login)
