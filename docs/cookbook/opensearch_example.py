import os

from opensearchpy import OpenSearch, RequestsHttpConnection

from tokenkeeper import TokenKeeper


def client(source):
    return OpenSearch(
        os.environ["OPENSEARCH_URL"],
        connection_class=RequestsHttpConnection,
        http_auth=source.auth(),
    )


if __name__ == "__main__":
    with TokenKeeper.from_env() as keeper, client(keeper.source("oauth2")) as search:
        print(search.info()["cluster_name"])
